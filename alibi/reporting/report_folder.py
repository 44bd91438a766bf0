"""A report in one folder: page, figures and tables; and what a paper needs of it: PDFs, and LaTeX with booktabs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from alibi.analysis import Comparison, ResultSet
from alibi.reporting import measure_charts, study_charts, task_charts
from alibi.reporting.chart import Chart, looks_of
from alibi.reporting.matplotlib_figures import COLUMN, PAGE, write_figure
from alibi.reporting.page import render_page
from alibi.reporting.report_tables import all_tables
from alibi.reporting.table import Table

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
FIGURES = (
    "perplexity",
    "context",
    "used",
    "repeats",
    "copy",
    "cost",
    "split",
    "training",
    "against-training",
    "tasks",
    "learning",
)


def write_report(comparison: Comparison, folder: Path, total_tokens: bool = False) -> list[Path]:
    """Write index.html, tables.md and figures/ into `folder`; returns their paths, the page first.

    Args:
        total_tokens: draw training in figures/ against all tokens, those of a run's origin included.

    Raises:
        ValueError: the page is too large; figures and tables have been written by then.
    """
    index, tables = folder / "index.html", folder / "tables.md"
    charts = (chart for figure in FIGURES for chart in _charts(comparison, figure, total_tokens))
    figures = [path for chart in charts for path in write_figure(chart, folder / "figures", ("png",))]
    folder.mkdir(parents=True, exist_ok=True)
    tables.write_text("\n".join(map(markdown, all_tables(comparison))), encoding="utf-8")
    index.write_text(render_page(comparison), encoding="utf-8")
    return [index, tables, *figures]


def write_paper(comparison: Comparison, folder: Path, figures: Sequence[str], total_tokens: bool = False) -> list[Path]:
    """Write figures as PDF at the width of a column and of a page, and tables.tex to copy from; returns their paths.

    Args:
        total_tokens: draw training against all tokens, those of a run's origin included.
    """
    paths = []
    for chart in (chart for figure in figures for chart in _charts(comparison, figure, total_tokens)):
        for name, width in (("column", COLUMN), ("page", PAGE)):
            paths += write_figure(replace(chart, stem=f"{chart.stem}-{name}"), folder, ("pdf",), width)
    folder.mkdir(parents=True, exist_ok=True)
    tables = folder / "tables.tex"
    tables.write_text("\n".join(map(latex, all_tables(comparison))), encoding="utf-8")
    return [*paths, tables]


def _charts(comparison: Comparison, figure: str, total_tokens: bool) -> list[Chart]:
    """The charts of one kind, by a name in FIGURES; of every set, or of all together."""
    looks = looks_of(comparison)
    if figure == "training":
        return [study_charts.training_chart(comparison, total_tokens)]
    if figure == "against-training":
        return [measure_charts.training_effect_chart(comparison)]
    if figure in ("tasks", "learning"):
        return [task_charts.tasks_chart(comparison) if figure == "tasks" else task_charts.learning_chart(comparison)]
    if figure in ("used", "repeats", "copy"):
        return [measure_charts.measure_charts(part, looks)[figure] for part in comparison.sets]
    made = {
        # Per token, and per word or byte; a third unit would add nothing.
        "perplexity": lambda part: [study_charts.perplexity_chart(part, looks, metric) for metric in part.metrics[:2]],
        "context": lambda part: [
            study_charts.context_chart(part, looks, length) for length in study_charts.context_lengths(part)[-1:]
        ],
        "cost": lambda part: [study_charts.cost_chart(part, looks)],
        "split": lambda part: [study_charts.split_chart(part)],
    }[figure]
    return [chart for part in comparison.sets for chart in made(part)]


def draw_perplexity(comparison: Comparison, part: ResultSet, folder: Path) -> list[Path]:
    """Write perplexity-WHAT-WAS-MEASURED.png, .svg and .pdf into `folder`; returns their paths, none without a number.

    Runs of different tokenizers are drawn in the unit that they share, words or bytes.
    """
    metric = "perplexity" if "perplexity" in part.comparable else part.shared_metric
    chart = study_charts.perplexity_chart(part, looks_of(comparison), metric)
    return write_figure(replace(chart, stem=f"perplexity-{part.slug}"), folder)


def markdown(table: Table) -> str:
    """A pipe table; an interval stands under its number."""
    title, header, rows, note = _escaped(table, MARKDOWN, strong="**{}**", stacked="{}<br>{}")
    lines = [f"| {' | '.join(cells)} |" for cells in (header, ["---", *["---:"] * (len(header) - 1)], *rows)]
    return "\n\n".join([f"**{title}**", "\n".join(lines), *([note] if note else [])]) + "\n"


def latex(table: Table) -> str:
    """A table; intervals small under their numbers."""
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
