"""A whole report in one folder: page, figures, and tables as Markdown and as LaTeX with booktabs."""

from dataclasses import replace
from pathlib import Path

from alibi.analysis import Comparison, ResultSet
from alibi.reporting import study_charts
from alibi.reporting.chart import looks_of
from alibi.reporting.matplotlib_figures import write_figure
from alibi.reporting.page import render_page
from alibi.reporting.report_tables import Table, all_tables

LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "−": "$-$", "–": "--", "≈": r"$\approx$", "†": r"\dag{}", "×": r"$\times$",
    "\n": " ", "\r": " ",
    # At the beginning of a row LaTeX would read these as arguments of the line end before it.
    "[": "{[}", "]": "{]}", "*": "{*}",
})  # fmt: skip
# Characters that Markdown would read as markup or HTML, escaped.
MARKDOWN = str.maketrans(
    {c: f"\\{c}" for c in "\\`*_[]|#~$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": " ", "\r": " "}
)


def write_report(comparison: Comparison, folder: Path) -> list[Path]:
    """Write index.html, figures/ and tables/ into `folder`; returns their paths, the page first.

    Raises:
        ValueError: the page is too large; figures and tables have been written by then.
    """
    index, looks = folder / "index.html", looks_of(comparison)
    tables = write_tables(comparison, folder / "tables")
    charts = [study_charts.training_chart(comparison)]
    for part in comparison.sets:
        # Per token, and per word or byte; a third unit would add nothing.
        charts += [study_charts.perplexity_chart(part, looks, metric) for metric in part.metrics[:2]]
        charts += [study_charts.context_chart(part, looks, n) for n in study_charts.context_lengths(part)[-1:]]
        charts += [study_charts.cost_chart(part, looks), study_charts.split_chart(part)]
    figures = [path for chart in charts for path in write_figure(chart, folder / "figures")]
    index.write_text(render_page(comparison), encoding="utf-8")
    return [index, *tables, *figures]


def draw_perplexity(comparison: Comparison, part: ResultSet, folder: Path) -> list[Path]:
    """Write perplexity-WHAT-WAS-MEASURED.png, .svg and .pdf into `folder`; returns their paths, none without a number.

    Runs of different tokenizers are drawn in the unit that they share, words or bytes.
    """
    metric = "perplexity" if "perplexity" in part.comparable else part.shared_metric
    chart = study_charts.perplexity_chart(part, looks_of(comparison), metric)
    return write_figure(replace(chart, stem=f"perplexity-{part.slug}"), folder)


def write_tables(comparison: Comparison, folder: Path) -> list[Path]:
    """Write every table of a report as .md and .tex into `folder`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for table in all_tables(comparison):
        for ending, text in (("md", markdown(table)), ("tex", latex(table))):
            paths.append(folder / f"{table.name}.{ending}")
            paths[-1].write_text(text, encoding="utf-8")
    return paths


def markdown(table: Table) -> str:
    """A pipe table; an interval stands under its number."""
    title, header, rows, note = _escaped(table, MARKDOWN, strong="**{}**", stacked="{}<br>{}")
    lines = [f"| {' | '.join(cells)} |" for cells in (header, ["---", *["---:"] * (len(header) - 1)], *rows)]
    return "\n\n".join([f"**{title}**", "\n".join(lines), *([note] if note else [])]) + "\n"


def latex(table: Table) -> str:
    """A table for \\input; intervals small under their numbers."""
    stacked = r"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{}\\{{\scriptsize {}}}\end{{tabular}}"
    title, header, rows, note = _escaped(table, LATEX, r"\textbf{{{}}}", stacked)
    header, *body = (" & ".join(cells) + r" \\" for cells in (header, *rows))
    lines = ["% \\usepackage{booktabs}", r"\begin{table}", r"\centering", rf"\caption{{{title}}}"]
    lines += [rf"\label{{tab:{table.name}}}", rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}"]
    lines += [r"\toprule", header, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip\footnotesize {note}"] if note else []
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _escaped(
    table: Table, escapes: dict[int, str], strong: str, stacked: str
) -> tuple[str, list[str], list[list[str]], str]:
    """(title, header, rows, note) as markup.

    Args:
        escapes: for `str.translate`.
        strong, stacked: formats of a strong number, and of a number with its interval.
    """

    def cell(main: str, small: str, is_strong: bool) -> str:
        main, small = main.translate(escapes), small.translate(escapes)
        main = strong.format(main) if is_strong and main else main
        return stacked.format(main, small) if small else main

    rows = [[cell(*texts, place in table.strong) for texts in row] for place, row in enumerate(table.rows)]
    title, note, *header = (text.translate(escapes) for text in (table.title, table.note, *table.header))
    return title, header, rows, note
