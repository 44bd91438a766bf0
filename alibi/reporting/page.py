"""The report as one HTML page: plotly, figures, tables, style and script inside, nothing fetched from anywhere."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from alibi.analysis import ABOUT_INTERVALS, Comparison
from alibi.reporting import report_tables, study_charts, words
from alibi.reporting.chart import PARTS, Chart, Look, looks_of
from alibi.reporting.plotly_figures import DARK, TEMPLATE, panel_json
from alibi.reporting.report_tables import Table, plain_cells
from alibi.results import METRICS

FILES = Path(__file__).parent / "page"
LARGEST_BYTES = 6_000_000


def render_page(comparison: Comparison) -> str:
    """The page's HTML.

    Raises:
        ValueError: it is larger than 6 MB.
    """
    environment = Environment(loader=FileSystemLoader(FILES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    numbers, looks = {run.label: number for number, run in enumerate(comparison.runs)}, looks_of(comparison)
    figures = _figures(comparison, numbers, looks)
    perplexity_panels = [panel for figure in figures if figure["chart"] == "perplexity" for panel in figure["panels"]]
    page = environment.get_template("page.html").render(
        comparison=comparison,
        looks=looks,
        texts=list(dict.fromkeys(part.first.text for part in comparison.sets)),
        numbers=numbers,
        log=any(panel["layout"]["yaxis"]["type"] == "log" for panel in perplexity_panels),
        intervals=comparison.has_intervals and ABOUT_INTERVALS,
        charts={figure["chart"] for figure in figures},
        parts=PARTS.values(),
        plotly=Markup(get_plotlyjs()),
        data={"figures": figures, "template": TEMPLATE.to_plotly_json(), "dark": DARK},
        metrics=METRICS,
        words=words,
        tables=report_tables,
        study_charts=study_charts,
        settings=setting_rows(comparison),
        made_with=made_with(comparison),
    )
    if len(page.encode()) > LARGEST_BYTES:
        raise ValueError(
            f"a page of {len(comparison.runs)} runs is {len(page.encode()):,} bytes, and may be {LARGEST_BYTES:,}; "
            "name fewer runs or evaluate at fewer lengths."
        )
    return page


def _figures(comparison: Comparison, numbers: Mapping[str, int], looks: Mapping[str, Look]) -> list[dict]:
    """Every figure, with the choices (the page's controls, by name) for which the page shows it.

    Args:
        numbers: of the runs, by label.
    """
    found = []

    def add(name: str, chart: Chart, **when: object) -> None:
        panels = [panel_json(panel, numbers) for panel in chart.panels]
        choices = {choice: str(value).lower() for choice, value in when.items()}
        found.append({"chart": name, "when": choices, "note": chart.note, "panels": panels})

    for number, part in enumerate(comparison.sets):
        for metric in part.metrics:
            for relative in (False, True):
                chart = study_charts.perplexity_chart(part, looks, metric, relative)
                add("perplexity", chart, set=number, unit=metric, relative=relative)
            shown_with = " ".join(map(str, study_charts.sets_with_split(comparison, part)))
            add("split", study_charts.split_chart(part, looks, metric), set=shown_with, unit=metric)
        for length in study_charts.context_lengths(part):
            add("context", study_charts.context_chart(part, looks, length), set=number, context=length)
        add("cost", study_charts.cost_chart(part, looks), set=number)
    add("training", study_charts.training_chart(comparison))
    return [figure for figure in found if figure["panels"] or figure["note"]]


def setting_rows(comparison: Comparison) -> tuple[Table, list[tuple[str, str]], list[str]]:
    """(table of the settings that differ, the common ones, labels of the runs whose file has none)."""
    stated = {run.label: run.result.checkpoint.settings for run in comparison.runs}
    silent = [label for label, settings in stated.items() if not settings]
    flat = {label: {k: _shown(v) for k, v in settings.items()} for label, settings in stated.items() if settings}
    names = sorted({name for settings in flat.values() for name in settings})
    values = {name: {settings.get(name, words.UNKNOWN) for settings in flat.values()} for name in names}
    differing = [name for name in names if len(values[name]) > 1]
    rows = [plain_cells(label, *(s.get(name, words.UNKNOWN) for name in differing)) for label, s in flat.items()]
    table = Table("settings", "Settings that differ", ["run", *differing], rows if differing else [])
    common = [(name, values[name].pop()) for name in names if len(values[name]) == 1]
    return table, common, silent


def made_with(comparison: Comparison) -> list[tuple[list[str], list[tuple[str, str]]]]:
    """(rows by set and run, machine and versions) for each way in which rows were made."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for part in comparison.sets:
        for run in part.runs:
            for length in run.result.rows:
                way = json.dumps(run.result.made_with(length), sort_keys=True)
                found[way][f"{run.label}, {part.title}"].append(str(length))
    return [
        (
            [f"{name}: {', '.join(lengths)}" for name, lengths in names.items()] if len(found) > 1 else ["every row"],
            [(name, _shown(value)) for name, value in json.loads(way).items()],
        )
        for way, names in found.items()
    ]


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
    return value if isinstance(value, str) else json.dumps(value)
