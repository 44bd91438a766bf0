"""What runs are called where several stand together, and which of them are one line: seeds of the same settings."""

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path, PurePath

LONGEST_VALUE = 24  # of a setting in a label, in characters
STEP = "train.step"

Member = tuple[dict, str]  # a result, and the name of its run folder


def measured(result: dict) -> tuple[str, ...]:
    """What two results must share to be compared: split, text, protocol, precision, scorer."""
    data, protocol = result["data"], result["protocol"]["name"]
    return data["split"], data["sha256"][:16], protocol, result["precision"], result.get("scorer", "full")


def tokenizers_of(results: Iterable[dict]) -> list[str]:
    """A name for the tokenizer of each result of one text, the same where numbers per token may be compared.

    Where files tell the ids of the text, the same ids are the same tokenizer, whatever it is called and whoever
    wrote it down. Older files tell the tokenizer's own hash, or only the number of tokens.
    """
    results = list(results)
    ids = {_tokenizer(r): r["data"]["tokens_sha256"] for r in results if "tokens_sha256" in r["data"]}
    keys = [r["data"].get("tokens_sha256") or ids.get(_tokenizer(r), _tokenizer(r)) for r in results]
    first = dict(zip(reversed(keys), reversed(results), strict=True))
    names = _unique({key: _tokenizer_words(first[key]) for key in keys})
    return [names[key] for key in keys]


class Names:
    """A label for every run and for every line, which is the runs that differ in their seed alone.

    They are given over all results at once, so that a run has one name in every set.

    Attributes:
        runs, lines: labels by path. A run's is its line's with the seed in it.
        short: by path, for a table that has training length, seed and step in columns: the rest of the label.
    """

    def __init__(self, results: Mapping[Path, dict]) -> None:
        run_of = _runs_of(results)
        first: dict[tuple, dict] = {}
        for path, run in run_of.items():
            # Of a run's files, older ones may tell less than one written since.
            if run not in first or (_trained_on(results[path]) and not _trained_on(first[run])):
                first[run] = results[path]
        line_of = _lines_of(first, _same_tokenizers(results.values()))
        members: dict[tuple, Member] = {}
        for run, line in line_of.items():
            members.setdefault(line, (first[run], run[0].name))
        apart = _told_apart(members)
        lines = _unique({line: " ".join([_method(members[line][0]), *words]) for line, words in apart.items()})
        runs = _unique(
            {run: " ".join([_method(first[run]), *_seed(first[run]), *apart[line]]) for run, line in line_of.items()}
        )
        self.runs = {path: runs[run] for path, run in run_of.items()}
        self.lines = {path: lines[line_of[run]] for path, run in run_of.items()}
        self.short = {path: _short(results[path], apart[line_of[run]]) for path, run in run_of.items()}


def _runs_of(results: Mapping[Path, dict]) -> dict[Path, tuple]:
    """The run of each result: one folder's weights, by whatever protocol; a second file that measured the same counts
    as another run, since two of one run would pass for two seeds."""
    runs, copies = {}, Counter()
    for path, result in results.items():
        run = path.absolute().parents[1], result["checkpoint"]["sha256"]
        runs[path] = (*run, copies[run, measured(result)])
        copies[run, measured(result)] += 1
    return runs


def _same_tokenizers(results: Iterable[dict]) -> dict[str, str]:
    """By tokenizer, one of all those that made the same ids of a text: another release may write it down otherwise."""
    one: dict[str, str] = {}
    of_ids: dict[tuple, str] = {}
    for result in results:
        tokenizer, data = _tokenizer(result), result["data"]
        known = one.setdefault(tokenizer, tokenizer)
        if "tokens_sha256" in data:
            one[tokenizer] = of_ids.setdefault((data["sha256"], data["tokens_sha256"]), known)
    return one


def _lines_of(runs: Mapping[tuple, dict], tokenizers: Mapping[str, str]) -> dict[tuple, tuple]:
    """The line of each run: what it shares with runs of other seeds. A seed that is there twice makes no line."""
    alike: dict[tuple, list[tuple]] = {}
    for run, result in runs.items():
        same = _but_for_the_seed(result)
        alike.setdefault((*same, tokenizers[_tokenizer(result)]) if same else run, []).append(run)
    lines = {}
    for key, members in alike.items():
        several = len({runs[run]["checkpoint"].get("seed") for run in members}) < len(members)
        lines |= {run: (key, run) if several else (key,) for run in members}
    return {run: lines[run] for run in runs}


def _but_for_the_seed(result: dict) -> tuple | None:
    """What runs share that differ in their seed, or in their tokenizer; None where the file does not tell."""
    checkpoint = result["checkpoint"]
    if not checkpoint.get("settings") or checkpoint.get("seed") is None:
        return None
    settings = json.dumps(checkpoint["settings"] | {"seed": None}, sort_keys=True)
    same = (checkpoint["model"], checkpoint.get("seq_len"), checkpoint["step"], checkpoint.get("parameters"))
    return *same, settings, _trained_on(result)


