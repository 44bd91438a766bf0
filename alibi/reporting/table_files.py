"""Tables as files: Markdown, and LaTeX with booktabs."""

from collections.abc import Sequence
from pathlib import Path

from alibi.analysis import Comparison
from alibi.reporting.published_table import published_table
from alibi.reporting.report_tables import Table, all_tables

LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "−": "$-$", "–": "--", "≈": r"$\approx$", "†": r"\dag{}", "×": r"$\times$",
    "\n": " ", "\r": " ",
    # At the beginning of a row LaTeX would read these as arguments of the line end before it.
    "[": "{[}", "]": "{]}", "*": "{*}",
}  # fmt: skip
# Characters that Markdown would read as markup or HTML, escaped.
MARKDOWN = {c: f"\\{c}" for c in "\\`*_[]|#~$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "\n": " ", "\r": " "}


def write_tables(comparison: Comparison, folder: Path) -> list[Path]:
    """Write every table of a report as .md and .tex into `folder`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    beside = [table for part in comparison.sets if (table := published_table(part)).rows]
    for table in [*all_tables(comparison), *beside]:
        for ending, text in (("md", markdown(table)), ("tex", latex(table))):
            paths.append(folder / f"{table.name}.{ending}")
            paths[-1].write_text(text, encoding="utf-8")
    return paths


def escape_latex(text: str) -> str:
    return "".join(LATEX.get(c, c) for c in text)


def escape_markdown(text: str) -> str:
    return "".join(MARKDOWN.get(c, c) for c in text)


def markdown(table: Table) -> str:
    """A pipe table; an interval stands under its number."""

    def cell(main: str, small: str, strong: bool) -> str:
        main = escape_markdown(main)
        main = f"**{main}**" if strong and main else main
        return f"{main}<br>{escape_markdown(small)}" if small else main

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    lines = [line([escape_markdown(h) for h in table.header]), line(["---", *["---:"] * (len(table.header) - 1)])]
    lines += [line([cell(*c, i in table.strong) for c in row]) for i, row in enumerate(table.rows)]
    note = [escape_markdown(table.note)] if table.note else []
    return "\n\n".join([f"**{escape_markdown(table.title)}**", "\n".join(lines), *note]) + "\n"


def latex(table: Table) -> str:
    """A table for \\input; intervals small under their numbers."""

    def cell(main: str, small: str, strong: bool) -> str:
        main = escape_latex(main)
        main = rf"\textbf{{{main}}}" if strong and main else main
        return (
            rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{main}\\{{\scriptsize {escape_latex(small)}}}\end{{tabular}}"
            if small
            else main
        )

    lines = ["% \\usepackage{booktabs}", r"\begin{table}", r"\centering", rf"\caption{{{escape_latex(table.title)}}}"]
    lines += [rf"\label{{tab:{table.name}}}", rf"\begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}", r"\toprule"]
    lines += [" & ".join(escape_latex(h) for h in table.header) + r" \\", r"\midrule"]
    lines += [" & ".join(cell(*c, i in table.strong) for c in row) + r" \\" for i, row in enumerate(table.rows)]
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip\footnotesize {escape_latex(table.note)}"] if table.note else []
    return "\n".join([*lines, r"\end{table}"]) + "\n"
