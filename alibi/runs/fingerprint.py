"""A fingerprint of what a model computes, so that an edit of the code is noticed when its weights are used again.

A checkpoint stores the nats of fixed ids under its weights, and they are computed again whenever it is opened. Code
that was rewritten but computes the same passes; an edited method does not. Changed initial values do not show under
trained weights; for them, the hash of the method's source is stored too.

Two windows are scored, in float32 and without dropout. In one, positions are consecutive. In the other, they are
spread ever further apart, up to FARTHEST or twice the training length, so that few tokens cover far distances.
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

VERSION = 1  # of ids and positions; fingerprints of different versions are not compared
NEAR_TOKENS, FAR_TOKENS, SCORED_TOKENS = 256, 128, 64
FARTHEST = 4096
# Largest allowed difference of one target's nats, relative to the mean of all. Measured on 1 to 16 layers: float64,
# other kernels and other threads change it by 7e-7 at most, rotary frequencies off by one float32 rounding by 4e-5;
# ALiBi slopes off by 1 % change it by 5e-4 at least.
TOLERANCE = 1e-4


@torch.no_grad()
def fixed_nats(model: LanguageModel, seq_len: int) -> list[float]:
    """Nats of fixed ids under a model in evaluation mode; if it is sharded, all processes must call this.

    Args:
        seq_len: training length.
    """
    limits = [one.longest for one in model.modules() if isinstance(one, Position) and one.longest is not None]
    near, far, farthest = (min([number, *limits]) for number in (NEAR_TOKENS, FAR_TOKENS, max(FARTHEST, 2 * seq_len)))
    k = torch.arange(far)
    spread = k + k * k * (farthest - far) // far**2
    products = torch.backends.cuda.matmul
    before, products.fp32_precision = products.fp32_precision, "ieee"  # some containers turn TF32 on for everything
    try:
        with autocast(model.device, "fp32"):
            return _last_nats(model, near) + _last_nats(model, far, spread.to(model.device))
    finally:
        products.fp32_precision = before


def _last_nats(model: LanguageModel, num_tokens: int, positions: Tensor | None = None) -> list[float]:
    """Nats of the last SCORED_TOKENS targets of one window."""
    k, first = torch.arange(num_tokens + 1), num_tokens - SCORED_TOKENS
    # A hash, not a generator: its draws may differ between versions of torch.
    ids = ((k * k * 2654435761 >> 8) % model.vocab_size)[None].to(model.device)
    return model.nll(ids[:, :-1], ids[:, first + 1 :], first, positions)[0].tolist()


def source_sha256(model: LanguageModel) -> str | None:
    """Of the source files of the model's position methods; None if one has no file, as in a notebook."""
    methods = {type(module) for module in model.modules() if isinstance(module, Position)}
    classes = {parent for method in methods for parent in method.__mro__ if issubclass(parent, Position)}
    with suppress(OSError, TypeError):
        paths = sorted({inspect.getsourcefile(one) for one in classes - {Position}})
        return hashlib.sha256(b"".join(Path(path).read_bytes() for path in paths)).hexdigest()
    return None


def fingerprint(nats: Sequence[float], source: str | None) -> dict:
    """The manifest's entry: `fixed_nats` to seven digits, and `source_sha256`."""
    return {"version": VERSION, "nats": [float(f"{value:.7g}") for value in nats], "source_sha256": source}


def difference(stored: dict, nats: Sequence[float]) -> str | None:
    """How nats differ from a fingerprint's, in words; None if only by rounding."""
    mean = sum(stored["nats"]) / len(nats)
    apart = [abs(now - then) for now, then in zip(nats, stored["nats"], strict=True)]
    # Written so that NaN counts as changed.
    changed = [value for value in apart if not value <= TOLERANCE * mean]
    if not changed:
        return None
    most, of = max(changed), len(nats)
    return f"{len(changed)} of {of} fixed tokens have other nats, by up to {most:.3g} (their mean is {mean:.3g})"
