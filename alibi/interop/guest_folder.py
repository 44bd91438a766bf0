"""The folder of a model of transformers: a local one, or the hub's, fetched into the hub's own cache."""

import hashlib
import json
from pathlib import Path

from alibi.data.hub import check_sound, fetch
from alibi.files import file_sha256

# No code is fetched, and pickles only if there is nothing else.
FILES = ("*.json", "*.model", "*.txt", "*.safetensors")
OTHER_COPIES = ("original/*", "consolidated*", "onnx/*")
PICKLES = ("*.bin", "*.bin.index.json")
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")


def model_folder(source: str) -> Path:
    """The folder for a path or a hub id (also ID@REVISION); it has a configuration, a tokenizer and weights.

    Raises:
        FileNotFoundError: there is no such folder, or one of the three is missing.
        ConnectionError: the hub does not have it, or cannot be reached.
    """
    folder = Path(source)
    if not folder.exists():
        if folder.is_absolute() or source.startswith("."):
            raise FileNotFoundError(f"hf:{source} does not exist; give a folder, or a model's id on the hub.")
        folder = _from_hub(source)
    needed = {
        "config.json; save_pretrained writes one (a run of this project is named without hf:)": ["config.json"],
        "tokenizer.json or the like; save the model's own there too, tokenizer.save_pretrained(FOLDER)": TOKENIZERS,
        "weights: neither *.safetensors nor *.bin is there": [path.name for path in weight_files(folder)],
    }
    for what, names in needed.items():
        if not any((folder / name).is_file() for name in names):
            raise FileNotFoundError(f"hf:{source} has no {what}.")
    return folder


def _from_hub(source: str) -> Path:
    name, _, revision = source.partition("@")
    try:
        folder = fetch(name, FILES, revision=revision or None, but=OTHER_COPIES)
        if not list(folder.glob("*.safetensors")):
            folder = fetch(name, (*FILES, *PICKLES), revision=revision or None, but=OTHER_COPIES)
    except ConnectionError as error:
        remedy = "Without a network, fetch the model elsewhere and give its folder, runs=hf:FOLDER."
        raise ConnectionError(f"{error} There is no such folder here either. {remedy}") from error.__cause__
    check_sound(path for path in folder.rglob("*") if path.is_file())
    return folder


def weight_files(folder: Path) -> list[Path]:
    """The files with the weights: safetensors, or pickles if there is nothing else."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def unread_files(folder: Path) -> list[str]:
    """Files of adapters, and files with weights, that transformers does not read."""
    found = weight_files(folder)
    whole = "model.safetensors" if found[0].suffix == ".safetensors" else "pytorch_model.bin"
    index = folder / f"{whole}.index.json"
    read = {whole}
    if index.exists() and not (folder / whole).exists():
        read = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    copies = ("*.fp16.*", "*.bf16.*", *OTHER_COPIES)
    unread = {path.name for path in found if path.name not in read and not any(map(path.match, copies))}
    adapters = {path.name for path in folder.glob("adapter_*") if path.suffix in (".json", ".safetensors", ".bin")}
    return sorted(unread | adapters)


def model_sha256(folder: Path) -> str:
    """Hash of the names and contents of weights and configuration, which holds the rotary angles."""
    files = [*weight_files(folder), folder / "config.json"]
    lines = "".join(f"{file_sha256(file)}  {file.name}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()
