"""Labels for runs shown together, and which runs are one line: those that differ in their seed alone."""

import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import count
from pathlib import PurePath
from typing import NamedTuple

from alibi.results import Result

LONGEST_VALUE = 24  # of a setting in a label, in characters
STEP = "train.step"


class Labels(NamedTuple):
    """Of one result.

    Attributes:
        run: that of its line, with the seed in it.
        short: for a table that has training length, seed and step in columns: the rest of the label.
        line: one for all runs that differ in their seed alone.
    """

    run: str
    short: str
    line: str


def label(results: Sequence[Result]) -> list[Labels]:
    """Labels of each result, given over all results at once, so that a run has one label in every set."""
    run_of = _runs_of(results)
    first: dict[tuple, Result] = {}
    for run, result in zip(run_of, results, strict=True):
        # Of a run's files, older ones may state less than newer ones.
        if run not in first or (_trained_on(result) and not _trained_on(first[run])):
            first[run] = result
    line_of = _lines_of(first, _same_tokenizers(results))
    members: dict[tuple, Result] = {}
    for run, line in line_of.items():
        members.setdefault(line, first[run])
    apart = _told_apart(members)
    lines = unique({line: " ".join([_method(result), *apart[line]]) for line, result in members.items()})
    runs = unique(
        {run: " ".join([_method(first[run]), *_seed(first[run]), *apart[line]]) for run, line in line_of.items()}
    )
    found = []
    for run, result in zip(run_of, results, strict=True):
        words = [word for word in apart[line_of[run]] if word != f"step {result.step}"]
        found.append(Labels(runs[run], " ".join([result.method, *words]), lines[line_of[run]]))
    return found


def tokenizers_of(results: Sequence[Result]) -> list[str]:
    """A name for the tokenizer of each result of one text, the same where numbers per token may be compared.

    Where files state the ids of the text, the same ids are the same tokenizer, whatever its name and file format.
    Older files state the tokenizer's own hash, or only the number of tokens.
    """
    ids = {_tokenizer(r): r.data.tokens_sha256 for r in results if r.data.tokens_sha256}
    keys = [r.data.tokens_sha256 or ids.get(_tokenizer(r), _tokenizer(r)) for r in results]
    first = dict(zip(reversed(keys), reversed(results), strict=True))
    names = unique({key: _tokenizer_words(first[key]) for key in keys})
    return [names[key] for key in keys]


def _runs_of(results: Iterable[Result]) -> list[tuple]:
    """The run of each result: the weights in one folder. A second file that measured the same counts as another run,
    since two of one run would pass for two seeds."""
    runs, copies = [], Counter()
    for result in results:
        run = result.folder, result.checkpoint.sha256
        runs.append((*run, copies[run, result.measured]))
        copies[run, result.measured] += 1
    return runs


def _same_tokenizers(results: Iterable[Result]) -> dict[str, str]:
    """By tokenizer, the first that makes the same ids of a text: another release may write the same one differently."""
    one: dict[str, str] = {}
    of_ids: dict[tuple, str] = {}
    for result in results:
        tokenizer, data = _tokenizer(result), result.data
        known = one.setdefault(tokenizer, tokenizer)
        if data.tokens_sha256:
            one[tokenizer] = of_ids.setdefault((data.sha256, data.tokens_sha256), known)
    return one


def _lines_of(runs: Mapping[tuple, Result], tokenizers: Mapping[str, str]) -> dict[tuple, tuple]:
    """The line of each run. Where a seed is there twice, each run is a line of its own."""
    alike = defaultdict(list)
    for run, result in runs.items():
        same = _all_but_seed(result)
        alike[(*same, tokenizers[_tokenizer(result)]) if same else run].append(run)
    lines = {}
    for key, members in alike.items():
        twice = len({runs[run].seed for run in members}) < len(members)
        lines |= {run: (key, run) if twice else (key,) for run in members}
    return {run: lines[run] for run in runs}


