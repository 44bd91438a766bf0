"""Coverage-guided fuzzing of the token file reader, the one binary parser that is ours; run by hand.

    pip install atheris==3.0.0     # wheels for Linux, Python 3.11 to 3.13
    python tests/fuzz/atheris_token_file.py -max_total_time=600 -len_control=0 -max_len=600

One input is all four files of a folder. The manifest's hashes are made to fit, or nothing would be reached
behind them; so are its counts, in half of the inputs.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))
with atheris.instrument_imports(include=["alibi.data.token_file", "alibi.foreign"]):
    from alibi.data.token_file import FILES, LINE_FIELDS, open_token_file

FOLDER = Path(tempfile.mkdtemp(prefix="alibi-fuzz-"))
KEYS = ("tokens", "words", "bytes", "lines", "documents", "end_of_text")


def manifest_of(data: atheris.FuzzedDataProvider, contents: dict[str, bytes]) -> object:
    dtype = data.PickValueInList(["uint16", "uint32", "uint16", "object", "float64", "V9999999", "O"])
    manifest = {"format": 1, "text": {}, "tokenizer": {"vocab_size": data.ConsumeIntInRange(0, 2**17)}, "dtype": dtype}
    manifest["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    manifest |= {name: data.ConsumeInt(8) for name in KEYS}
    if data.ConsumeBool():
        width = 2 if dtype == "uint16" else 4
        lines = memoryview(contents["lines"][: len(contents["lines"]) // 12 * 12]).cast("I")
        totals = [sum(lines[n::3]) for n in range(len(LINE_FIELDS))]
        sizes = (len(contents["tokens"]) // width, *totals[1:], len(contents["lines"]) // 12)
        manifest |= dict(zip(KEYS, (*sizes, len(contents["documents"]) // 4, 7), strict=True))
    if data.ConsumeIntInRange(0, 7) == 0:
        manifest[data.PickValueInList(list(manifest))] = data.PickValueInList([None, [], {}, "x", -1, 2**64, 0.5, True])
    return manifest


def one_input(raw: bytes) -> None:
    data = atheris.FuzzedDataProvider(raw)
    contents = {name: data.ConsumeBytes(data.ConsumeIntInRange(0, 96)) for name in FILES}
    for name, content in contents.items():
        (FOLDER / f"{name}.bin").write_bytes(content)
    manifest = manifest_of(data, contents)
    text = json.dumps(manifest).encode() if data.ConsumeIntInRange(0, 9) else data.ConsumeBytes(200)
    (FOLDER / "manifest.json").write_bytes(text)
    file = open_token_file(FOLDER)
    if file is None:
        return
    assert file.num_tokens == len(file.tokens) > 0
    assert int(file.tokens.max()) < file.tokenizer["vocab_size"]
    assert len(file.inputs(0, 3)) == len(file.targets(0, 3)) == min(3, len(file))
    assert (file.document_lines() < file.num_lines).all()
    try:
        assert len(file.cut(max(1, len(file) // 2))) <= len(file)
    except ValueError as error:
        assert "whole lines" in str(error)  # noqa: PT017, no test of pytest's


atheris.Setup(sys.argv, one_input)
atheris.Fuzz()
