"""The folder that write_report makes, and the page as a file; test_browser.py looks at it in a browser."""

import itertools
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from comparisons import compared, make_study
from PIL import Image

from alibi.analysis import Comparison, compare
from alibi.analysis.comparison import Refusal
from alibi.analysis.statistics import interval, resampled_sums
from alibi.reporting import comparison_text, write_report
from alibi.reporting import page as page_module
from alibi.reporting.chart import Look, looks_of
from alibi.reporting.page import made_with as made_with_of
from alibi.reporting.page import render_page, setting_rows
from alibi.reporting.report_tables import all_tables, is_apart, order_rows
from alibi.reporting.study_charts import perplexity_chart, perplexity_panel, training_chart
from alibi.results import Result


def own_part(page):
    """The page without the chart library."""
    return re.sub(r"<script>/\*\*\n\* plotly\.js.*?</script>", "", page, flags=re.DOTALL)


def page_figures(page, chart):
    """The figures of one chart, as the page's data has them."""
    return [figure for figure in page_json(page)["figures"] if figure["chart"] == chart]


def page_json(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL).group(1))


def test_a_report_is_a_page_figures_and_tables(small_study, tmp_path):
    written = write_report(small_study, tmp_path / "report")
    assert written[0] == tmp_path / "report" / "index.html"
    assert all(path.stat().st_size > 0 for path in written)
    figures = {path.name for path in written if path.parent.name == "figures"}
    stems = ("perplexity-wikitext2-validation-stride-16", "word-perplexity-wikitext2-validation-nonoverlapping")
    stems += ("context-wikitext2-validation-nonoverlapping-512", "cost-wikitext2-validation-nonoverlapping")
    for stem in (*stems, "two-part-split-wikitext2-validation-stride-16", "training"):
        assert f"{stem}.png" in figures
    assert {path.name for path in written if path.parent.name != "figures"} == {"index.html", "tables.md"}
    for path in written:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.size[0] >= 990
                assert len(set(image.convert("L").tobytes())) > 20, "a blank picture"


def test_the_page_is_one_small_file_and_names_no_other(whole_study):
    page = render_page(whole_study)
    assert len(page.encode()) <= 6_000_000
    assert page.count("plotly.js v") == 1, "one copy"
    own = own_part(page)
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!#|data:)[a-z/.]""", own), "nothing is fetched"
    assert "default-src 'none'" in own
    assert own.index("<h1>") < own.index("<h2>Results")
    # Headings in order: a level is never skipped.
    levels = [int(n) for n in re.findall(r"<h(\d)", own)]
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


def test_a_page_that_is_too_large_is_refused(small_study, monkeypatch):
    monkeypatch.setattr(page_module, "LARGEST_BYTES", 1000)
    with pytest.raises(ValueError, match="may be 1,000; name fewer runs"):
        render_page(small_study)


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "</script><script>alert(1)</script>", "\u2028<!--", "a&b\"'"]
)
def test_a_hostile_name_is_text_in_the_file(tmp_path, name):
    page = render_page(make_study(tmp_path, (name,), (0,), (None,), (128, 256)))
    assert "<script>alert" not in page
    data = re.search(r'id="data">(.*?)</script>', page, re.DOTALL).group(1)
    assert not set(data) & set("<>&\u2028\u2029")
    assert page_figures(page, "perplexity")[0]["panels"][0]["data"][0]["legendgroup"] == f"{name} L=128"


def test_one_run_only_says_so(tmp_path):
    page = own_part(render_page(make_study(tmp_path, ("none",), (3,), (None,))))
    assert "only one run: there is nothing to compare it with" in page
    assert "Not available: this needs a nonoverlapping and a sliding evaluation" in page
    assert "No two curves cross" in page


def test_older_files_are_shown_and_what_they_lack_is_said(make_result):
    comparison = compared([make_result(), make_result("t5", {64: 3.0, 128: "out of memory: <b>"})])
    page = own_part(render_page(comparison))
    assert "No intervals: 0 groups, 10 needed." in page
    assert "No intervals: 0 groups, 10 needed." in comparison_text(comparison)
    assert "None of the result files has its nats by context" in page
    assert "None of the runs has its metrics.jsonl" in page
    assert "Older files, without the run's settings" in page
    assert "t5 L=64 seed 0 at length 128: out of memory: &lt;b&gt;" in page


