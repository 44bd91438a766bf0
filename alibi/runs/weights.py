"""model.safetensors: its header read with bounds, held against the model, then the weights.

    8 bytes n, little-endian | n bytes JSON: name -> dtype, shape, place | the numbers

No model is built, and no tensor read, before the header fits both: a config.yaml that asks for
10^9 layers costs nothing.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from alibi.foreign import check_file, parse_json
from alibi.model import LanguageModel, ModelConfig
from alibi.runs.layout import CHOOSE, MODEL, DamagedCheckpoint

Shapes = Mapping[str, tuple[int, ...]]
# The paper's model has 100 KiB.
MOST_HEADER_BYTES = 2**22
BYTES_OF = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def read_shapes(checkpoint: Path) -> Shapes:
    """The shape of each tensor, by name.

    Raises:
        DamagedCheckpoint: no safetensors file, or one whose header does not fit its size.
    """
    path = checkpoint / MODEL
    try:
        size = check_file(path)
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, MOST_HEADER_BYTES):
                raise ValueError(f"a header of {length:,} bytes is stated in a file of {size:,}")
            header = parse_json(file.read(length).decode())
        if not isinstance(header, dict):
            raise ValueError("its header is no mapping")
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        shapes = {name: _shape(name, entry) for name, entry in entries.items()}
        stated = sum(math.prod(shape) * BYTES_OF[entries[name]["dtype"]] for name, shape in shapes.items())
        if stated != size - 8 - length:
            raise ValueError(f"tensors of {stated:,} bytes are stated, and {size - 8 - length:,} are there")
        return shapes
    except (OSError, ValueError) as error:
        raise DamagedCheckpoint(f"{path} is no safetensors file ({error}); {CHOOSE}.") from error


def _shape(name: str, entry: object) -> tuple[int, ...]:
    shape = entry.get("shape") if isinstance(entry, dict) else None
    sizes = isinstance(shape, list) and all(type(n) is int and 0 <= n < 2**48 for n in shape)
    if not sizes or len(shape) > 8 or entry.get("dtype") not in tuple(BYTES_OF):
        raise ValueError(f"its header describes {name[:60]} as {str(entry)[:60]}")
    return tuple(shape)


def check_sizes(settings: Mapping[str, object], shapes: Shapes) -> None:
    """Whether a model of these settings can be the one that was stored, before its settings are made typed.

    Every layer has eight tensors of its own at least, one of them d_model x d_model and one d_model x d_ff.

    Raises:
        ValueError: a size that is no whole number, or above what the stored tensors allow.
    """
    numbers = sum(map(math.prod, shapes.values()))
    width = math.isqrt(numbers)
    most = {"num_layers": len(shapes) // 8, "d_model": width, "num_heads": width, "d_ff": numbers}
    for name in most.keys() & settings.keys():
        value, allowed = settings[name], most[name]
        if name == "d_ff" and value is None:
            continue
        if type(value) is not int:
            raise ValueError(f"model.{name} is {str(value)[:40]}, and must be a whole number")
        if value > allowed:
            raise ValueError(f"model.{name} is {str(value)[:40]}, and the {numbers:,} weights allow {allowed} at most")


def expected_shapes(config: ModelConfig, vocab_size: int) -> Shapes:
    """Of the parameters of a model, without making it.

    Raises:
        ValueError: no such model can be.
    """
    try:
        with torch.device("meta"):
            model = LanguageModel(config, vocab_size, seed=0)
    except (RuntimeError, TypeError, OverflowError) as error:  # sizes beyond what torch can count
        raise ValueError(f"no model can have these settings ({str(error).splitlines()[0]})") from error
    return shapes_of(model)


def shapes_of(model: LanguageModel) -> Shapes:
    return {name: tuple(p.shape) for name, p in model.named_parameters()}


def misfit(have: Shapes, want: Shapes) -> str | None:
    """The first tensor that is not there, does not fit, or has no use, in words; None where all fit."""
    for name in sorted(have.keys() | want.keys()):
        stored, wanted = (shapes.get(name, "nothing") for shapes in (have, want))
        if stored != wanted:
            return f"{name[:60]} is {stored} in the file and {wanted} in the model"
    return None


def check_fit(checkpoint: Path, have: Shapes, want: Shapes) -> None:
    """
    Raises:
        DamagedCheckpoint: naming the first tensor that does not fit.
    """
    if how := misfit(have, want):
        raise DamagedCheckpoint(f"{checkpoint / MODEL} does not fit its config.yaml and tokenizer: {how}; {CHOOSE}.")


def load_weights(model: LanguageModel, checkpoint: Path) -> None:
    """Fill the parameters of `model`; every tensor must be there, fit, and be used.

    Raises:
        DamagedCheckpoint: naming the first tensor that is not so.
    """
    check_fit(checkpoint, read_shapes(checkpoint), shapes_of(model))
    try:
        with open(checkpoint / MODEL, "rb") as file:  # the library takes names in UTF-8 alone
            tensors = load_file(f"/dev/fd/{file.fileno()}")
    except SafetensorError as error:
        raise DamagedCheckpoint(f"{checkpoint / MODEL} is no safetensors file ({error}); {CHOOSE}.") from error
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[name])
