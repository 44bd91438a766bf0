"""model.safetensors against a model: names and shapes compared, then the weights loaded."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from alibi.model import LanguageModel
from alibi.runs.layout import CHOOSE, MODEL, DamagedCheckpoint

Shapes = Mapping[str, tuple[int, ...]]


@contextmanager
def open_tensors(path: Path) -> Iterator[safe_open]:
    """An open safetensors file.

    Raises:
        DamagedCheckpoint: it is not one.
    """
    try:
        # By its descriptor: safetensors takes paths in UTF-8 only.
        with open(path, "rb") as file, safe_open(f"/dev/fd/{file.fileno()}", "pt") as tensors:
            yield tensors
    except SafetensorError as error:
        raise DamagedCheckpoint(f"{path} is not a safetensors file ({error}); {CHOOSE}.") from error


def read_shapes(checkpoint: Path) -> Shapes:
    """The shape of every stored weight, by name."""
    with open_tensors(checkpoint / MODEL) as tensors:
        return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118


def misfit(stored: Shapes, model: LanguageModel) -> str | None:
    """The first weight that is missing, unused or of another shape, in words; None if all fit."""
    wanted = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    for name in sorted(stored.keys() | wanted.keys()):
        have, want = stored.get(name, "nothing"), wanted.get(name, "nothing")
        if have != want:
            return f"{name} is {have} in the file and {want} in the model"
    return None


def load_weights(model: LanguageModel, checkpoint: Path) -> None:
    """Fill the parameters of `model` from a checkpoint folder.

    Raises:
        DamagedCheckpoint: a weight is missing, unused or of another shape.
    """
    if how := misfit(read_shapes(checkpoint), model):
        raise DamagedCheckpoint(f"{checkpoint / MODEL} does not fit its config.yaml and tokenizer: {how}; {CHOOSE}.")
    with open_tensors(checkpoint / MODEL) as tensors, torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors.get_tensor(name))
