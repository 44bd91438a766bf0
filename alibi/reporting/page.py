"""The report as one HTML page: chart library, style, script and data inside, nothing fetched from anywhere."""

import json
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from alibi.analysis.published import PUBLISHED, WARNING
from alibi.reporting import words
from alibi.reporting.page_data import Detail, page_data
from alibi.reporting.provenance import made_with, setting_rows, what_lacks
from alibi.reporting.published_table import beside_rows
from alibi.reporting.report_tables import far_rows, order_rows, result_rows, run_rows
from alibi.reporting.study import ResultSet, Study
from alibi.reporting.words import METRICS

PARTS = Path(__file__).parent / "page"
LARGEST_BYTES = 6_000_000
# First everything; then less of what a reader misses least.
DETAILS = (
    Detail(),
    Detail(100),
    Detail(100, every_context_length=False),
    Detail(100, every_context_length=False, every_pair=False),
    Detail(30, every_context_length=False, every_pair=False),
)
# What would end a script element or, in old engines, a line of it.
UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def render_page(study: Study) -> str:
    """The page's HTML.

    Raises:
        ValueError: it is larger than 6 MB even with the least detail.
    """
    for detail in DETAILS:
        page = _render(study, detail)
        if len(page.encode()) <= LARGEST_BYTES:
            return page
    raise ValueError(
        f"a page of {len(study.runs)} runs is {len(page.encode()):,} bytes, and may be {LARGEST_BYTES:,}; "
        "name fewer runs or evaluate at fewer lengths."
    )


def script_json(data: object) -> Markup:
    """JSON that can stand in a script element whatever strings it holds."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return Markup("".join(UNSAFE.get(c, c) for c in text))


def _render(study: Study, detail: Detail) -> str:
    environment = Environment(loader=FileSystemLoader(PARTS), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    data = page_data(study, detail)
    settings, common, silent = setting_rows(study)
    intervals = study.comparison.get("intervals") or {}
    return environment.get_template("page.html").render(
        css=_part("page.css"),
        plotly=Markup(get_plotlyjs()),
        scripts=[_part("draw.js"), _part("charts.js"), _part("page.js")],
        data=script_json(data),
        detail=detail,
        full=detail == DETAILS[0],
        title=_title(study),
        summary=_summary(study),
        metrics=METRICS,
        units=[m for m in METRICS if any(m in part.metrics for part in study.sets)],
        log=_spans_much(study),
        sets=[_set(part, short) for part, short in zip(study.sets, _short_titles(study), strict=True)],
        lines=_toggles(study),
        changes=any(part.changes for part in study.sets),
        refused=study.refused,
        intervals=intervals if study.has_intervals else {},
        seeds=any(len(line.results) > 1 for part in study.sets for line in part.lines),
        level=words.percents(intervals.get("level", 0.95)),
        published=[(i, group["name"], group["protocol"]) for i, group in enumerate(PUBLISHED)],
        warning=WARNING,
        settings=settings,
        common=common,
        silent=silent,
        made_with=made_with(study),
        lacks=what_lacks(study),
        runs=run_rows(study),
        has_context=any(run["context"] for part in data["sets"] for run in part["runs"]),
        has_training=bool(data["training"]),
    )


def _part(name: str) -> Markup:
    return Markup((PARTS / name).read_text(encoding="utf-8"))


def _title(study: Study) -> str:
    texts = list(dict.fromkeys(words.text(p.content["data"]) for p in study.sets))
    return f"Perplexity against length: {', '.join(texts)}" if texts else "Perplexity against length"


def _summary(study: Study) -> str:
    """One paragraph: what is compared, on what, and who is first at the longest length."""
    if not study.sets:
        return "None of the result files given could be put beside another; the reasons stand below."
    part = study.sets[0]
    methods = list(dict.fromkeys(run.result.method for run in part.runs))
    trained = sorted({run.result.seq_len for run in part.runs} - {None})
    data = part.content["data"]
    counts = ", ".join(f"{data[unit]:,} {unit}" for unit in ("words", "bytes") if data.get(unit))
    text = (
        f"{_count(len(part.runs), 'run')} of {_count(len(methods), 'position method')} ({', '.join(methods)}), "
        f"trained on sequences of {_list(trained)} tokens and evaluated at {_list(part.lengths)} "
        f"on {words.text(data)}, {counts}. Every token is scored exactly once at every length."
    )
    return f"{text} {_first(part)}".strip()


def _first(part: ResultSet) -> str:
    """Who is lowest at the longest length where two lines have a number."""
    if len(part.lines) < 2 or not part.metrics:
        return ""
    metric = part.metrics[0]
    table = order_rows(part, metric)
    every = {line.label for line in part.lines}
    for column in range(len(table.header) - 1, 0, -1):
        ranked = [row[column] for row in table.rows if row[column][0]]
        if len(ranked) > 1:
            places = "; ".join(f"{label} {value.rstrip(' ≈?')}" for label, value in ranked)
            lacking = sorted(every - {row[column][0] for row in table.rows})
            without = f" Without a number there: {'; '.join(lacking)}." if lacking else ""
            return f"{METRICS[metric].capitalize()} at length {table.header[column]}, lowest first: {places}.{without}"
    return ""


def _short_titles(study: Study) -> list[str]:
    """The sets' titles without the text's name where all have the same."""
    titles = [part.title.partition(", ") for part in study.sets]
    return [rest if len({text for text, _, _ in titles}) == 1 else text + comma + rest for text, comma, rest in titles]


def _set(part: ResultSet, short: str) -> Mapping:
    return {
        "short": short,
        "title": part.title,
        "content": part.content,
        "results": [(metric, result_rows(part, metric), order_rows(part, metric)) for metric in part.metrics],
        "beside": beside_rows(part),
        "far": far_rows(part),
        "crossings": [pair for pair in part.content["crossings"] if pair["at"]],
        "stride": part.content["protocol"].partition("stride-")[2],
        "units": {run.result.content["data"]["tokens"] for run in part.runs},
    }


def _toggles(study: Study) -> list[dict]:
    """Each line with its runs, numbered as in the page's data."""
    numbered = list(enumerate(study.runs))
    found = []
    for number, (label, look) in enumerate(study.looks.items()):
        runs = [(i, run.result.seed, run.label) for i, run in numbered if run.line == label]
        found.append({"number": number, "label": label, "look": look, "runs": runs})
    return found


def _spans_much(study: Study) -> bool:
    """Whether a linear axis would hide the small perplexities."""
    values = [row["perplexity"] for run in study.runs for row in run.result.numbers.values()]
    return bool(values) and max(values) > 3 * min(values)


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _list(numbers: list[int]) -> str:
    texts = [str(n) for n in numbers]
    return "no length" if not texts else texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
