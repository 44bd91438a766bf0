"""Tables, charts and page of what the context is used for, from result files with measures made by hand."""

import json
import re

import pytest
from comparisons import compared
from studies import make_file, with_checksum

from alibi.reporting.chart import looks_of
from alibi.reporting.measure_charts import measure_charts, training_effect_chart
from alibi.reporting.measure_tables import context_rows, copy_rows, measure_tables, repeat_rows
from alibi.reporting.page import render_page
from alibi.reporting.sentences import sentence_table

L, FAR = 128, 512
TARGETS = [16, 48] * 6  # of twelve articles
SECTION = "<h2>What the context is used for</h2>"
FIGURES = {"used", "repeats", "copy"}


def flat(nats):
    return [nats * n for n in TARGETS]


def entry(place, **nats):
    """A point of a measure: nats per token by kind, the same in every article."""
    groups = {f"{kind}group_nats": flat(value) for kind, value in nats.items() if value is not None}
    sums = {name.replace("group", "nll"): sum(own) for name, own in groups.items()}
    return place | {"targets": sum(TARGETS)} | groups | sums


def context(**by_n):
    """Nats per token at each n: (true, swapped, masked or None)."""
    kinds = ("", "swapped_", "masked_")
    return [entry({"n": int(n[1:])}, **dict(zip(kinds, nats, strict=True))) for n, nats in by_n.items()]


def copies(**gains):
    """Gains in nats per token by distance, behind copies of half a nat."""
    return [entry({"distance": int(d[1:])}, **{"": 0.5, "without_": 0.5 + gain}) for d, gain in gains.items()]


CONTEXT = context(n32=(3.5, 3.5, 3.75), n128=(3.25, 3.25, 3.5), n512=(3.0, 3.375, 3.375))
COPY = copies(n64=2.0, n128=1.0, n512=0.25)


def buckets(*, seen, hidden):
    """Repeats to 64, 128 and 256 tokens away: (targets of each article, nats per token) by bucket."""
    groups = {"group_targets": [[n] * 12 for n, _ in seen], "group_nats": [[n * nats] * 12 for n, nats in seen]}
    found = {"edges": [0, 64, L, 256], **groups}
    for kind, own in (("", seen), ("hidden_", hidden)):
        found |= {f"{kind}targets": [12 * n for n, _ in own], f"{kind}nll_nats": [12 * n * nats for n, nats in own]}
    return found


REPEATS = {
    L: buckets(seen=[(200, 2.0), (0, 0.0), (0, 0.0)], hidden=[(1, 9.0), (0, 0.0), (100, 4.5)]),
    FAR: buckets(seen=[(200, 2.25), (0, 0.0), (100, 3.0)], hidden=[(0, 0.0)] * 3),
}


@pytest.fixture
def measured(tmp_path):
    """Write a result file with measures: the head's by name, `repeats` by length."""

    def make(method="alibi", seed=0, step=800, max_steps=800, repeats=None, **head):
        path = make_file(tmp_path / "made", method, seed, lengths=(L, FAR))
        content = json.loads(path.read_text())
        del content["sha256"]
        content["checkpoint"] |= {"step": step, "sha256": f"{method} {seed} {step}"}
        content["checkpoint"]["training"]["tokens"] = step * 4096
        content["checkpoint"]["settings"]["train.max_steps"] = max_steps
        for row in content["rows"]:
            row |= {"repeats": repeats[row["length"]]} if repeats else {}
        sample = {"segments": 24, "group_targets": TARGETS, "sha256": "s"}
        for name, points in head.items():
            content |= {name: points, f"{name}_sample": sample}
        own = tmp_path / path.parents[1].name / "evaluation" / path.name.replace("00000800", f"{step:08}")
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(json.dumps(with_checksum(content)))
        return own

    return make


def part_of(*paths):
    [part] = compared(paths).sets
    return part


def charts_of(*paths):
    study = compared(paths)
    return measure_charts(study.sets[0], looks_of(study))


def texts(table):
    """The rows of a table, without what stands small under a number."""
    return [[main for main, _ in row] for row in table.rows]


