"""Results on tasks made by hand, with their metrics.jsonl, as evaluation and training write them."""

import json
from pathlib import Path

from studies import with_checksum

LENGTHS, TRAINED = (16, 32, 64), 16
KNOWS, GUESSES = (1.0, 0.75, 0.25), (0.25, 0.125, 0.0)  # exact match at each length
LEARNS = ((100, 0.25), (200, 1.0))  # (step, exact match in validation)
SETTINGS = {"keys": 64, "layout": "anywhere", "load": "growing"}
MADE_WITH = {"git_commit": "47cf737", "device": "cpu: EPYC", "processes": 1}


def task_row(length, exact, learned):
    """A string that is not all right has half of its answers right."""
    accuracy = (1 + exact) / 2
    interval = {"exact_match": [max(0.0, exact - 0.03), min(1.0, exact + 0.02)], "accuracy": [accuracy - 0.01, 1.0]}
    return {
        "length": length,
        "stride": length,
        "scored_tokens": 1000 * length // 4,
        "nll_nats": 100.0 * length * (1 - accuracy),
        "accuracy": accuracy,
        "exact_match": exact,
        "strings": 1000,
        "baseline": 8 / length,
        "interval": interval,
        "test_sha256": f"{length:064x}",
        "tokens_per_sec": 50_000.0,
        "peak_memory_mib": 300.0,
        "skip_far_keys": False,
        "learned": learned,
        "made_with": MADE_WITH,
    }


def task_file(
    root, exact=KNOWS, method="alibi", seed=0, lr=0.003, tokens=2_000_000, task="mqar", settings=SETTINGS,
    split="test", strings="a", precision="fp32", learning=LEARNS, step=800, stop_at=None, trained_with=None,
):  # fmt: skip
    """Write the result file of a run; an `exact` that is text is a row's error.

    Args:
        strings: a digit, of which the hash of the strings is made.
        trained_with: settings of the task that were others in training.
        learning: None: no metrics.jsonl.
    """
    run = f"{method}-tiny-{task}-L{TRAINED}-seed{seed}-{lr:g}"
    learned = exact[0] >= 0.99
    stated = {"model.position.name": method, "optimizer.lr": lr, "seed": seed, "train.seq_len": TRAINED}
    stated |= {f"data.task.{name}": value for name, value in (settings | (trained_with or {})).items()}
    stated |= {"train.stop_at": stop_at} if stop_at else {}
    content = {
        "schema": 1,
        "checkpoint": {
            "path": f"{run}/checkpoints/step-{step:08}",
            "sha256": f"weights of {run} {step}",
            "step": step,
            "model": method,
            "seq_len": TRAINED,
            "seed": seed,
            "parameters": 1000,
            "run": run,
            "settings": stated,
            "training": {"tokens": tokens, "flops": 1e12, "text_sha256": "c" * 64},
        },
        "data": {
            "name": task,
            "split": split,
            "sha256": strings * 64,
            "task": settings,
            "form": "strings",
            "tokenizer": {"name": "word", "vocab_size": 195, "sha256": "e" * 64},
        },
        "protocol": {"name": "nonoverlapping"},
        "scorer": "full",
        "precision": precision,
        "made_with": MADE_WITH,
        "intervals": {"level": 0.95, "resamples": 10000, "units": 1000},
        "rows": [
            {"length": n, "stride": n, "error": value} if isinstance(value, str) else task_row(n, value, learned)
            for n, value in zip(LENGTHS, exact, strict=False)
        ],
    }
    path = (
        Path(root) / run / "evaluation" / f"step-{step:08}-{task}-{strings * 8}-{split}-nonoverlapping-{precision}.json"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(with_checksum(content)))
    if learning is not None:
        log = [{"step": step, "tokens": 1000 * step, "val/loss": 1.0, "val/exact_match": y} for step, y in learning]
        (path.parents[1] / "metrics.jsonl").write_text("\n".join(map(json.dumps, log)))
    return path
