"""What a model computes, as numbers, so that an edit of the code is noticed where its weights are used again.

A checkpoint stores the nats of fixed ids under its weights, and whoever opens it computes them again. Code that was
rewritten but computes the same passes; a method that was edited does not. Other initial values cannot be seen under
trained weights: for them, the hash of the method's source is stored too.

Two windows are scored, in float32 and without dropout. In one, tokens follow each other. In the other, they stand ever
further apart, up to FARTHEST or twice the training length, so that far distances cost few tokens.
"""

import hashlib
import inspect
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from alibi.environment import autocast
from alibi.model import LanguageModel
from alibi.positions import Position

VERSION = 1  # of ids and positions; nats of another version are not compared
NEAR_TOKENS, FAR_TOKENS, SCORED_TOKENS = 256, 128, 64
FARTHEST = 4096
# Largest difference of one target's nats over the mean of all. Measured on 1 to 16 layers: float64, other kernels and
# threads make it 7e-7 at most, and rotary frequencies that are a float32 rounding off 4e-5; ALiBi slopes that are 1 %
# off make it 5e-4 at least.
TOLERANCE = 1e-4


@torch.no_grad()
def fixed_nats(model: LanguageModel, seq_len: int) -> list[float]:
    """Nats of fixed ids under a model in evaluation mode. Where it is sharded, all processes take part.

    Args:
        seq_len: training length.
    """
    k = torch.arange(FAR_TOKENS)
    spread = k + k * k * (max(FARTHEST, 2 * seq_len) - FAR_TOKENS) // FAR_TOKENS**2
    products = torch.backends.cuda.matmul
    before, products.fp32_precision = products.fp32_precision, "ieee"  # some containers turn TF32 on for everything
    try:
        with autocast(model.device, "fp32"):
            return _last_nats(model, NEAR_TOKENS) + _last_nats(model, FAR_TOKENS, spread.to(model.device))
    finally:
        products.fp32_precision = before


def _last_nats(model: LanguageModel, num_tokens: int, positions: Tensor | None = None) -> list[float]:
    """Nats of the last targets of one window."""
    k, first = torch.arange(num_tokens + 1), num_tokens - SCORED_TOKENS
    # Without a pattern, and the same with every version of torch, which a generator's draws need not be.
    ids = ((k * k * 2654435761 >> 8) % model.vocab_size)[None].to(model.device)
    return model.nll(ids[:, :-1], ids[:, first + 1 :], first, positions)[0].tolist()


def source_sha256(model: LanguageModel) -> str | None:
    """Of the files that define the model's position methods; None where one has no file, as in a notebook."""
    methods = {type(module) for module in model.modules() if isinstance(module, Position)}
    classes = {parent for method in methods for parent in method.__mro__ if issubclass(parent, Position)}
    with suppress(OSError, TypeError):
        paths = sorted({inspect.getsourcefile(one) for one in classes - {Position}})
        return hashlib.sha256(b"".join(Path(path).read_bytes() for path in paths)).hexdigest()
    return None


def fingerprint(nats: Sequence[float], source: str | None) -> dict:
    """What a manifest stores: `fixed_nats`, to seven digits, and `source_sha256`."""
    return {"version": VERSION, "nats": [float(f"{value:.7g}") for value in nats], "source_sha256": source}


def check_fingerprint(stored: object) -> dict | None:
    """A manifest's fingerprint; None of a checkpoint that has none that this version can compare.

    Raises:
        ValueError: it is no fingerprint.
    """
    if stored is None or (isinstance(stored, dict) and stored.get("version") != VERSION):
        return None
    nats = stored.get("nats") if isinstance(stored, dict) else None
    count = 2 * SCORED_TOKENS
    if not isinstance(nats, list) or len(nats) != count or not all(type(value) is float for value in nats):
        raise ValueError(f"its fingerprint must be {count} numbers")
    return stored


def difference(stored: dict, nats: Sequence[float]) -> str | None:
    """In words, how nats differ from a fingerprint's; None where they differ by rounding only."""
    mean = sum(stored["nats"]) / len(nats)
    apart = [abs(now - then) for now, then in zip(nats, stored["nats"], strict=True)]
    # Not "above": nats may be NaN now.
    changed = [value for value in apart if not value <= TOLERANCE * mean]
    if not changed:
        return None
    most = max(changed)
    return f"{len(changed)} of {len(nats)} fixed tokens have other nats, by up to {most:.3g} (their mean is {mean:.3g})"
