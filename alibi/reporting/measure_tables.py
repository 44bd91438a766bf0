"""Tables of what the context is used for: the context sample, copies, repeats."""

from alibi.analysis import Line, ResultSet
from alibi.analysis.measures import LEAST_GAIN, MARGIN, Mean, context_use, copy_gain, repeat_nats
from alibi.reporting import words
from alibi.reporting.table import EMPTY, Cell, Table, number_cell, plain_cells, signed_cell

NO_POWER = "no power"


def _signed(mean: Mean | None) -> Cell:
    return signed_cell(mean.value, mean.interval) if mean else EMPTY


def _number(mean: Mean | None) -> Cell:
    return number_cell(mean.value, mean.interval) if mean else EMPTY


def _about(line: Line) -> list[str]:
    """Label, training length and training tokens."""
    label = f"{line.label}, {len(line.runs)} seeds" if len(line.runs) > 1 else line.label
    return [label, words.known(line.first.checkpoint.seq_len), words.tokens(run.result for run in line.runs)]


def context_rows(part: ResultSet) -> Table:
    """Nats of the same targets behind n tokens, and what far content and length do to them."""
    uses = context_use(part)
    lengths = sorted({n for use in uses for n in use.true})
    rows = []
    for use in uses:
        kinds = [("true", use.true, _number), ("content beyond L", use.content, _signed)]
        kinds += [("length itself", use.length, _signed), ("masked to n", use.masked, _number)]
        for kind, means, cell in kinds:
            if means:
                used = {"true": use.used, "masked to n": use.used_masked}.get(kind)
                about = plain_cells(*_about(use.line), kind)
                rows.append([*about, *(cell(means.get(n)) for n in lengths), ("" if used is None else str(used), "")])
    header = ["run", "trained at", "on tokens", "nats per token", *(f"n = {n}" for n in lengths), "used"]
    note = (
        "The same targets, each behind n tokens. Content beyond L: true minus the same with another article's text "
        "beyond the training length; below zero it helps. Length itself: that text at n, minus true at L. Masked: the "
        "longest window (where a method knows where the text begins, the training length), in every layer the last n "
        f"keys alone. Used: the least n within {MARGIN:g} nats of the best."
    )
    return Table(f"context-used-{part.slug}", f"What the context is used for, {part.title}", header, rows, note)


def copy_rows(part: ResultSet) -> Table:
    """The gain of a copy, by its distance."""
    gains = copy_gain(part)
    distances = sorted({d for one in gains for d in one.gain})
    rows = []
    for one in gains:
        about = plain_cells(*_about(one.line))
        power = ({True: "", False: NO_POWER, None: "not measured at L"}[one.has_power], "")
        rows.append([*about, *(_signed(one.gain.get(d)) for d in distances), power])
    note = (
        "Nats per token without an earlier copy of the passage, minus behind one. No power: the gain at the training "
        f"length is below {LEAST_GAIN:g} nats, so what a model gains farther away says nothing of distance."
    )
    header = ["run", "trained at", "on tokens", *(f"{d} away" for d in distances), ""]
    return Table(f"copy-{part.slug}", f"Gain from a copy, {part.title}", header, rows, note)


def repeat_rows(part: ResultSet) -> Table:
    """Nats of repeats by distance; beyond the training length also how much more they cost where they are hidden."""
    gains = repeat_nats(part)
    ends = sorted({end for one in gains for end in one.targets})
    rows = []
    for one in gains:
        about = plain_cells(*_about(one.line), str(one.length))
        rows.append([*about, ("nats", ""), *(_number(one.nats.get(end)) for end in ends)])
        rows.append(
            [
                *about,
                ("hidden at L, minus nats", ""),
                *((words.signed(one.hidden_more[end]), "") if end in one.hidden_more else EMPTY for end in ends),
            ]
        )
        rows.append([*about, ("targets", ""), *plain_cells(*(f"{one.targets.get(end, 0):,}" for end in ends))])
    header = ["run", "trained at", "on tokens", "length", "of repeats", *(f"to {end}" for end in ends)]
    note = (
        "Targets whose bigram, rare in training, stands earlier in their article and in the window, by the distance to "
        "its last occurrence. Hidden at L: nats of all repeats at that distance in windows of the training length, "
        "which hide them. Sliding rows have the same targets here; nonoverlapping ones only those late in a window."
    )
    return Table(f"repeats-{part.slug}", f"Repeats by distance, {part.title}", header, rows, note)


def measure_tables(part: ResultSet) -> list[Table]:
    """Those that have rows."""
    return [table for make in (context_rows, copy_rows, repeat_rows) if (table := make(part)).rows]
