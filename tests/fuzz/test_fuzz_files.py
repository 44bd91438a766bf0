"""Token files, result files and logs, changed: read as what they are, or refused by the documented error."""

import json
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from mutations import changed_bytes, changed_json, fuzz, refusal

from alibi.evaluation import compare_results
from alibi.metrics_file import read_metrics
from alibi.reporting import comparison_text, join, load_results, results_table
from alibi.reporting.training_log import read_training
from alibi.results.open_result import OpenResult
from alibi.results.result_json import content_sha256, read_result


def result() -> dict:
    """A result file's content, of the fields that readers look at."""
    groups = {"kind": "blocks", "tokens": [50, 50], "words": [40, 40], "bytes": [200, 200]}
    nats = [110.0, 120.0]
    total = sum(nats)
    row = {
        "length": 16, "stride": 16, "scored_tokens": 100, "nll_nats": total, "perplexity": float(np.exp(total / 100)),
        "word_perplexity": float(np.exp(total / 80)), "bits_per_byte": float(total / 400 / np.log(2)),
        "tokens_per_sec": 5.0, "peak_memory_mib": 5.0, "group_nats": nats,
    }  # fmt: skip
    checkpoint = {"path": "run", "sha256": "ab", "step": 3, "model": "alibi", "seq_len": 16, "seed": 0, "parameters": 9}
    return {
        "schema": 1,
        "checkpoint": checkpoint | {"run": "run", "settings": {"seed": 0}},
        "data": {"name": "stdlib", "split": "test", "tokens": 100, "words": 80, "bytes": 400, "sha256": "cd"},
        "protocol": {"name": "nonoverlapping", "first_input": "end-of-text"},
        "scorer": "full", "precision": "fp32", "groups": groups, "made_with": {"python": "3"},
        "how_far": {"within_percent": 1.0, "length": 16, "breaks_at": None}, "rows": [row, row | {"length": 32}],
    }  # fmt: skip


def test_a_result_file(tmp_path):
    folder = tmp_path / "run" / "evaluation"
    folder.mkdir(parents=True)
    head = result()

    def check(drawn) -> None:
        changed, signed = drawn
        path = folder / "step-00000003-stdlib-test-nonoverlapping.json"
        if signed and isinstance(changed, dict):
            changed["sha256"] = content_sha256_or_none(changed)
        path.write_text(json.dumps(changed))
        assert refusal(lambda: report(path)) != ""
        refused = refusal(lambda: read_result(path))
        assert refused is None or "move it away" in refused
        if refused is None:
            OpenResult(folder, "step-00000003", head, True, [16, 32], 1.0, lambda _: None).open(reuse=True)
        assert {p for p in tmp_path.rglob("*") if p.is_file()} - {folder.parent / ".evaluation.lock"} == set(
            folder.glob("step-*.json")
        )
        for other in folder.glob("*.json"):
            other.unlink()

    fuzz("result file", st.tuples(changed_json(head), st.booleans()), check)


def report(path: Path) -> None:
    results = load_results([path])
    comparison = compare_results({r.path: r.content for r in results})
    comparison_text(results, comparison)
    results_table(join(results, comparison).sets[0], [16, 32])


def content_sha256_or_none(content: dict) -> str | None:
    try:
        return content_sha256(content)
    except (ValueError, RecursionError):
        return None


def test_a_log(tmp_path):
    lines = [{"step": n, "tokens": 64 * n, "train/loss": 5.0, "val/loss": 4.0, "perf/step_ms": 1.0} for n in range(5)]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path = tmp_path / "metrics.jsonl"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        read_training(tmp_path)
        refused = refusal(lambda: read_metrics(path))
        assert refused is None or "move the file away" in refused

    one_line = st.tuples(st.integers(0, 4), changed_json(lines[0])).map(
        lambda drawn: b"".join(
            json.dumps(drawn[1] if n == drawn[0] else line).encode() + b"\n" for n, line in enumerate(lines)
        )
    )
    fuzz("log", st.one_of(changed_bytes(content), one_line), check)