def test_the_context_table_has_a_row_for_each_kind_of_nats(measured):
    table = context_rows(part_of(measured(context=CONTEXT)))
    about = ["alibi L=128", "128", "3.3M"]
    n = ["n = 32", "n = 128", "n = 512"]
    assert table.header == ["run", "trained at", "on tokens", "nats per token", *n, "used"]
    assert texts(table) == [
        [*about, "true", "3.500", "3.250", "3.000", "512"],
        [*about, "content beyond L", "", "", "−0.375", ""],
        [*about, "length itself", "", "", "+0.125", ""],
        [*about, "masked to n", "3.750", "3.500", "3.375", "512"],
    ]
    assert table.rows[0][4] == ("3.500", "3.500–3.500"), "an interval over articles"
    assert table.rows[1][6] == ("−0.375", "[−0.375, −0.375]")


def test_rows_of_what_was_not_measured_are_left_out(measured):
    near = context(n32=(3.5, 3.5, None), n128=(3.25, 3.25, None))
    alone = context_rows(part_of(measured(context=near)))
    assert [row[3:] for row in texts(alone)] == [["true", "3.500", "3.250", "128"]]
    known_start = context(n32=(3.5, 3.5, 3.25), n128=(3.25, 3.25, 3.25), n512=(3.0, 3.0, None))
    both = texts(context_rows(part_of(measured(context=near), measured("sinusoidal", context=known_start))))
    assert [row[3:] for row in both if row[0].startswith("alibi")] == [["true", "3.500", "3.250", "", "128"]]
    assert both[-1][3:] == ["masked to n", "3.250", "3.250", "", ""], "masked up to L: no least n can be said"


@pytest.mark.parametrize(
    ("about", "tokens"),
    [({}, "3.3M"), ({"max_steps": 1600}, "3.3M, not annealed"), ({"step": 400}, "1.6M, not annealed")],
)
def test_every_table_says_how_much_a_model_was_trained(measured, about, tokens):
    path = measured(context=CONTEXT, copy=COPY, repeats=REPEATS, **about)
    tables = measure_tables(part_of(path))
    assert [table.name.partition("-wikitext2")[0] for table in tables] == ["context-used", "copy", "repeats"]
    for table in tables:
        assert {row[table.header.index("on tokens")] for row in texts(table)} == {tokens}


def test_seeds_are_one_row_of_their_mean(measured):
    other = copies(n64=1.0, n128=0.5, n512=0.75)
    [row] = texts(copy_rows(part_of(measured(copy=COPY), measured(seed=1, copy=other))))
    assert row == ["alibi L=128, 2 seeds", "128", "3.3M", "+1.500", "+0.750", "+0.500", ""]


def test_the_copy_table_marks_a_model_without_power(measured):
    weak = copies(n64=2.0, n128=0.25)
    table = copy_rows(part_of(measured(copy=COPY), measured("rotary", copy=weak)))
    assert table.header[3:] == ["64 away", "128 away", "512 away", ""]
    assert [row[3:] for row in texts(table)] == [
        ["+2.000", "+1.000", "+0.250", ""],
        ["+2.000", "+0.250", "", "no power"],
    ]


def test_the_table_of_repeats_has_nats_those_of_hidden_ones_and_targets_by_bucket(measured):
    table = repeat_rows(part_of(measured(repeats=REPEATS)))
    assert table.header[3:] == ["length", "of repeats", "to 64", "to 128", "to 256"]
    assert [row[3:] for row in texts(table)] == [
        ["512", "nats", "2.250", "", "3.000"],
        ["512", "hidden at L, minus nats", "", "", "+1.500"],
        ["512", "targets", "2,400", "0", "1,200"],
    ]
    assert [small for _, small in table.rows[0][5:]] == ["2.250–2.250", "", "3.000–3.000"]


def sentences(*paths):
    """Of each method."""
    return dict(texts(sentence_table(compared(paths))))


def test_a_sentence_says_what_the_context_gives(measured):
    files = [measured(seed=seed, context=CONTEXT, copy=COPY) for seed in (0, 1)]
    assert sentences(*files, measured("none", context=context(n32=(3.5, 3.5, None), n128=(3.25, 3.25, None)))) == {
        "alibi": "On wikitext2 validation, trained at 128 on 3.3M tokens (2 seeds), it uses 512 of up to 512 tokens: "
        "at 512, what is beyond the last 128 changes the nats per token by −0.375 [−0.375, −0.375], and the length "
        "itself by +0.125 [+0.125, +0.125]; perplexity stays within 2 % up to 512. A copy gains +1.000 [+1.000, "
        "+1.000] from 128 tokens away and +0.250 [+0.250, +0.250] from 512 tokens away.",
        "none": "On wikitext2 validation, trained at 128 on 3.3M tokens (1 run), it uses 128 of up to 128 tokens.",
    }