def test_a_nan_row_stands_with_its_reason(make_result):
    page = own_part(render_page(compared([make_result(), make_result("none", {64: 3.0, 128: float("nan")})])))
    assert "none L=64 seed 0 at length 128: not a number: perplexity is nan" in page


def test_nothing_comparable_still_has_a_page(tmp_path):
    page = own_part(render_page(Comparison([], [], [Refusal("other text", [])])))
    assert "<li>other text" in page
    assert "No two of the result files could be compared" in page


def test_settings_that_differ_and_the_common_ones(small_study):
    table, common, silent = setting_rows(small_study)
    assert table.header == ["run", "model.position.name", "seed"]
    assert [cell for cell, _ in table.rows[3]] == ["t5 L=128 seed 1", "t5", "1"]
    assert ("optimizer.lr", "0.003") in common
    assert silent == []


def test_rows_that_were_made_alike_are_not_listed(make_result):
    made_with = {"device": "cpu: here"}
    study = compared([make_result("alibi", made_with=made_with), make_result("t5", made_with=made_with)])
    assert made_with_of(study) == [(["every row"], [("device", "cpu: here")])]


def test_a_mean_over_seeds_stands_where_all_of_its_curves_do(small_study):
    """t5's second seed ran out of memory at the largest length."""
    panel = perplexity_panel(small_study.sets[0], looks_of(small_study), "perplexity", relative=False)
    lengths = {one.name: [point.x for point in one.points] for one in panel.series}
    seeds = [set(lengths[f"t5 L=128 seed {seed}"]) for seed in (0, 1)]
    assert set(lengths["t5 L=128, mean of 2 seeds"]) == seeds[0] & seeds[1] != seeds[0] | seeds[1]


def test_what_rows_were_made_with_is_told_by_row(make_result):
    """Rows of two machines in one file, a file of an earlier version beside it, and another protocol of the first."""
    here, there = {"device": "cpu: here", "threads": 1}, {"device": "cpu: there", "threads": 2}
    paths = [make_result("alibi", made_with=there), make_result("t5", made_with=here)]
    paths.append(make_result("t5", made_with=there, protocol="stride-8"))
    content = json.loads(paths[0].read_text())
    for row, made_with in zip(content["rows"], (here, there), strict=True):
        row |= {"made_with": made_with}
    paths[0].write_text(json.dumps(content))
    study = compared(paths)
    of_here, of_there = made_with_of(study)
    assert of_here[0] == ["alibi L=64 seed 0, toy validation, nonoverlapping: 64",
                          "t5 L=64 seed 0, toy validation, nonoverlapping: 64",
                          "t5 L=64 seed 0, toy validation, nonoverlapping: 128"]  # fmt: skip
    assert of_there[0] == ["alibi L=64 seed 0, toy validation, nonoverlapping: 128",
                           "t5 L=64 seed 0, toy validation, stride-8: 64",
                           "t5 L=64 seed 0, toy validation, stride-8: 128"]  # fmt: skip
    assert dict(of_here[1]) == {"device": "cpu: here", "threads": "1"}


def test_lines_are_told_apart_only_where_every_pair_is(small_study):
    part = small_study.sets[0]
    assert is_apart(part, "alibi L=128", "t5 L=128", 512, "perplexity") is True
    assert is_apart(part, "t5 L=128", "alibi L=128", 512, "perplexity") is False, "the other way round"
    assert is_apart(part, "alibi L=128", "t5 L=128", 128, "perplexity") is False
    assert is_apart(part, "alibi L=128", "t5 L=128", 999, "perplexity") is None


def test_no_place_in_an_order_is_made_of_rounding(make_result):
    """A run and its own export, without intervals: the first given is the best, and no better than the other."""
    paths = [make_result("z", {64: 20.0}), make_result("a", {64: 20.0 * (1 - 1e-9)}), make_result("b", {64: 21.0})]
    comparison = compared(paths)
    [part] = comparison.sets
    order = [row[1] for row in order_rows(part, "perplexity").rows]
    assert order == [("a L=64", "20.00 ≈"), ("z L=64", "20.00 ?"), ("b L=64", "21.00")]
    told = comparison_text(comparison)
    assert "Against z L=64 seed 0: perplexity per token" in told
    assert re.search(r"a L=64 seed 0 +0\.00 %", told)


