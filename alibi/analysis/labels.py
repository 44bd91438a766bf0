"""Labels for runs shown together, and which runs are one line: those that differ in their seed alone."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import count
from pathlib import PurePath

from alibi.results import Result
from alibi.results.parts import Origin

LONGEST_VALUE = 24  # of a setting in a label, in characters
WORDS = {  # 6 layers, not num_layers 6
    "model.num_layers": "{} layers",
    "model.num_heads": "{} heads",
    "optimizer.position_lr_multiplier": "position lr x{}",
}
PATHS = ("data.path", "tokenizer.path")
LAST_RESORTS = ("text", "tokenizer", "folder")  # what tells lines apart where no setting does
# What is compared within a method only: its own settings, and what tables have a column for.
OF_A_METHOD = ("model.position.", "train.seq_len", "step", *LAST_RESORTS)


def label(results: Sequence[Result]) -> list[tuple[str, str, str]]:
    """Labels of each result, given over all results at once, so that a run has one label in every set.

    Returns:
        (label of its line with the seed in it; what of it a table needs that has training length, seed and step in
        columns; label of its line: of all runs that differ in their seed alone).
    """
    run_of = _runs_of(results)
    runs = dict(zip(run_of, results, strict=True))
    steps = _steps(runs)
    line_of = _lines_of(runs, steps)
    apart = _told_apart({line: runs[line] for line in line_of.values()}, steps)
    lines = unique({line: " ".join([_method(runs[line]), *words]) for line, words in apart.items()})
    labels = unique({run: " ".join([_with_seed(runs[run]), *apart[line]]) for run, line in line_of.items()})
    found = []
    for run in run_of:
        line, checkpoint = line_of[run], runs[run].checkpoint
        words = [word for word in apart[line] if word != f"step {checkpoint.step}"]
        found.append((labels[run], " ".join([runs[run].method, *words]), lines[line]))
    return found


def tokenizers_of(results: Sequence[Result]) -> list[str]:
    """A name for the tokenizer of each result of one text, the same where numbers per token may be compared.

    Where files state the ids of the text, the same ids are the same tokenizer, whatever its name and file format.
    Older files state the tokenizer's own hash, or only the number of tokens.
    """
    ids = {_tokenizer(r): r.data.tokens_sha256 for r in results if r.data.tokens_sha256}
    keys = [r.data.tokens_sha256 or ids.get(_tokenizer(r), _tokenizer(r)) for r in results]
    names: dict[str, str] = {}
    for key, result in zip(keys, results, strict=True):
        made = result.data.tokenizer
        words = f"{made.name} of {made.vocab_size:,} ({made.sha256[:8]})" if made else _tokenizer(result)
        names.setdefault(key, words)
    names = unique(names)
    return [names[key] for key in keys]


def _runs_of(results: Iterable[Result]) -> list[tuple]:
    """The run of each result: the weights in one folder, and how they were adapted.

    A second file that measured the same counts as another run, since two of one run would pass for two seeds.
    """
    runs, copies = [], Counter()
    for result in results:
        run = result.folder, result.checkpoint.sha256, result.measured.adapt
        runs.append((*run, copies[run, result.measured]))
        copies[run, result.measured] += 1
    return runs


def _steps(runs: Mapping[tuple, Result]) -> dict[tuple, int | None]:
    """The step of each run; None: the last one where train.stop_at ends every seed at another step."""
    last: dict[tuple, int] = defaultdict(int)
    for (folder, *_), result in runs.items():
        last[folder] = max(last[folder], result.checkpoint.step)
    return {
        run: None if _stops_early(result) and result.checkpoint.step == last[run[0]] else result.checkpoint.step
        for run, result in runs.items()
    }


def _stops_early(result: Result) -> bool:
    return (result.checkpoint.settings or {}).get("train.stop_at") is not None


def _lines_of(runs: Mapping[tuple, Result], steps: Mapping[tuple, int | None]) -> dict[tuple, tuple]:
    """By run, the first run of its line. Where a seed is there twice, each run is a line of its own."""
    alike = defaultdict(list)
    for run, result in runs.items():
        alike[_all_but_seed(result, steps[run]) or run].append(run)
    lines = {}
    for members in alike.values():
        seeds = {runs[run].checkpoint.seed for run in members}
        lines |= {run: members[0] if len(seeds) == len(members) else run for run in members}
    return {run: lines[run] for run in runs}


def _all_but_seed(result: Result, step: int | None) -> tuple | None:
    """What runs share that differ in their seed alone; None where the file does not state it."""
    checkpoint = result.checkpoint
    if not checkpoint.settings or checkpoint.seed is None:
        return None
    settings = checkpoint.settings | {"seed": None}
    if origin := checkpoint.origin:
        settings |= {"origin.sha256": _origin(origin)}
    settings = json.dumps(settings, sort_keys=True)
    same = result.method, checkpoint.seq_len, step, checkpoint.parameters
    return *same, settings, _trained_on(result), _tokenizer(result)


def _told_apart(lines: Mapping[tuple, Result], steps: Mapping[tuple, int | None]) -> dict[tuple, list[str]]:
    """The words that tell each line from others: the fewest settings, and within a method text, tokenizer or folder.

    Lines of two methods that differ in a setting say it too, since the method is then not all that differs. Shortest
    first, the last resorts behind them.
    """
    facts = {line: _facts(result, steps[line]) for line, result in lines.items()}
    words: dict[tuple, dict[str, str]] = {line: {} for line in lines}
    settings = dict.fromkeys(name for own in facts.values() for name in own if name not in LAST_RESORTS)
    for name in (*settings, *LAST_RESORTS):
        alike = defaultdict(list)
        for line, result in lines.items():
            alone = name.startswith(OF_A_METHOD) or not _trained_on(result)  # a model made elsewhere tells little
            alike[_method(result) if alone else None, *words[line].items()].append(line)
        for namesakes in alike.values():
            if len({facts[line].get(name) for line in namesakes}) > 1:
                for line in namesakes:
                    words[line] |= {name: facts[line][name]} if name in facts[line] else {}

    def place(name: str) -> tuple[bool, int]:
        return name in LAST_RESORTS, max(len(own[name]) for own in words.values() if name in own)

    return {line: [own[name] for name in sorted(own, key=place)] for line, own in words.items()}


def _facts(result: Result, step: int | None) -> dict[str, str]:
    """{"model.d_model": "d_model 64", ...}: the step, the settings that a few words can say, and the last resorts."""
    words = {} if step is None else {"step": f"step {step}"}
    for name, value in (result.checkpoint.settings or {}).items():
        value = PurePath(value).name if name in PATHS and isinstance(value, str) else value
        text = value if isinstance(value, str) else _short(value)
        plain = f"{name.removesuffix('.name').removesuffix('.path').rpartition('.')[2]} {{}}"
        phrase = WORDS.get(name, plain).format(text).removesuffix("s" if value == 1 else "")
        if name != "seed" and value is not None and len(text) <= LONGEST_VALUE and phrase.isprintable():
            words[name] = phrase
    if origin := result.checkpoint.origin:
        words["origin.sha256"] = f"from {_origin(origin)}"
    if text := _trained_on(result):
        words["text"] = f"text {text[:8]}"
    return words | {"tokenizer": f"tokenizer {_tokenizer(result)[:8]}", "folder": f"({result.folder.name})"}


def _origin(origin: Origin) -> str:
    """rotary-tiny-wikitext2-L128 step 1600: the same for origins that differ in their seed alone.

    Of a run folder with a name of another form, eight digits of the weights.
    """
    named = re.fullmatch(r"(.+)-seed\d+-[0-9a-f]{8}", origin.run)
    return f"{named[1]} step {origin.step}" if named else origin.sha256[:8]


def _short(value: object) -> str:
    """As JSON; numbers as short as can be, small ones by their exponent: 3e-4."""
    if isinstance(value, float) and 0 < abs(value) < 0.01:
        digits, _, exponent = f"{value:.6e}".partition("e")
        return f"{float(digits):g}e{int(exponent)}"
    return f"{value:.15g}" if isinstance(value, float) else json.dumps(value)


def _trained_on(result: Result) -> str | None:
    return result.checkpoint.training and result.checkpoint.training.text_sha256


def _tokenizer(result: Result) -> str:
    """Older files do not name it; on the same text another number of tokens is another tokenizer."""
    data = result.data
    return data.tokenizer.sha256 if data.tokenizer else f"{data.tokens} tokens"


def _method(result: Result) -> str:
    """alibi L=128. A model that was not trained here may not state a length."""
    length = result.checkpoint.seq_len
    return result.method + ("" if length is None else f" L={length}")


def _with_seed(result: Result) -> str:
    seed = result.checkpoint.seed
    return _method(result) + ("" if seed is None else f" seed {seed}")


def unique(names: Mapping[Hashable, str], mark: str = " #") -> dict[Hashable, str]:
    """The names, each with a number behind it where it was used before."""
    found: dict[Hashable, str] = {}
    for key, name in names.items():
        free = (name if number == 1 else f"{name}{mark}{number}" for number in count(1))
        found[key] = next(one for one in free if one not in found.values())
    return found
