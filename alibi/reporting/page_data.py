"""What the page's charts draw, as plain data for JSON: rounded and thinned, so that the page stays small."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from alibi.analysis.published import PUBLISHED, UNIT, WARNING
from alibi.reporting.figure_more import FEWEST_TARGETS, context_curve
from alibi.reporting.lines import COLOURS, PARTS, Look, looks
from alibi.reporting.study import ResultSet, Run, Study
from alibi.reporting.training_log import read_training
from alibi.reporting.words import METRICS


@dataclass(frozen=True)
class Detail:
    """How much of the data the page holds."""

    training_points: int = 300
    every_context_length: bool = True
    every_pair: bool = True


def page_data(study: Study, detail: Detail) -> dict:
    """Everything that the page's script reads."""
    return {
        "metrics": METRICS,
        "fewest": FEWEST_TARGETS,
        "lines": [{"label": label, **_look(look)} for label, look in study.looks.items()],
        "runs": [{"label": r.label, "line": r.line, "seed": r.result.seed} for r in study.runs],
        "sets": [_set(part, detail) for part in study.sets],
        "parts": {name: {"name": title, "colour": colours} for name, (title, colours) in PARTS.items()},
        "changes": [
            _change(run, change) | {"set": number}
            for number, part in enumerate(study.sets)
            for run, change in part.changes
        ],
        "training": _training(study, detail.training_points),
        "published": {"unit": UNIT, "warning": WARNING, "groups": [_published(g) for g in PUBLISHED]},
    }


def _look(look: Look) -> dict:
    return {"colour": look.colour, "marker": look.marker[1], "dash": look.dash[1]}


def _set(part: ResultSet, detail: Detail) -> dict:
    names = {run.key: run.label for run in part.runs}
    return {
        "title": part.title,
        "sliding": part.content["protocol"] != "nonoverlapping",
        "text": " ".join(str(part.content[name]) for name in ("data", "precision", "scorer")),
        "metrics": part.metrics,
        "lengths": part.lengths,
        "runs": [_run(run, detail) for run in part.runs],
        "means": {
            line.label: {
                metric: [
                    [length, rounded(mean)]
                    for length in part.lengths
                    if (mean := part.mean(line.label, length, metric).get("mean")) is not None
                ]
                for metric in part.metrics
            }
            for line in part.lines
        },
        "pairs": [
            {"a": names[pair["a"]], "b": names[pair["b"]], "lengths": [_pair(e) for e in pair["lengths"]]}
            for pair in part.content["pairs"]
            if detail.every_pair or _near(part, pair)
        ],
    }


def _near(part: ResultSet, pair: Mapping) -> bool:
    """Whether two runs share a seed or a line: the pairs that people look at."""
    a, b = (next(run for run in part.runs if run.key == pair[end]) for end in ("a", "b"))
    return a.result.seed == b.result.seed or a.line == b.line


def _pair(entry: Mapping) -> dict:
    """{length, metric: [value, low, high]}; a ratio of perplexities, a difference of bits."""
    told: dict = {"length": entry["length"]}
    for metric in METRICS:
        if entry.get(metric):
            value = entry[metric].get("ratio", entry[metric].get("difference"))
            told[metric] = [rounded(value), *map(rounded, entry[metric].get("interval") or ())]
    return told


def _run(run: Run, detail: Detail) -> dict:
    rows, curves = [], {}
    for length, row in run.result.rows.items():
        told: dict = {"length": length}
        if "error" in row:
            rows.append(told | {"error": row["error"]})
            continue
        for metric in METRICS:
            if row.get(metric) is not None and not run.result.is_marked(metric):
                pair = (row.get("interval") or {}).get(metric) or ()
                told[metric] = [rounded(v) for v in (row[metric], *pair)]
        speeds = {name: rounded(row[name]) for name in ("tokens_per_sec", "peak_memory_mib") if row.get(name)}
        machine = run.result.machine(length)
        rows.append(told | speeds | ({"machine": machine} if machine else {}))
        if curve := context_curve(row):
            curves[length] = [[x for x, _, _ in curve], [rounded(y, 5) for _, y, _ in curve], [n for *_, n in curve]]
    if not detail.every_context_length:
        curves = {length: curves[length] for length in sorted(curves)[-1:]}
    about = {"label": run.label, "line": run.line, "seqLen": run.result.seq_len}
    return about | {"rows": rows, "context": curves}


def _change(run: Run, change: Mapping) -> dict:
    """One run's split, with what turns nats per token into nats per word and bits per byte of the same text."""
    data = run.result.content["data"]
    factors = {"perplexity": 1.0, "word_perplexity": rounded(data["tokens"] / data["words"])}
    factors["bits_per_byte"] = rounded(data["tokens"] / data["bytes"] / math.log(2))
    factors = {metric: factor for metric, factor in factors.items() if not run.result.is_marked(metric)}
    lengths = []
    for entry in change["lengths"]:
        pairs = entry.get("interval") or {}
        parts = {part: [rounded(v) for v in (entry[part], *(pairs.get(part) or ()))] for part in PARTS}
        lengths.append({"length": entry["length"]} | parts)
    return {"label": run.label, "line": run.line, "stride": change["stride"], "factors": factors, "lengths": lengths}


def _training(study: Study, points: int) -> list[dict]:
    """Each run folder's curves once, though several checkpoints of it were evaluated."""
    found = {}
    for run in study.runs:
        folder = run.result.folder
        if folder not in found and (curves := read_training(folder, points)):
            told = {"label": run.label, "line": run.line}
            both = {"train": curves.train, "val": curves.val}
            found[folder] = told | {name: [[rounded(x), rounded(y)] for x, y in c] for name, c in both.items()}
    return list(found.values())


def _published(group: Mapping) -> dict:
    """Colours by method, as the runs have them; dashes by the place among the method's curves."""
    curves = group["curves"]
    every = looks([(str(i), curve["method"]) for i, curve in enumerate(curves)])
    return {
        "name": group["name"],
        "sliding": group["protocol"] == "sliding",
        "curves": [
            {
                "label": f"{c['method']}, L {c['seq_len'] or '= length'} (published)",
                "seqLen": c["seq_len"],
                "points": c["points"],
                "colour": COLOURS[c["method"]],
                "marker": look.marker[1] + "-open",
            }
            for c, look in zip(curves, every, strict=True)
        ],
    }


def rounded(value: float, digits: int = 6) -> float:
    """So many digits as anyone can read off; NaN cannot come here."""
    return float(f"{value:.{digits}g}")
