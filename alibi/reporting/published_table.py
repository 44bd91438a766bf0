"""A run's row beside the paper's for the same method, training length and protocol, and what is not alike.

What must be alike is in `published`: the text and what it is cut into, the budget, the shape. Where
nothing is left, the levels may be compared; else the shape of the curve alone.
"""

from alibi.analysis.published import (
    DATA,
    FORM,
    PAPER,
    SETUP,
    TOKENIZER,
    TOKENS_PER_UPDATE,
    UNIT,
    UPDATES,
    VOCAB_SIZES,
    WORDS,
    published_points,
)
from alibi.reporting import words
from alibi.reporting.report_tables import Cell, Table
from alibi.reporting.study import ResultSet, Run
from alibi.results.result import Result


def beside_rows(part: ResultSet) -> Table:
    """Each run of a set for which something was published at some of its lengths, and the paper's row under it."""
    data, rows, notes = part.content["data"], [], []
    # In files of other kinds nobody has words: their unit is the byte.
    runs = part.runs if UNIT in part.metrics and data.get("form") != "files" else []
    for run in runs:
        theirs = published_points(run.result.method, run.result.seq_len, part.content["protocol"], data["split"])
        if not theirs.keys() & run.result.numbers.keys():
            continue
        rows.append([(run.label, ""), *(_ours(run, length) for length in part.lengths)])
        tables = ", ".join(dict.fromkeys(table for n, (_, table) in theirs.items() if n in part.lengths))
        told = [(words.number(theirs[n][0]) if n in theirs else "", "") for n in part.lengths]
        rows.append([(f"published, {tables}", ""), *told])
        notes.append(f"{run.label}: {_verdict(differences_in_setup(run.result))}.")
    note = f"{PAPER}. Perplexity per word. {' '.join(notes)}"
    title = f"Beside published figures, {part.title}"
    return Table(f"published-{part.slug}", title, ["run", *map(str, part.lengths)], rows, note)


def _ours(run: Run, length: int) -> Cell:
    value = run.result.numbers.get(length, {}).get(UNIT)
    return ("" if value is None else words.number(value)), ""


def _verdict(differences: list[str]) -> str:
    if not differences:
        return "the same data, vocabulary, budget and shape: the levels may be compared"
    return f"not comparable in level, only in shape: {'; '.join(differences)}"


def differences_in_setup(result: Result) -> list[str]:
    """In what a result's run and text are not those of the published figures; empty where they are alike."""
    return [*_in_text(result), *_in_run(result)]


def _in_text(result: Result) -> list[str]:
    data, found = result.content["data"], []
    words_there = WORDS.get(data["split"], 0)
    if data["words"] != words_there:
        found.append(f"evaluated on another text or a part of it ({data['words']:,} words, not {words_there:,})")
    if data.get("form") != FORM:
        found.append(f"the text in its form .{data.get('form', '?')}, not .{FORM} with <unk> for rare words")
    told = data.get("tokenizer")
    if told is None or told["name"] != TOKENIZER or told["vocab_size"] not in VOCAB_SIZES:
        own = f"{told['name']} of {told['vocab_size']:,} ids" if told else "not told"
        found.append(f"another vocabulary ({own}, not {VOCAB_SIZES[1]:,} words)")
    return found


def _in_run(result: Result) -> list[str]:
    settings = result.content["checkpoint"].get("settings") or {}
    if "train.batch_tokens" not in settings:
        return ["how it was trained is not told"]
    found = []
    if settings.get("data.name") != DATA:
        found.append(f"trained on other data ({settings.get('data.name')}, not {DATA})")
    batch, wanted = settings["train.batch_tokens"], UPDATES * TOKENS_PER_UPDATE
    if result.step * batch != wanted:
        fewer = "fewer" if result.step * batch < wanted else "more"
        found.append(f"{fewer} updates ({result.step:,} of {batch:,} tokens, not {UPDATES:,} of {TOKENS_PER_UPDATE:,})")
    other = [
        f"{name.partition('.')[2]} {settings.get(name)}" for name, value in SETUP.items() if settings.get(name) != value
    ]
    if other:
        found.append(f"another shape ({', '.join(other)})")
    return found
