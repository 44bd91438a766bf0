"""A sentence for each method that a reader can quote: what its context is used for, and what it answers, in numbers."""

from collections.abc import Sequence
from typing import Any

from alibi.analysis import Comparison, Line, ResultSet
from alibi.analysis.measures import ContextUse, Mean, context_use, copy_gain
from alibi.analysis.tasks import TaskSet
from alibi.reporting import words
from alibi.reporting.table import Table, plain_cells


def sentence_table(comparison: Comparison) -> Table:
    """A row for each method that has a context sample or a task."""
    methods = dict.fromkeys(run.result.method for run in comparison.runs)
    rows = []
    for method in methods:
        # Results of one run by two protocols hold the same sample.
        of_texts = {key: text for part in reversed(comparison.sets) for key, text in _of_text(part, method)}.values()
        if parts := [*of_texts, *_of_tasks(comparison.tasks, method)]:
            rows.append(plain_cells(method, " ".join(parts)))
    note = (
        "Nats are means over the seeds of a line, with an interval over articles; answers are of the runs that learned."
    )
    return Table("sentences", "In a sentence", ["method", "what was found"], rows, note)


def _of_text(part: ResultSet, method: str) -> list[tuple[tuple[str, str], str]]:
    """Of each line: its label and the hash of its sample, and the sentence."""
    copies = {one.line.label: one for one in copy_gain(part)}
    return [
        (
            (use.line.label, use.line.first.content.context_sample.sha256),
            " ".join(filter(None, (_of_context(part, use), _of_copies(copies.get(use.line.label))))),
        )
        for use in context_use(part)
        if use.line.first.method == method
    ]


def _of_context(part: ResultSet, use: ContextUse) -> str:
    line, furthest = use.line, max(use.true)
    trained = line.first.checkpoint.seq_len
    about = f"On {line.first.text}, {_trained(line)}, it uses {use.used:,} of up to {furthest:,} tokens"
    if furthest not in use.length:
        return f"{about}."
    content, length = use.content[furthest], use.length[furthest]
    return (
        f"{about}: at {furthest:,}, what is beyond the last {trained:,} changes the nats per token by "
        f"{_nats(content)}, and the length itself by {_nats(length)}; {_how_far(part, line)}."
    )


def _how_far(part: ResultSet, line: Line) -> str:
    far = [far for run, far in part.how_far if run.line == line.label and far.length is not None]
    if len(far) < len(line.runs):
        return "how far it holds is not known"
    low, high = min(one.length for one in far), max(one.length for one in far)
    upto = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return f"perplexity stays within {far[0].within_percent:g} % up to {upto}"


def _of_copies(gain: object) -> str:
    if gain is None or gain.has_power is None:
        return ""
    trained, furthest = gain.line.first.checkpoint.seq_len, max(gain.gain)
    if not gain.has_power:
        return (
            f"A copy {trained:,} tokens away gains {_nats(gain.gain[trained])}: too little to test greater distances."
        )
    near, far = (f"{_nats(gain.gain[n])} from {n:,} tokens away" for n in (trained, furthest))
    return f"A copy gains {near} and {far}."


def _of_tasks(tasks: Sequence[TaskSet], method: str) -> list[str]:
    """One sentence a task: two layouts of it stand in the same."""
    found: dict[str, list[str]] = {}
    for part in tasks:
        for line in part.best(method):
            seen = words.tokens((run.result for run in line.runs), " tokens")
            learned = f"{len(line.learned)} of {len(line.runs)} runs learned it in {seen}"
            at = [(n, line.mean(n, "exact_match"), line.mean(n, "accuracy")) for n in part.lengths]
            numbers = [f"{exact:.3f} ({right:.3f}) at {n:,}" for n, exact, right in at if exact is not None]
            of = _settings(line.first.data.task)
            if line.trained_on:
                of += f" (trained with {_settings(line.trained_on)})"
            found.setdefault(part.name, []).append(", ".join([f"{of}: {learned}", *numbers]))
    return [
        f"Trained on {name}, exact match (accuracy) by length: {'; '.join(parts)}." for name, parts in found.items()
    ]


def _settings(task: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in task.items())


def _trained(line: Line) -> str:
    number = len(line.runs)
    seeds = f"{number} seeds" if number > 1 else "1 run"
    tokens = words.tokens((run.result for run in line.runs), " tokens")
    known = "an unknown number of tokens" if tokens.startswith(words.UNKNOWN) else tokens
    return f"trained at {line.first.checkpoint.seq_len:,} on {known} ({seeds})"


def _nats(mean: Mean) -> str:
    pair = f" {words.interval(*mean.interval, signed=True)}" if mean.interval else ""
    return f"{words.signed(mean.value)}{pair}"