def test_a_sentence_on_early_weights_and_weak_copies_says_so(measured):
    weak = measured(step=400, context=CONTEXT, copy=copies(n64=2.0, n128=0.25, n512=0.25))
    said = sentences(weak)["alibi"]
    assert "trained at 128 on 1.6M tokens, not annealed (1 run)" in said
    assert said.endswith(" A copy 128 tokens away gains +0.250 [+0.250, +0.250]: too little to test greater distances.")


def test_charts_have_a_series_for_each_line(measured):
    about = {"copy": COPY, "repeats": REPEATS}
    charts = charts_of(*(measured(method, context=CONTEXT, **about) for method in ("alibi", "rotary")))
    assert charts.keys() == FIGURES
    true, content = charts["used"].panels
    panels = {
        "true": true,
        "content": content,
        "repeats": charts["repeats"].panels[0],
        "copy": charts["copy"].panels[0],
    }
    want = {
        "true": [(32, 3.5), (L, 3.25), (FAR, 3.0)],
        "content": [(FAR, -0.375)],
        "repeats": [(64, 2.25), (256, 3.0)],
        "copy": [(64, 2.0), (L, 1.0), (FAR, 0.25)],
    }
    for name, panel in panels.items():
        assert [one.label for one in panel.series] == ["alibi L=128", "rotary L=128"]
        for series in panel.series:
            assert series.runs == (f"{series.label} seed 0",)
            assert [(one.x, one.y) for one in series.points] == want[name]
            assert all(one.interval == pytest.approx([one.y, one.y]) for one in series.points)
        assert [x for x, _ in panel.x.ticks] == [x for x, _ in want[name]]
        assert panel.marks == (() if name == "content" else ((L, "trained at 128"),))


def test_a_panel_or_chart_without_a_series_is_left_out(measured):
    charts = charts_of(measured(context=context(n32=(3.5, 3.5, None), n128=(3.0, 3.0, None))))
    assert {name: len(chart.panels) for name, chart in charts.items()} == {"used": 1, "repeats": 0, "copy": 0}


def test_the_effect_is_drawn_against_the_tokens_of_every_checkpoint(measured):
    early = context(n128=(3.5, 3.5, None), n512=(4.0, 4.0, None))
    late, other = measured(context=CONTEXT), measured(seed=1, context=CONTEXT)
    [panel] = training_effect_chart(compared([late, measured(step=400, context=early), other])).panels
    [series] = panel.series
    assert [(one.x, one.y) for one in series.points] == [(400 * 4096, 0.5), (800 * 4096, -0.25)]
    assert [label.rpartition("step ")[2] for label in series.runs] == ["400", "800"]
    assert training_effect_chart(compared([late, other])).panels == [], "control: a checkpoint of each run"


def drawn_on(page):
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL).group(1)
    return {figure["chart"] for figure in json.loads(data)["figures"]}


@pytest.mark.parametrize(
    ("measures", "figures"),
    [
        ({"context": CONTEXT, "copy": COPY, "repeats": REPEATS}, FIGURES),
        ({"copy": COPY}, {"copy"}),
        ({}, set()),
    ],
)
def test_the_page_has_the_section_and_the_figures_of_what_was_measured(measured, measures, figures):
    page = render_page(compared([measured(**measures)]))
    assert (SECTION in page) == bool(figures)
    assert drawn_on(page) & FIGURES == figures
    assert {name for name in FIGURES if f'<figure data-chart="{name}">' in page} == figures
    titles = {
        "used": "What the context is used for, ",
        "repeats": "Repeats by distance, ",
        "copy": "Gain from a copy, ",
    }
    assert {name for name, title in titles.items() if f"<h3>{title}" in page} == figures


def test_a_study_without_measures_has_no_table_of_them(small_study):
    assert [table for part in small_study.sets for table in measure_tables(part)] == []