def _trained_on(result: dict) -> str | None:
    return (result["checkpoint"].get("training") or {}).get("text_sha256")


def _tokenizer(result: dict) -> str:
    """Older files do not name it; on the same text another number of tokens is another tokenizer."""
    data = result["data"]
    return data["tokenizer"]["sha256"] if "tokenizer" in data else f"{data.get('tokens')} tokens"


def _tokenizer_words(result: dict) -> str:
    data = result["data"]
    if "tokenizer" not in data:
        return f"one that makes {data.get('tokens')} tokens"
    told = data["tokenizer"]
    size = f" of {told['vocab_size']:,}" if "vocab_size" in told else ""
    return f"{told['name']}{size} ({told['sha256'][:8]})"


def _method(result: dict) -> str:
    """alibi L=128. A model that was not trained here may say nothing of a length."""
    checkpoint = result["checkpoint"]
    length = checkpoint.get("seq_len")
    return checkpoint["model"] if length is None else f"{checkpoint['model']} L={length}"


def _seed(result: dict) -> list[str]:
    """A model that was not trained here has none."""
    seed = result["checkpoint"].get("seed")
    return [] if seed is None else [f"seed {seed}"]


def _short(result: dict, words: Sequence[str]) -> str:
    checkpoint = result["checkpoint"]
    return " ".join([checkpoint["model"], *(word for word in words if word != f"step {checkpoint['step']}")])


def _told_apart(lines: Mapping[tuple, Member]) -> dict[tuple, list[str]]:
    """The words that tell each line from its namesakes: settings that differ, else text, tokenizer or folder."""
    words: dict[tuple, list[str]] = {line: [] for line in lines}
    for apart in (_settings_apart, _text_apart, _tokenizer_apart, _folder_apart):
        alike: dict[tuple, list[tuple]] = {}
        for line, (result, _) in lines.items():
            alike.setdefault((_method(result), *words[line]), []).append(line)
        for namesakes in alike.values():
            for line, more in zip(namesakes, apart([lines[line] for line in namesakes]), strict=True):
                words[line] += more
    return words


def _settings_apart(members: Sequence[Member]) -> list[list[str]]:
    """step 800 d_model 64: of each kind of settings (model, optimizer ...) the fewest that tell as much as all of it.

    What a file does not tell is no difference.
    """
    told = [_settings_words(result) for result, _ in members]
    telling = [words for words, (result, _) in zip(told, members, strict=True) if result["checkpoint"].get("settings")]
    kinds: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for words in told for name in words):
        kept, known = kinds.setdefault(name.partition(".")[0], []), told if name == STEP else telling
        if _number_apart(known, [*kept, name]) > max(1, _number_apart(known, kept)):
            kept.append(name)
    return [[words[name] for kept in kinds.values() for name in kept if name in words] for words in told]


def _number_apart(told: Sequence[Mapping[str, str]], names: Sequence[str]) -> int:
    return len({tuple(words.get(name) for name in names) for words in told})


def _settings_words(result: dict) -> dict[str, str]:
    """{"model.d_model": "d_model 64", ...}: settings that a few words can say, and the step."""
    checkpoint = result["checkpoint"]
    words = {STEP: f"step {checkpoint['step']}"}
    for name, value in (checkpoint.get("settings") or {}).items():
        value = PurePath(value).name if name == "data.path" and isinstance(value, str) else value
        text = value if isinstance(value, str) else json.dumps(value)
        said = f"{name.removesuffix('.name').removesuffix('.path').rpartition('.')[2]} {text}"
        if name != "seed" and value is not None and len(text) <= LONGEST_VALUE and said.isprintable():
            words[name] = said
    return words


def _text_apart(members: Sequence[Member]) -> list[list[str]]:
    return _where_they_differ([f"text {(_trained_on(result) or 'unknown')[:8]}" for result, _ in members])


def _tokenizer_apart(members: Sequence[Member]) -> list[list[str]]:
    return _where_they_differ([f"tokenizer {_tokenizer(result)[:8]}" for result, _ in members])


def _folder_apart(members: Sequence[Member]) -> list[list[str]]:
    return _where_they_differ([f"({folder})" for _, folder in members])


def _where_they_differ(words: Sequence[str]) -> list[list[str]]:
    return [[word] for word in words] if len(set(words)) > 1 else [[] for _ in words]


def _unique(names: Mapping[Hashable, str]) -> dict[Hashable, str]:
    """The names, with a number behind each that was there before."""
    found: dict[Hashable, str] = {}
    for key, name in names.items():
        free = (name if number == 1 else f"{name} #{number}" for number in count(1))
        found[key] = next(one for one in free if one not in found.values())
    return found
