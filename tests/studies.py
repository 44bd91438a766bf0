"""A study made by hand: result files and metrics.jsonl as the project writes them, with smooth curves.

Reporting knows nothing else. A method's nats fall with context c as c^-0.3 and rise past its training length.
"""

import hashlib
import json
import math
import re
from pathlib import Path

TOKENS, WORDS, BYTES = 317_905, 217_646, 1_146_846
# How many nats a doubling beyond the training length costs.
HARM = {"alibi": -0.01, "sinusoidal": 0.55, "rotary": 0.25, "t5": 0.04, "none": 0.12}
LENGTHS = (128, 256, 512, 1024, 2048)
INTERVALS = {
    "level": 0.95,
    "resamples": 10000,
    "units": 60,
    "least_units": 10,
    "method": "paired bootstrap over the groups of the text, expanded percentile interval",
    "holds_for": "these weights, over texts of this kind; another seed of training moves the numbers too",
}


def with_checksum(content):
    """The content with its own sha256 behind it, as evaluation writes it."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return content | {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def groups():
    """40 groups of the text, alike in their shares of tokens, words and bytes."""
    counts = {"tokens": TOKENS, "words": WORDS, "bytes": BYTES}
    return {
        "kind": "documents",
        **{name: [n // 40] * 39 + [n - n // 40 * 39] for name, n in counts.items()},
    }


def change_of(run, lengths, stride):
    """The change of a sliding file against its training length, split in two."""
    n = {k: mean_nats(range(1, k + 1), *run) for k in lengths}
    s = {k: mean_nats(range(k - stride + 1, k + 1), *run) for k in lengths}
    at, entries = run[1], []
    for k in (k for k in lengths if k >= at):
        parts = {"whole": n[k] - n[at], "longer_context": s[k] - s[at], "early_tokens": n[k] - s[k] - (n[at] - s[at])}
        entries.append({"length": k, **parts, "interval": {p: [v - 0.006, v + 0.006] for p, v in parts.items()}})
    return {"against": at, "stride": stride, "lengths": entries}


def nats_at(context, method, seq_len, seed):
    late = max(0.0, math.log2(context / seq_len))
    return 4.1 + 2.2 * context**-0.3 + HARM.get(method, 0.1) * late + 0.012 * seed + 0.02 * (len(method) % 3)


def mean_nats(contexts, *run):
    return sum(nats_at(c, *run) for c in contexts) / len(contexts)


def bins(length):
    up_to = list(range(1, min(64, length) + 1))
    while up_to[-1] < length:
        up_to.append(min(length, math.ceil(up_to[-1] * 1.189)))
    return up_to


def row_of(run, length, stride):
    contexts = range(1, length + 1) if stride is None else range(length - stride + 1, length + 1)
    nats = mean_nats(contexts, *run)
    total = nats * TOKENS
    values = {
        "perplexity": math.exp(nats),
        "word_perplexity": math.exp(total / WORDS),
        "bits_per_byte": total / BYTES / math.log(2),
    }
    up_to = bins(length)
    first = [0, *up_to[:-1]]
    if stride is None:
        targets = [TOKENS * (b - a) // length for a, b in zip(first, up_to, strict=True)]
    else:
        targets = [
            (TOKENS * (b - max(a, length - stride)) // stride if b > length - stride else b - a)
            for a, b in zip(first, up_to, strict=True)
        ]
    means = [mean_nats(range(a + 1, b + 1), *run) for a, b in zip(first, up_to, strict=True)]
    return {
        "length": length,
        "stride": stride or length,
        "scored_tokens": TOKENS,
        "nll_nats": total,
        **values,
        "tokens_per_sec": (14000 - 400 * len(run[0]))
        / (1 + length / 3000)
        / (1 if stride is None else length / stride / 3),
        "peak_memory_mib": 300 + length * 0.03 * len(run[0]),
        "group_nats": [
            nats * n * (1 + 0.1 * math.sin(i) + 0.014 * math.sin(i * (3 + run[2]) + len(run[0])))
            for i, n in enumerate(groups()["tokens"])
        ],
        "context": {
            "up_to": up_to,
            "targets": targets,
            "nll_nats": [m * n for m, n in zip(means, targets, strict=True)],
        },
        "interval": {
            "perplexity": [values["perplexity"] * 0.985, values["perplexity"] * 1.017],
            "word_perplexity": [values["word_perplexity"] * 0.978, values["word_perplexity"] * 1.024],
            "bits_per_byte": [values["bits_per_byte"] - 0.004, values["bits_per_byte"] + 0.0045],
        },
    }


def make_file(root, method, seed, seq_len=128, stride=None, lengths=LENGTHS, name=None, adapt=None):
    """An adapted run falls off as ALiBi does."""
    run = (method, seq_len, seed)
    folder = re.sub(r"[^A-Za-z0-9._-]", "_", method)
    name = name or f"{folder}-tiny-wikitext2-L{seq_len}-seed{seed}-1a2b3c4d"
    protocol = "nonoverlapping" if stride is None else f"stride-{stride}"
    position = 4096 if method == "t5" else 0
    content = {
        "schema": 1,
        "checkpoint": {
            "path": f"{name}/checkpoints/step-00000800",
            "sha256": hashlib.sha256(str(run).encode()).hexdigest(),
            "step": 800,
            "model": method,
            "seq_len": seq_len,
            "seed": seed,
            "parameters": 1311872 + position,
            "run": name,
            "settings": {
                "model.num_layers": 4,
                "model.position.name": method,
                "optimizer.lr": 0.003,
                "seed": seed,
                "train.seq_len": seq_len,
                "train.max_steps": 800,
                **({"model.position.theta": 10000.0} if method == "rotary" else {}),
            },
            "parameters_in": {"position": position, "embedding": 524288, "rest": 787584},
            "training": {"tokens": 3276800, "flops": 1.5e13},
        },
        "data": {
            "name": "wikitext2",
            "split": "validation",
            "tokens": TOKENS,
            "words": WORDS,
            "bytes": BYTES,
            "sha256": "d" * 64,
            "form": "raw",
            "tokenizer": {"name": "bpe", "vocab_size": 4096, "sha256": "e" * 64},
        },
        "protocol": {"name": protocol, "first_input": "end-of-text"},
        "scorer": "full",
        "precision": "fp32",
        "intervals": INTERVALS,
        "groups": groups(),
        **({"change": change_of(run, lengths, stride)} if stride and seq_len in lengths else {}),
        "rows": [row_of(run if adapt is None else ("alibi", *run[1:]), length, stride) for length in lengths],
        **({"adapt": {"name": adapt, "factor": f"max(1, length / {seq_len})", "set": {}}} if adapt else {}),
        "how_far": {"within_percent": 2.0, "training_length": seq_len, "length": seq_len, "breaks_at": None},
        "made_with": {
            "git_commit": "47cf737",
            "git_dirty": False,
            "python": "3.11.7",
            "packages": {"torch": "2.13"},
            "device": "cpu: EPYC",
            "threads": 2,
        },
    }
    if method == "t5" and seed == 0:
        content["rows"][-1] = {
            "length": lengths[-1],
            "stride": stride or lengths[-1],
            "error": "out of memory: tried 9 GiB",
        }
    measured = f"{protocol}-{adapt}" if adapt else protocol
    path = Path(root) / name / "evaluation" / f"step-00000800-wikitext2-validation-{measured}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(with_checksum(content)))
    write_metrics(path.parents[1] / "metrics.jsonl", run)
    return path


def write_metrics(path, run):
    lines = []
    for step in range(1, 801):
        loss = 4.4 + 4 * step**-0.35 + 0.05 * math.sin(step * 1.7) + 0.02 * len(run[0]) / 10
        record = {
            "step": step,
            "tokens": step * 4096,
            "train/loss": loss,
            "perf/tokens_per_sec": 9000.0,
            "perf/max_memory_mib": 700.0,
        }
        if step % 100 == 0:
            record["val/loss"] = loss + 0.08
        lines.append(json.dumps(record))
    path.write_text("\n".join(lines) + '\n{"step": 801, "tok')
