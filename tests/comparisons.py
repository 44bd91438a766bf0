"""A comparison of the result files of studies.py, in the form in which the project hands one to reporting."""

import itertools
import json
from pathlib import Path

from studies import HARM, INTERVALS, LENGTHS, make_file, mean_nats

from alibi.evaluation import compare_results
from alibi.reporting import join, load_results


def study_of(paths):
    """The study of result files, as evaluate.py makes one of its own."""
    results = load_results(paths)
    return join(results, compare_results({result.path: result.content for result in results}))


def compare(paths, labels=None):
    """A comparison of result files on one text, in the form of alibi/analysis/comparison.py."""
    files = {str(path): json.loads(Path(path).read_text()) for path in paths}
    protocols = list(dict.fromkeys(content["protocol"]["name"] for content in files.values()))
    sets = [
        make_set({p: c for p, c in files.items() if c["protocol"]["name"] == name}, labels or {}) for name in protocols
    ]
    changes = []
    for path, content in files.items():
        if "stride" in content["protocol"]["name"]:
            check = content["checkpoint"]
            run = (check["model"], check["seq_len"], check["seed"])
            changes.append({"run": label_of(path, content, labels or {}), "path": path, **change_of(run, content)})
    return {"schema": 2, "intervals": INTERVALS, "sets": sets, "changes": changes, "refused": []}


def change_of(run, content):
    n = {k: mean_nats(range(1, k + 1), *run) for k in LENGTHS}
    s = {k: mean_nats(range(k - 15, k + 1), *run) for k in LENGTHS}
    at = run[1]
    entries = []
    for k in (row["length"] for row in content["rows"] if row["length"] >= at):
        parts = {"whole": n[k] - n[at], "longer_context": s[k] - s[at], "early_tokens": n[k] - s[k] - (n[at] - s[at])}
        entries.append({"length": k, **parts, "interval": {p: [v - 0.006, v + 0.006] for p, v in parts.items()}})
    return {"stride": 16, "against": at, "lengths": entries}


def label_of(path, content, labels):
    check = content["checkpoint"]
    return labels.get(str(path), f"{check['model']} L={check['seq_len']} seed {check['seed']}")


def make_set(files, labels):
    runs = []
    for number, (path, content) in enumerate(files.items()):
        check = content["checkpoint"]
        label = label_of(path, content, labels)
        line = label if str(path) in labels else f"{check['model']} L={check['seq_len']}"
        runs.append(
            {
                "key": f"r{number}",
                "label": label,
                "short": check["model"],
                "path": path,
                "method": check["model"],
                "seq_len": check["seq_len"],
                "seed": check["seed"],
                "step": 800,
                "line": line,
                "tokenizer": str(content["data"].get("tokenizer")),
            }
        )
    rows = {
        run["key"]: {row["length"]: row for row in files[run["path"]]["rows"] if "error" not in row} for run in runs
    }
    first = next(iter(files.values()))
    metrics = [
        m
        for m in ("perplexity", "word_perplexity", "bits_per_byte")
        if all(m in row for r in rows.values() for row in r.values())
    ]
    lines = []
    for name in dict.fromkeys(run["line"] for run in runs):
        own = [run for run in runs if run["line"] == name]
        lengths = []
        for length in rows[own[0]["key"]]:
            found = [rows[run["key"]][length] for run in own if length in rows[run["key"]]]
            told = {
                m: {"values": [r[m] for r in found], "mean": sum(r[m] for r in found) / len(found), "interval": None}
                for m in metrics
            }
            lengths.append({"length": length} | told)
        lines.append(
            {
                "label": name,
                "method": own[0]["method"],
                "seq_len": own[0]["seq_len"],
                "runs": [r["key"] for r in own],
                "lengths": lengths,
            }
        )
    pairs = []
    for a, b in itertools.combinations(runs, 2):
        lengths = []
        for length in rows[a["key"]].keys() & rows[b["key"]].keys():
            told = {"length": length}
            for m in metrics:
                x, y = rows[a["key"]][length][m], rows[b["key"]][length][m]
                if m == "bits_per_byte":
                    told[m] = {"difference": x - y, "interval": [x - y - 0.001, x - y + 0.001]}
                else:
                    told[m] = {"ratio": x / y, "interval": [x / y * 0.996, x / y * 1.004]}
            lengths.append(told)
        pairs.append({"a": a["key"], "b": b["key"], "lengths": sorted(lengths, key=lambda e: e["length"])})
    far = [
        {
            "run": r["key"],
            "within_percent": 2.0,
            "length": 2048 if r["method"] == "alibi" else 128,
            "breaks_at": None if r["method"] == "alibi" else 256,
            "evaluated_to": max(rows[r["key"]], default=None),
        }
        for r in runs
    ]
    crossings = (
        [{"a": lines[0]["label"], "b": lines[-1]["label"], "at": [{"after": 128, "before": 256, "about": 171.2}]}]
        if len(lines) > 1
        else []
    )
    data = {k: first["data"][k] for k in ("name", "split", "sha256", "words", "bytes")} | {
        "form": first["data"].get("form")
    }
    note = "One run only: nothing to compare." if len(runs) == 1 else None
    return {
        "data": data,
        "protocol": first["protocol"]["name"],
        "precision": first["precision"],
        "scorer": first.get("scorer", "full"),
        "metrics": metrics,
        "note": note,
        "runs": runs,
        "lines": lines,
        "pairs": pairs,
        "crossings": crossings,
        "how_far": far,
    }


def make_study(root, methods=tuple(HARM), seeds=(0, 1), strides=(None, 16), lengths=LENGTHS, labels=None):
    """Files of every method and seed by every protocol; returns (paths, comparison).

    Args:
        labels: a method's label in place of the usual one, for hostile names.
    """
    cases = itertools.product(strides, methods, seeds)
    paths = {}
    for stride, method, seed in cases:
        paths[make_file(root, method, seed, stride=stride, lengths=lengths)] = (method, seed)
    named = {str(p): labels[method] for p, (method, _) in paths.items() if labels and method in labels}
    comparison = compare(list(paths), named)
    apart = [{"set": number, "value": one["protocol"]} for number, one in enumerate(comparison["sets"])]
    comparison["refused"] = [{"reason": "other protocol", "sets": apart}]
    return list(paths), comparison
