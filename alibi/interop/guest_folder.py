"""A folder with a model of transformers in it: a local one, or the hub's, fetched into the hub's own cache."""

import hashlib
import re
from pathlib import Path

from alibi.data.hub import check_sound, fetch
from alibi.files import file_sha256

# No code is fetched, and pickles only where there is nothing else.
FILES = ("*.json", "*.model", "*.txt", "*.safetensors")
OTHER_COPIES = ("original/*", "consolidated*", "onnx/*")
PICKLES = ("*.bin", "*.bin.index.json")
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
HUB_ID = re.compile(r"([\w.-]+/)?[\w.-]+(@[\w./-]+)?")


def model_folder(source: str) -> Path:
    """The folder that a path or a hub id (also ID@REVISION) means, with configuration, tokenizer and weights in it.

    Raises:
        FileNotFoundError: nothing there, or one of the three is missing.
        ConnectionError: the hub does not give it.
    """
    folder = Path(source)
    if not folder.exists():
        if folder.is_absolute() or source.startswith(".") or not HUB_ID.fullmatch(source):
            raise FileNotFoundError(f"hf:{source} does not exist; give a folder, or a model's id on the hub.")
        folder = _from_hub(source)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"hf:{source} has no config.json, so it is no model of transformers; save_pretrained writes one (a run of "
            "this project is named without hf:)."
        )
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise FileNotFoundError(
            f"hf:{source} has no tokenizer ({', '.join(TOKENIZERS[:3])} ...), and no text can be scored without the "
            "model's own; save it there too, tokenizer.save_pretrained(FOLDER)."
        )
    if not weight_files(folder):
        raise FileNotFoundError(f"hf:{source} has no weights: neither *.safetensors nor *.bin is there.")
    return folder


def weight_files(folder: Path) -> list[Path]:
    """The files with the weights: safetensors, or pickles where there is nothing else."""
    safe = sorted(folder.glob("*.safetensors"))
    return safe or sorted(folder.glob("pytorch_model*.bin"))


def model_sha256(folder: Path) -> str:
    """Of the names and contents of the files with weights and configuration: rotary angles are in the latter."""
    files = [*weight_files(folder), folder / "config.json"]
    lines = "".join(f"{file_sha256(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _from_hub(source: str) -> Path:
    name, _, revision = source.partition("@")
    try:
        folder = fetch(name, FILES, revision=revision or None, but=OTHER_COPIES)
        if not list(folder.glob("*.safetensors")):
            folder = fetch(name, (*FILES, *PICKLES), revision=revision or None, but=OTHER_COPIES)
    except ConnectionError as error:
        raise ConnectionError(
            f"{error} There is no such folder here either. Without a network, fetch the model elsewhere and "
            "give its folder, runs=hf:FOLDER."
        ) from error.__cause__
    check_sound(path for path in folder.rglob("*") if path.is_file())
    return folder
