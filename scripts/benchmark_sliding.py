"""Sliding evaluation at stride = length / 8 against the well-known recipe of transformers' documentation.

    python scripts/benchmark_sliding.py [--lengths 256 512 1024] [--rounds 5] [--run outputs/latest] [--json FILE]

The recipe ("Perplexity of fixed-length models") runs one window at a time through the whole model,
with labels of -100 where a target was scored before. It runs on an MptForCausalLM with the same
weights, in the same process and precision (fp32), on the same targets in the same contexts; rounds
alternate, so that a noisy machine disturbs both alike. Both must give the same nats.

Two things are kinder to the recipe than its publication: window sums are weighed by the targets
that were really counted (published, one is taken off in each window), and nothing is timed but the
loop.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from alibi.data import TokenFile
from alibi.environment import environment
from alibi.evaluation import fast_batch_tokens, model_scorer, score
from alibi.files import write_atomically
from alibi.interop import to_mpt
from alibi.model import LanguageModel, ModelConfig
from alibi.options import Options
from alibi.paths import expanded, user_path
from alibi.runs import load_model
from alibi.script import script

CPU = torch.device("cpu")
# Mean nats a target: both compute in fp32, and MPT's bias costs it digits.
AGREEMENT = 1e-4


class TargetNats:
    """An accumulator that keeps nats by target; ours come in order."""

    def __init__(self) -> None:
        self.parts = []

    def add(self, windows, nats_BS) -> None:
        self.parts.append(nats_BS.flatten().double())


def ours(model: LanguageModel, tokens: TokenFile, length: int, stride: int, batch_tokens: int) -> torch.Tensor:
    """Nats of every target."""
    kept = TargetNats()
    for _ in score(tokens, length, stride, model_scorer(model), [kept], CPU, batch_tokens):
        pass
    return torch.cat(kept.parts)


@torch.inference_mode()
def recipe(mpt: torch.nn.Module, ids: torch.Tensor, length: int, stride: int) -> list[tuple[int, float]]:
    """(targets, sum of their nats) of each window.

    A window holds length + 1 ids, so that its last target sees `length` inputs, as ours does.
    """
    sums, known = [], 1  # the first id is no target
    for begin in range(0, len(ids), stride):
        end = min(begin + length + 1, len(ids))
        window = ids[None, begin:end]
        labels = window.clone()
        labels[:, : known - begin] = -100
        count = end - max(known, begin + 1)
        sums.append((count, mpt(window, labels=labels).loss.item() * count))
        known = end
        if end == len(ids):
            return sums


def seconds(work, *args) -> tuple[float, object]:
    begun = time.perf_counter()
    result = work(*args)
    return time.perf_counter() - begun, result


def worst_window(nats: torch.Tensor, sums: list[tuple[int, float]]) -> float:
    """Largest difference of a window's mean nats.

    Raises:
        RuntimeError: not the same targets, or not the same nats.
    """
    counts = [count for count, _ in sums]
    if sum(counts) != len(nats):
        raise RuntimeError(f"the recipe scored {sum(counts)} targets, and we {len(nats)}.")
    windows = zip(nats.split(counts), sums, strict=True)
    worst = max(abs(own.sum().item() - other) / count for own, (count, other) in windows)
    if worst > AGREEMENT:
        raise RuntimeError(f"nats of one window differ by {worst:.2e} a target, which is above {AGREEMENT}.")
    return worst


def measure(model: LanguageModel, length: int, options: argparse.Namespace) -> dict:
    stride = length // 8
    drawn = np.random.default_rng(0).integers(0, model.vocab_size, (options.windows + 8) * stride + 1)
    stream = drawn[1:].astype(np.uint32)
    size = len(stream)
    tokens = TokenFile(Path(), {}, {}, int(drawn[0]), size, size, size, 1, stream)
    mpt, ids = to_mpt(model, length + 1), torch.from_numpy(drawn)
    work = {
        "ours": (ours, model, tokens, length, stride, options.batch_tokens),
        "recipe": (recipe, mpt, ids, length, stride),
    }
    worst = worst_window(*(call(*args) for call, *args in work.values()))  # and both are warm
    times = {name: [] for name in work}
    for number in range(options.rounds):
        for name in sorted(work, reverse=number % 2 == 1):
            times[name].append(seconds(*work[name])[0])
    ratios = [theirs / mine for mine, theirs in zip(times["ours"], times["recipe"], strict=True)]
    return {
        "length": length,
        "stride": stride,
        "targets": size,
        **{f"{name}_tokens_per_sec": size / statistics.median(taken) for name, taken in times.items()},
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "worst_difference_nats": worst,
    }


def parse() -> argparse.Namespace:
    parser = Options(__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 512, 1024], help="multiples of 8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--windows", type=int, default=32, help="windows after the first `length` targets (32)")
    parser.add_argument("--batch-tokens", type=int, default=fast_batch_tokens(CPU), help="inputs that we score at once")
    parser.add_argument("--run", type=expanded, help="weights of a run (alibi, default shape); otherwise random ones")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--d-model", type=int, default=256)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--json", type=user_path, help="write the rows to this file too")
    return parser.parse_args()


def main() -> None:
    options = parse()
    for name in ("rounds", "windows", "batch_tokens"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} ({getattr(options, name)}) must be at least 1.")
    for length in options.lengths:
        if length < 8 or length % 8:
            raise ValueError(f"--lengths has {length}; a length must be a multiple of 8, for the stride is length / 8.")
    if options.run:
        model = load_model(options.run)
    else:
        config = ModelConfig(num_layers=options.layers, d_model=options.d_model, num_heads=options.heads)
        model = LanguageModel(config, options.vocab_size, seed=0).eval()
    print(
        f"{'length':>6} {'stride':>6} {'targets':>7} {'ours tok/s':>10} {'recipe tok/s':>12} {'ratio':>5}  each round"
    )
    rows = []
    for length in options.lengths:
        row = measure(model, length, options)
        rows.append(row)
        print(
            f"{length:>6} {row['stride']:>6} {row['targets']:>7} {row['ours_tokens_per_sec']:>10.0f} "
            f"{row['recipe_tokens_per_sec']:>12.0f} {row['ratio']:>5.2f}  "
            f"{' '.join(f'{ratio:.2f}' for ratio in row['ratios'])}",
            flush=True,
        )
    print(f"nats of a window differ by at most {max(row['worst_difference_nats'] for row in rows):.1e} a target")
    if options.json:
        report = {"rows": rows, "made_with": environment(CPU)}
        write_atomically(options.json, json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    with script():
        main()
