"""What a precision costs: nats per token in fp32, bf16 and fp16 against float64, same weights and text.

A sample is scored without overlap at each length. The targets are the same at every length and in
every precision, so that rows differ in length and precision alone.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from alibi.data import TokenFile, Window
from alibi.evaluation.score import Scorer, fast_batch_tokens, model_scorer, score
from alibi.evaluation.sums import perplexity
from alibi.model import LanguageModel

EXACT = "float64"


def precisions_of(device: torch.device) -> tuple[str, ...]:
    """The precisions to compare on a device; fp16 on GPUs only."""
    return ("fp32", "bf16", "fp16") if device.type == "cuda" else ("fp32", "bf16")


@dataclass
class Nats:
    """An accumulator that keeps every target's nats, in the order in which they come."""

    parts: list[Tensor] = field(default_factory=list)

    def add(self, windows: Sequence[Window], nats_BS: Tensor) -> None:
        self.parts.append(nats_BS.flatten().double().cpu())

    @property
    def all(self) -> Tensor:
        return torch.cat(self.parts)


def sample_of(tokens: TokenFile, num_tokens: int, lengths: Sequence[int]) -> TokenFile:
    """The first `num_tokens` targets: whole windows at every length.

    Raises:
        ValueError: no length, one below 1, more tokens than there are, or no whole windows.
    """
    if not lengths or min(lengths) < 1:
        raise ValueError(f"lengths {list(lengths)} must be at least one number, each at least 1.")
    if num_tokens < 1:
        raise ValueError(f"tokens ({num_tokens}) must be at least 1.")
    if num_tokens > len(tokens):
        raise ValueError(f"tokens ({num_tokens}) is above the {len(tokens)} of the text; use fewer, or another text.")
    for length in lengths:
        if num_tokens % length:
            unit = math.lcm(*lengths)
            raise ValueError(
                f"tokens ({num_tokens}) must be whole windows of every length, and {length} does not divide it; "
                f"use a multiple of {unit}."
            )
    return replace(tokens, tokens=tokens.tokens[:num_tokens])


def compare_precisions(
    model: LanguageModel,
    tokens: TokenFile,
    lengths: Sequence[int],
    precisions: Sequence[str],
    device: torch.device,
    batch_tokens: int | None = None,
) -> list[dict]:
    """Rows of {"length", "precision", "tokens", "perplexity"}, float64 first at each length.

    The others have "max_difference_nats" and "mean_difference_nats" too: the largest and the mean
    absolute difference from float64 of one token's nats. What is not finite is None, under "error".

    Args:
        tokens: a sample, see sample_of.
        precisions: of fp32, bf16, fp16.
        batch_tokens: inputs scored at once; None means what is fast on the device.
    """
    exact_model = copy.deepcopy(model).double()
    rows, batch_tokens = [], batch_tokens or fast_batch_tokens(device)
    for length in sorted(set(lengths)):

        def nats(scorer: Scorer, length: int = length) -> Tensor:
            kept = Nats()
            for _ in score(tokens, length, length, scorer, [kept], device, batch_tokens):
                pass
            return kept.all

        exact = nats(model_scorer(exact_model))
        rows.append(_row(length, EXACT, exact))
        rows += [_row(length, name, nats(model_scorer(model, name)), exact) for name in precisions]
    return rows


def _row(length: int, precision: str, nats: Tensor, exact: Tensor | None = None) -> dict:
    row = {"length": length, "precision": precision, "tokens": len(nats)}
    wrong = int((~nats.isfinite()).sum())
    if wrong:
        return row | {"error": f"{wrong} of {len(nats)} tokens have nats that are not finite"}
    row["perplexity"] = perplexity(nats.sum().item(), len(nats))
    if exact is not None:
        difference = (nats - exact).abs()
        row["max_difference_nats"] = difference.max().item()
        row["mean_difference_nats"] = difference.mean().item()
    return row


def precision_table(rows: Sequence[dict]) -> str:
    """The rows as text, right-aligned under their heads."""
    heads = ("length", "precision", "perplexity", "largest difference", "mean difference (nats a token)")
    lines = [heads]
    for row in rows:
        if "error" in row:
            lines.append((f"{row['length']}", row["precision"], "-", row["error"], ""))
            continue
        differences = [row.get(f"{kind}_difference_nats") for kind in ("max", "mean")]
        lines.append(
            (
                f"{row['length']}",
                row["precision"],
                f"{row['perplexity']:.6f}",
                *("-" if value is None else f"{value:.2e}" for value in differences),
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
