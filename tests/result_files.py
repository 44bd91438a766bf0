"""Result files made by hand, as an older version wrote them: no checksum, no groups."""

import json
import math
from pathlib import Path

import pytest

from alibi.results import Result
from alibi.results.schema import Content


def as_result(path, content):
    """A result of what a test needs to state: the rest is filled in, and the numbers follow from the nats."""
    counts = {"name": "toy", "split": "test", "sha256": "1", "tokens": 100, "words": 80, "bytes": 400}
    data = counts | content.get("data", {})
    rows = []
    for row in content.get("rows", []):
        if "error" not in row:
            nats = row.get("nll_nats", sum(row.get("group_nats", [])))
            numbers = {"perplexity": math.exp(nats / data["tokens"]), "word_perplexity": math.exp(nats / data["words"])}
            row = row | {"nll_nats": nats, **numbers, "bits_per_byte": nats / data["bytes"] / math.log(2)}
        rows.append(row)
    filled = {"schema": 1, "protocol": {"name": "nonoverlapping"}, "precision": "fp32"} | content
    filled |= {"data": data, "rows": rows}
    filled["checkpoint"] = {"sha256": "0", "step": 1, "model": "alibi"} | content["checkpoint"]
    return Result(Path(path), Content.model_validate(filled))


@pytest.fixture
def make_result(tmp_path):
    """Write a result file; `curve` maps lengths to perplexities, or to an error message."""

    def make(method="alibi", curve=None, seq_len=64, seed=0, protocol="nonoverlapping", **content):
        data = {"name": "toy", "split": "validation", "tokens": 12345, "words": 6000, "bytes": 54321, "sha256": "1"}
        data = content.get("data", data)

        def row(length, value):
            if isinstance(value, str):
                return {"length": length, "stride": length, "error": value}
            tokens, words, num_bytes = (data[unit] for unit in ("tokens", "words", "bytes"))
            nats = tokens * math.log(value) if value > 0 else 0.0
            told = {"nll_nats": nats, "scored_tokens": tokens, "bits_per_byte": nats / num_bytes / math.log(2)}
            if nats / words < 700:  # evaluation leaves out what is above the largest float
                told["word_perplexity"] = math.exp(nats / words)
            return {"length": length, "stride": length, "perplexity": value, **told}

        curve = {64: 20.0, 128: 19.5} if curve is None else curve
        path = (
            tmp_path
            / f"{method}-L{seq_len}-seed{seed}"
            / "evaluation"
            / f"step-00000100-toy-validation-{protocol}.json"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint = {"path": "x", "sha256": "0", "step": 100, "model": method, "seq_len": seq_len, "seed": seed}
        whole = {
            "schema": 1,
            "checkpoint": checkpoint,
            "data": data,
            "protocol": {"name": protocol},
            "precision": "fp32",
            "rows": [row(*item) for item in curve.items()],
        }
        path.write_text(json.dumps(whole | content))
        return path

    return make