def test_training_curves_are_of_every_run_once(small_study):
    """The first set lacks a seed, which was evaluated by another protocol alone."""
    study = compare([r for r in small_study.results if r.checkpoint.seed == 0 or "stride" in r.path.name])
    [panel] = training_chart(study).panels
    assert [(series.label, series.kind) for series in panel.series].count(("alibi L=128", "main")) == 2
    assert len(panel.series) == 8, "training and validation loss of four runs"


def test_a_curve_relative_to_its_training_length(make_result):
    study = compared([make_result("alibi", {64: 20.0, 128: 30.0}), make_result("t5", {32: 9.0, 128: 8.0})])
    relative, levels = perplexity_chart(study.sets[0], looks_of(study), "perplexity").panels
    [series] = relative.series
    assert [(x, pytest.approx(y)) for x, y, _ in series.points] == [(64, 1.0), (128, 1.5)]
    assert [one.label for one in levels.series] == ["alibi L=64", "t5 L=64"]


def test_relative_curves_have_intervals_paired_on_the_same_text(small_study):
    """By hand: the ratio of the two perplexities of each resample of the articles. Levels all move with the text."""
    part = small_study.sets[0]
    relative = perplexity_panel(part, looks_of(small_study), "perplexity", relative=True)
    run = part.runs[0].result
    tokens = np.array(run.content.groups.tokens, np.float64)
    sums = resampled_sums(np.column_stack([run.rows[128]["group_nats"], run.rows[512]["group_nats"], tokens]))
    ratios = np.exp((sums[:, 1] - sums[:, 0]) / sums[:, 2])
    [curve] = [one for one in relative.series if one.name == part.runs[0].label]
    points = {point.x: point for point in curve.points}
    assert points[128] == (128, 1.0, [1.0, 1.0])
    assert points[512].y == pytest.approx(run.rows[512]["perplexity"] / run.rows[128]["perplexity"])
    assert points[512].interval == pytest.approx(interval(ratios, len(tokens)))
    low, high = run.rows[512]["interval"]["perplexity"]
    assert points[512].interval[1] - points[512].interval[0] < 0.5 * (high - low) / run.rows[128]["perplexity"]


def test_curves_relative_to_a_chosen_line_have_intervals_paired_on_the_same_text(small_study):
    """By hand: the ratio of the two runs of a seed. The line itself is 1 throughout, in an interval of no width."""
    part = replace(small_study.sets[0], against="alibi L=128")
    panel = perplexity_panel(part, looks_of(small_study), "perplexity", relative=True)
    assert panel.y.label == "perplexity per token, over alibi L=128 (95 % intervals)"
    curves = {one.name: {point.x: point for point in one.points} for one in panel.series if one.kind == "member"}
    run, base = (next(r for r in part.runs if r.label == f"{method} L=128 seed 1") for method in ("t5", "alibi"))
    rows = [one.result.rows[512] for one in (run, base)]
    tokens = np.array(run.result.content.groups.tokens, np.float64)
    sums = resampled_sums(np.column_stack([*(row["group_nats"] for row in rows), tokens]))
    assert curves[run.label][512].y == pytest.approx(rows[0]["perplexity"] / rows[1]["perplexity"])
    assert curves[run.label][512].interval == pytest.approx(
        interval(np.exp((sums[:, 0] - sums[:, 1]) / sums[:, 2]), len(tokens))
    )
    assert {(y, *bounds) for _, y, bounds in curves[base.label].values()} == {(1.0, 1.0, 1.0)}


@pytest.mark.parametrize(("apart", "kept"), [(0.5, False), (50.0, True)])
def test_bands_of_levels_that_mostly_overlap_are_left_out(apart, kept, small_study):
    part = small_study.sets[0]
    runs = []
    for number, run in enumerate(part.runs[:2]):
        rows = [
            row.model_copy(update={"interval": {"perplexity": [20 + apart * number, 30 + apart * number]}})
            for row in run.result.content.rows
        ]
        content = run.result.content.model_copy(update={"rows": rows})
        runs.append(replace(run, result=Result(run.result.path, content), line=f"line {number}"))
    looks = {f"line {number}": Look(("#000000", "#FFFFFF")) for number in (0, 1)}
    panel = perplexity_panel(replace(part, runs=runs), looks, "perplexity", relative=False)
    assert all(bool(point.interval) == kept for one in panel.series for point in one.points)
    assert ("95 % intervals" in panel.y.label) == kept