def _all_but_seed(result: Result) -> tuple | None:
    """What runs share that differ in their seed, or in their tokenizer; None where the file does not state it."""
    checkpoint = result.checkpoint
    if not checkpoint.settings or checkpoint.seed is None:
        return None
    settings = json.dumps(checkpoint.settings | {"seed": None}, sort_keys=True)
    same = (checkpoint.model, checkpoint.seq_len, checkpoint.step, checkpoint.parameters)
    return *same, settings, _trained_on(result)


def _trained_on(result: Result) -> str | None:
    return result.checkpoint.training and result.checkpoint.training.text_sha256


def _tokenizer(result: Result) -> str:
    """Older files do not name it; on the same text another number of tokens is another tokenizer."""
    data = result.data
    return data.tokenizer.sha256 if data.tokenizer else f"{data.tokens} tokens"


def _tokenizer_words(result: Result) -> str:
    tokenizer = result.data.tokenizer
    if tokenizer is None:
        return f"one that makes {result.data.tokens} tokens"
    return f"{tokenizer.name} of {tokenizer.vocab_size:,} ({tokenizer.sha256[:8]})"


def _method(result: Result) -> str:
    """alibi L=128. A model that was not trained here may not state a length."""
    return result.method if result.seq_len is None else f"{result.method} L={result.seq_len}"


def _seed(result: Result) -> list[str]:
    return [] if result.seed is None else [f"seed {result.seed}"]


def _told_apart(lines: Mapping[tuple, Result]) -> dict[tuple, list[str]]:
    """The words that tell each line from others of its method: settings, else text, tokenizer or folder."""
    words: dict[tuple, list[str]] = {line: [] for line in lines}
    ways = (
        _settings_apart,
        lambda alike: [[f"text {(_trained_on(result) or 'unknown')[:8]}"] for result in alike],
        lambda alike: [[f"tokenizer {_tokenizer(result)[:8]}"] for result in alike],
        lambda alike: [[f"({result.run})"] for result in alike],
    )
    for way in ways:
        alike = defaultdict(list)
        for line, result in lines.items():
            alike[_method(result), *words[line]].append(line)
        for namesakes in alike.values():
            more = way([lines[line] for line in namesakes])
            if any(found != more[0] for found in more):
                for line, found in zip(namesakes, more, strict=True):
                    words[line] += found
    return words


def _settings_apart(results: Sequence[Result]) -> list[list[str]]:
    """step 800 d_model 64: of each kind of settings (model, optimizer ...) the fewest that tell as much as all of it.

    A setting that a file does not state is no difference.
    """
    stated = [_settings_words(result) for result in results]
    complete = [words for words, result in zip(stated, results, strict=True) if result.checkpoint.settings]
    kinds: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(name for words in stated for name in words):
        kept, known = kinds[name.partition(".")[0]], stated if name == STEP else complete
        if _number_apart(known, [*kept, name]) > max(1, _number_apart(known, kept)):
            kept.append(name)
    return [[words[name] for kept in kinds.values() for name in kept if name in words] for words in stated]


def _number_apart(stated: Sequence[Mapping[str, str]], names: Sequence[str]) -> int:
    return len({tuple(words.get(name) for name in names) for words in stated})


def _settings_words(result: Result) -> dict[str, str]:
    """{"model.d_model": "d_model 64", ...}: settings that a few words can say, and the step."""
    words = {STEP: f"step {result.step}"}
    for name, value in (result.checkpoint.settings or {}).items():
        value = PurePath(value).name if name == "data.path" and isinstance(value, str) else value
        text = value if isinstance(value, str) else json.dumps(value)
        phrase = f"{name.removesuffix('.name').removesuffix('.path').rpartition('.')[2]} {text}"
        if name != "seed" and value is not None and len(text) <= LONGEST_VALUE and phrase.isprintable():
            words[name] = phrase
    return words


def unique(names: Mapping[Hashable, str], mark: str = " #") -> dict[Hashable, str]:
    """The names, each with a number behind it where it was used before."""
    found: dict[Hashable, str] = {}
    for key, name in names.items():
        free = (name if number == 1 else f"{name}{mark}{number}" for number in count(1))
        found[key] = next(one for one in free if one not in found.values())
    return found
