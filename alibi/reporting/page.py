"""The report as one HTML page: plotly, figures, tables, style and script inside, nothing fetched from anywhere."""

import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from alibi.analysis import ABOUT_INTERVALS, Comparison
from alibi.reporting import provenance, report_tables, words
from alibi.reporting.chart import Chart
from alibi.reporting.looks import PARTS, looks_of
from alibi.reporting.plotly_figures import DARK, TEMPLATE, panel_json
from alibi.reporting.published_table import published_table
from alibi.reporting.study_charts import (
    context_chart,
    context_lengths,
    cost_chart,
    perplexity_chart,
    sets_with_split,
    split_chart,
    training_chart,
)
from alibi.reporting.words import METRICS

FILES = Path(__file__).parent / "page"
LARGEST_BYTES = 6_000_000
# Characters that could end a script element; JSON may escape them.
UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def render_page(comparison: Comparison) -> str:
    """The page's HTML.

    Raises:
        ValueError: it is larger than 6 MB.
    """
    environment = Environment(loader=FileSystemLoader(FILES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    figures = _figures(comparison)
    page = environment.get_template("page.html").render(
        comparison=comparison,
        looks=looks_of(comparison),
        texts=list(dict.fromkeys(part.first.text for part in comparison.sets)),
        numbers=_numbers(comparison),
        units={unit: _sets_with(comparison, unit) for unit in METRICS if _sets_with(comparison, unit)},
        log=any(panel["layout"]["yaxis"]["type"] == "log" for panel in _panels(figures, "perplexity")),
        intervals=comparison.has_intervals and ABOUT_INTERVALS,
        charts={figure["chart"] for figure in figures},
        parts=PARTS.values(),
        plotly=Markup(get_plotlyjs()),
        data=script_json({"figures": figures, "template": TEMPLATE.to_plotly_json(), "dark": DARK}),
        metrics=METRICS,
        words=words,
        tables=report_tables,
        provenance=provenance,
        published_table=published_table,
        context_lengths=context_lengths,
    )
    if len(page.encode()) > LARGEST_BYTES:
        raise ValueError(
            f"a page of {len(comparison.runs)} runs is {len(page.encode()):,} bytes, and may be {LARGEST_BYTES:,}; "
            "name fewer runs or evaluate at fewer lengths."
        )
    return page


def script_json(data: object) -> Markup:
    """JSON that can stand in a script element whatever strings it holds."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return Markup("".join(UNSAFE.get(character, character) for character in text))


def _sets_with(comparison: Comparison, unit: str) -> str:
    return " ".join(str(number) for number, part in enumerate(comparison.sets) if unit in part.metrics)


def _panels(figures: list[dict], chart: str) -> list[dict]:
    return [panel for figure in figures if figure["chart"] == chart for panel in figure["panels"]]


def _numbers(comparison: Comparison) -> dict[str, int]:
    """The number of each run on the page, by label."""
    return {run.label: number for number, run in enumerate(comparison.runs)}


def _figures(comparison: Comparison) -> list[dict]:
    """Every figure, with the choices (the page's controls, by name) for which the page shows it."""
    numbers, looks, found = _numbers(comparison), looks_of(comparison), []

    def add(name: str, chart: Chart, **when: object) -> None:
        panels = [panel_json(panel, numbers) for panel in chart.panels]
        choices = {choice: str(value).lower() for choice, value in when.items()}
        found.append({"chart": name, "when": choices, "note": chart.note, "panels": panels})

    for number, part in enumerate(comparison.sets):
        for metric in part.metrics:
            for relative in (False, True):
                chart = perplexity_chart(part, looks, metric, relative)
                add("perplexity", chart, set=number, unit=metric, relative=relative)
            shown_with = " ".join(map(str, sets_with_split(comparison, part)))
            add("split", split_chart(part, looks, metric), set=shown_with, unit=metric)
        for length in context_lengths(part):
            add("context", context_chart(part, looks, length), set=number, context=length)
        add("cost", cost_chart(part, looks), set=number)
    add("training", training_chart(comparison))
    return [figure for figure in found if figure["panels"] or figure["note"]]
