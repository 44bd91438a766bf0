"""Runs next to the paper's numbers for the same method, training length and protocol."""

from alibi.analysis import ResultSet
from alibi.analysis.published import PAPER, UNIT, differences_in_setup, published_points
from alibi.reporting import words
from alibi.reporting.report_tables import Table

SAME_SETUP = "the same data, vocabulary, budget and shape: the levels may be compared"


def published_table(part: ResultSet) -> Table:
    """Each run for which a number was published at one of its lengths, and the paper's row under it."""
    data, rows, verdicts = part.data, [], {}
    # In files of other kinds the unit is the byte, since only WikiText counts words as the paper does.
    runs = part.runs if UNIT in part.metrics and data.form != "files" else []
    for run in runs:
        numbers = run.result.numbers
        published = published_points(run.result.method, run.result.seq_len, part.protocol, data.split)
        if not published.keys() & numbers.keys():
            continue
        ours = [numbers.get(n, {}).get(UNIT) for n in part.lengths]
        theirs = [published.get(n, (None, ""))[0] for n in part.lengths]
        tables = ", ".join(dict.fromkeys(table for n, (_, table) in published.items() if n in part.lengths))
        for label, values in ((run.label, ours), (f"published, {tables}", theirs)):
            rows.append([(label, ""), *(("" if value is None else words.number(value), "") for value in values)])
        found = "; ".join(differences_in_setup(run.result))
        verdict = f"not comparable in level, only in shape: {found}" if found else SAME_SETUP
        verdicts.setdefault(verdict, []).append(run.label)
    title, header = f"Next to published numbers, {part.title}", ["run", *map(str, part.lengths)]
    notes = [f"{', '.join(labels)}: {verdict}." for verdict, labels in verdicts.items()]
    note = " ".join([f"{PAPER}. Perplexity per word.", *notes])
    return Table(f"published-{part.slug}", title, header, rows, note)