def test_the_page_holds_the_splits_in_every_unit(small_study):
    splits = page_figures(render_page(small_study), "split")
    bars = {
        split["when"]["unit"]: [trace["y"] for trace in split["panels"][0]["data"] if trace["type"] == "bar"]
        for split in splits
        if split["when"]["set"] == "0 1"
    }
    longer, early, whole = bars["perplexity"]
    assert whole == pytest.approx([a + b for a, b in zip(longer, early, strict=True)], abs=1e-5)
    assert bars["word_perplexity"][0] == pytest.approx([v * 317_905 / 217_646 for v in longer], rel=1e-5)
    assert bars["bits_per_byte"][0] == pytest.approx([v * 317_905 / 1_146_846 / math.log(2) for v in longer], rel=1e-5)


def test_a_split_belongs_to_its_own_stride_and_says_nothing_of_the_training_length(tmp_path):
    study = make_study(tmp_path, methods=("alibi",), seeds=(0,), strides=(None, 16, 8), lengths=(128, 256))
    assert [len(part.changes) for part in study.sets] == [0, 1, 1]
    assert [entry.length for entry in study.sets[1].changes[0][1].lengths] == [256]
    # A nonoverlapping set shows the splits of both strides.
    splits = [figure["when"]["set"] for figure in page_figures(render_page(study), "split")]
    assert splits == ["0 1"] * 3 + ["0 2"] * 3
    names = {table.name for table in all_tables(study)}
    assert {f"two-part-split-wikitext2-validation-stride-{stride}" for stride in (8, 16)} <= names


def test_runs_without_any_number_have_a_report_too(make_result, tmp_path):
    paths = [make_result(method, {64: "out of memory: 9 GiB"}) for method in ("alibi", "t5")]
    comparison = compared(paths)
    assert "out of memory" in comparison_text(comparison)
    assert "out of memory: 9 GiB" in write_report(comparison, tmp_path / "report")[0].read_text()


def test_a_text_and_a_part_of_it_have_titles_of_their_own(make_result):
    part = {"name": "toy", "split": "validation", "tokens": 999, "words": 600, "bytes": 4321, "sha256": "2"}
    study = compared([make_result(), make_result("t5", data=part)])
    assert [s.title for s in study.sets] == [f"toy validation, nonoverlapping, {n} tokens" for n in ("12,345", "999")]


def test_what_is_not_compared_is_a_line_a_set_under_each_reason(make_result):
    """Seven sets: pairs of them would be 19 lines of paths."""
    part = {"name": "toy", "split": "validation", "tokens": 999, "words": 600, "bytes": 4321, "sha256": "2"}
    of = [{}, {"data": part}]
    paths = [make_result(f"m{n}{k}", protocol=f"stride-{n}", **over) for n in (2, 4, 8) for k, over in enumerate(of)]
    comparison = compared([*paths, make_result("m", precision="bf16", protocol="stride-2")])
    told = comparison_text(comparison).partition("Not compared\n")[2].splitlines()
    by_reason = {line.strip(): number for number, line in enumerate(told) if not line.startswith("    ")}
    assert list(by_reason) == ["other text or part of it (sha256)", "other protocol", "other precision"]
    # All are the same weights, whose other precision keeps only sets of another text apart.
    assert len(told) == (1 + 7) + (1 + 7) + (1 + 4)
    assert told[1] == "    toy validation, stride-2, 12,345 tokens: 1"
    assert "    toy validation, stride-2, bf16, 12,345 tokens: bf16" in told
    assert not any(str(path.parent) in line for path in paths for line in told)
    page = own_part(render_page(comparison))
    assert "<li>toy validation, stride-8, 999 tokens: stride-8</li>" in page


def test_a_part_says_so_though_no_other_set_is_named_alike(make_result):
    """The whole by one protocol, a part of it by another, twice over: nobody may take the part for the whole."""
    part = {"name": "toy", "split": "validation", "tokens": 999, "words": 600, "bytes": 4321, "sha256": "2"}
    twin = part | {"sha256": "34567890a"}
    paths = [make_result(), make_result(data=part, protocol="stride-8")]
    paths += [make_result("t5", data=twin, protocol="stride-8"), make_result("none", data=part | {"name": "other"})]
    study = compared(paths)
    assert [s.title for s in study.sets] == [
        "toy validation, nonoverlapping, 12,345 tokens",
        "toy validation, stride-8, 999 tokens, text 2",
        "toy validation, stride-8, 999 tokens, text 34567890",
        "other validation, nonoverlapping",
    ]
