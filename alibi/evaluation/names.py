"""What runs are called where several stand together, and which of them are one line: seeds of the same settings."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path


class Names:
    """A label for every run and for every line, which is the runs that differ in their seed alone.

    They are given over all results at once, so that a run has one name in every set.

    Attributes:
        runs, lines: labels by path.
    """

    def __init__(self, results: Mapping[Path, dict]) -> None:
        # One run is one folder's weights: its results by other protocols share its names.
        run_of = {path: (path.absolute().parents[1], r["checkpoint"]["sha256"]) for path, r in results.items()}
        first: dict[tuple, dict] = {}
        for path, run in run_of.items():
            first.setdefault(run, results[path])
        line_of = _lines_of(first)
        named: dict[tuple, tuple[str, ...]] = {}
        for run, line in line_of.items():
            named.setdefault(line, _parts(first[run], run[0].name))
        lines = _told_apart(named)
        runs = _told_apart({run: _parts(first[run], run[0].name, seed=True) for run in first})
        self.runs = {path: runs[run] for path, run in run_of.items()}
        self.lines = {path: lines[line_of[run]] for path, run in run_of.items()}


def _lines_of(runs: Mapping[tuple, dict]) -> dict[tuple, tuple]:
    """The line of each run: what it shares with runs of other seeds. A seed that is there twice makes no line."""
    alike: dict[tuple, list[tuple]] = {}
    for run, result in runs.items():
        alike.setdefault(_but_for_the_seed(result), []).append(run)
    lines = {}
    for key, members in alike.items():
        several = len({runs[run]["checkpoint"].get("seed") for run in members}) < len(members)
        lines |= {run: (key, run) if several else (key,) for run in members}
    return {run: lines[run] for run in runs}


def _parts(result: dict, run_name: str, seed: bool = False) -> tuple[str, ...]:
    """alibi L=128 seed 0, and what can be added to tell a run from others."""
    checkpoint = result["checkpoint"]
    label = checkpoint["model"]
    # A model that was not trained here has no seed, and some say nothing of a length.
    if checkpoint.get("seq_len") is not None:
        label += f" L={checkpoint['seq_len']}"
    if seed and checkpoint.get("seed") is not None:
        label += f" seed {checkpoint['seed']}"
    return label, f"step {checkpoint['step']}", f"({run_name})"


def _told_apart(parts: Mapping[tuple, tuple[str, ...]]) -> dict[tuple, str]:
    """The first of each one's parts, those others that tell it from its namesakes, and at last a number."""
    names = {key: first for key, (first, *_) in parts.items()}
    for place in range(1, max(map(len, parts.values()), default=0)):
        alike: dict[str, list[tuple]] = {}
        for key, name in names.items():
            alike.setdefault(name, []).append(key)
        for namesakes in alike.values():
            if len({parts[key][place] for key in namesakes}) > 1:
                names |= {key: f"{names[key]} {parts[key][place]}" for key in namesakes}
    seen: Counter = Counter()
    for key, name in names.items():
        seen[name] += 1
        names[key] = name if seen[name] == 1 else f"{name} #{seen[name]}"
    return names


def _but_for_the_seed(result: dict) -> tuple:
    """What runs share that differ in nothing but their seed."""
    checkpoint = result["checkpoint"]
    settings = {name: value for name, value in checkpoint.get("settings", {}).items() if name != "seed"}
    same = (checkpoint["model"], checkpoint.get("seq_len"), checkpoint["step"], checkpoint.get("parameters"))
    return *same, repr(sorted(settings.items())), tokenizer_of(result)


def tokenizer_of(result: dict) -> str:
    """What two results must share for their numbers per token to be comparable.

    Older files do not name it; on the same text another number of tokens is another tokenizer.
    """
    data = result["data"]
    return data["tokenizer"]["sha256"] if "tokenizer" in data else f"{data.get('tokens')} tokens"
