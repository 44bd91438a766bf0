import xml.etree.ElementTree as ET

import numpy as np
from comparisons import compared
from PIL import Image
from studies import make_file

from alibi.reporting import draw_perplexity
from alibi.reporting.chart import looks_of
from alibi.reporting.study_charts import context_chart, context_curve, cost_chart, training_chart


def drawn_of(tmp_path, *paths):
    study = compared(paths)
    [part] = study.sets
    return draw_perplexity(study, part, tmp_path / "figures")


def drawn(make_result, tmp_path, *results):
    return drawn_of(tmp_path, *(make_result(*r) for r in results))


def svg_text(path):
    return [e.text for e in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")]


def test_png_and_svg_with_methods_lengths_and_training_length(make_result, tmp_path):
    blows_up = {64: 21.0, 128: 80.0, 2048: 900.0}
    png, svg, pdf = drawn(make_result, tmp_path, ("alibi",), ("sinusoidal", blows_up), ("t5", {64: "out of memory: x"}))
    assert png.name == "perplexity-toy-validation-nonoverlapping.png"
    with Image.open(png) as image:
        assert image.size[0] >= 990
        assert len(set(image.convert("L").tobytes())) > 20, "a blank picture"
    assert pdf.read_bytes().startswith(b"%PDF")
    texts = [t.strip() for t in svg_text(svg) if t]
    for wanted in ("alibi L=64", "sinusoidal L=64", "64", "128", "2048", "trained at 64", "perplexity per token"):
        assert wanted in texts
    assert "t5 L=64" not in texts, "no line without a number"


def trained(make_result, perplexity, seed, run=None, method="alibi", **settings):
    """A run's result file that tells its settings; `run` is its weights."""
    checkpoint = {
        "path": "x", "sha256": run or f"{seed}{settings}", "step": 100, "model": method, "seq_len": 64, "seed": seed,
        "settings": {"model.num_layers": 2, "seed": seed, **settings},
    }  # fmt: skip
    curve, folder = {64: perplexity, 128: perplexity}, f"{seed}-{run}-{settings}"
    return make_result(method, curve, 64, folder, checkpoint=checkpoint)


def test_a_line_is_the_seeds_of_one_setting(make_result, tmp_path):
    """Two widths, two seeds each: two lines, each with its own mean, and no mean over both."""
    of = {16: (20.0, 22.0), 32: (10.0, 12.0)}
    paths = [trained(make_result, of[w][s], s, **{"model.d_model": w}) for w in of for s in (0, 1)]
    study = compared(paths)
    [part] = study.sets
    assert {line.label: line.seed_mean(64, "perplexity").mean for line in part.lines} == {
        "alibi L=64 d_model 16": 21.0, "alibi L=64 d_model 32": 11.0,
    }  # fmt: skip
    narrow, wide = (looks_of(study)[line.label] for line in part.lines)
    assert narrow.colour == wide.colour
    assert narrow.marker != wide.marker
    assert narrow.dash != wide.dash
    _, svg, _ = drawn_of(tmp_path, *paths)
    assert {"alibi L=64 d_model 16", "alibi L=64 d_model 32"} <= set(svg_text(svg))
    assert not any("seed" in text for text in svg_text(svg))


def test_a_line_is_no_mean_where_settings_are_not_told_or_a_seed_is_there_twice(make_result):
    [part] = compared([make_result("alibi", None, 64, 0), make_result("alibi", None, 64, 1)]).sets
    assert [line.label for line in part.lines] == [f"alibi L=64 (alibi-L64-seed{seed})" for seed in (0, 1)]
    [part] = compared([trained(make_result, 20.0, 0, run=name) for name in "ab"]).sets
    assert [len(line.runs) for line in part.lines] == [1, 1]


def test_the_same_results_give_the_same_files(make_result, tmp_path):
    first = [path.read_bytes() for path in drawn(make_result, tmp_path, ("alibi",))]
    assert [path.read_bytes() for path in drawn(make_result, tmp_path, ("alibi",))] == first
    other = drawn(make_result, tmp_path, ("alibi", {64: 20.0, 128: 19.0}))
    assert all(path.read_bytes() != before for path, before in zip(other, first, strict=True))


def test_runs_of_different_tokenizers_are_drawn_per_word(make_result, tmp_path):
    data = {"name": "toy", "split": "validation", "tokens": 99, "words": 60, "bytes": 400, "sha256": "1"}
    _, svg, _ = drawn_of(tmp_path, make_result(), make_result("t5", data=data))
    assert "perplexity per word" in svg_text(svg)
    assert "perplexity per token" not in svg_text(svg)


def test_a_name_with_dollars_is_no_formula(make_result, tmp_path):
    _, svg, _ = drawn(make_result, tmp_path, ("a$x^2$_<b>",))
    assert "a$x^2$_<b> L=64" in svg_text(svg)


def test_nothing_to_draw(make_result, tmp_path):
    assert drawn(make_result, tmp_path, ("alibi", {64: "overflow: x"})) == []


def test_a_text_named_like_a_formula_and_a_method_named_like_no_label(make_result, tmp_path):
    """matplotlib reads $...$ as mathematics, and leaves out labels that begin with _."""
    data = {"name": r"$\foo$", "split": "test", "tokens": 9, "words": 3, "bytes": 40, "sha256": "1"}
    _, svg, _ = drawn_of(tmp_path, make_result("_mine", data=data), make_result("b", data=data))
    assert any(text.startswith(r"$\foo$ test") for text in svg_text(svg))
    assert "_mine L=64" in [text.strip() for text in svg_text(svg)]


def test_values_over_many_decades_have_ticks(make_result, tmp_path):
    _, svg, _ = drawn(make_result, tmp_path, ("alibi", {64: 20.0, 128: 1e30}))
    assert "1e+20" in svg_text(svg)


def test_contexts_are_joined_within_an_octave_until_they_say_something():
    row = {
        "context": {
            "up_to": [1, 2, 3, 4, 8],
            "targets": [600, 600, 600, 600, 5000],
            "nll_nats": [600, 1200, 1200, 1200, 10000],
        }
    }
    assert [(x, y) for x, y, *_ in context_curve(row)] == [(3, 2.0), (8, 2.0)], "1 alone and 4 alone hold too few"
    assert context_curve({}) == []


def test_the_axis_of_contexts_has_powers_of_two(small_study):
    part = small_study.sets[0]
    [panel] = context_chart(part, looks_of(small_study), 512).panels
    contexts = [point.x for one in panel.series for point in one.points]
    assert [int(text) for _, text in panel.x.ticks] == [2**n for n in range(10) if min(contexts) <= 2**n]
    assert max(contexts) == 512


def test_two_dozen_lines_look_different_and_a_method_keeps_its_colour(make_result):
    """Four widths of six methods, one of which has no colour of its own; then that one alone."""
    methods = ["alibi", "rotary", "t5", "none", "kerple_log", "fox"]
    shapes = [{"model.d_model": width} for width in (16, 32, 64, 128)]
    paths = [trained(make_result, 20, 0, f"{method}-{n}", method=method, **shape)
             for method in methods for n, shape in enumerate(shapes)]  # fmt: skip
    looks = looks_of(compared(paths))
    assert len(looks) == 24
    assert len({(look.marker, look.dash) for look in looks.values()}) == 24, "also in print"
    colours = {label.split()[0]: look.colour for label, look in looks.items()}
    assert len(set(colours.values())) == len(methods)
    alone = looks_of(compared([trained(make_result, 20, 0, "again", method="fox")]))
    assert [look.colour for look in alone.values()] == [colours["fox"]]


def test_an_adaptation_has_its_own_dash_for_every_method(tmp_path):
    adapted = (None, "window", "bca", "yarn")
    made = [make_file(tmp_path, m, 0, adapt=a) for m in ("alibi", "rotary") for a in adapted]
    looks = looks_of(compared(made))
    assert len({(look.marker, look.dash) for look in looks.values()}) == 8, "in print each line is its own"
    dashes = [{looks[f"{m}{f' + {a}' if a else ''} L=128"].dash for m in ("alibi", "rotary")} for a in adapted]
    assert all(len(one) == 1 for one in dashes)
    assert len(set.union(*dashes)) == 4
    assert looks["rotary + yarn L=128"].colour == looks["rotary L=128"].colour
    alone = looks_of(compared(made[4:]))
    assert len({look.colour for look in alone.values()}) == 4, "beside one method the colours tell them apart"
    assert alone["rotary L=128"].colour == looks["rotary L=128"].colour


def test_no_entry_of_a_long_legend_is_cut(make_result, tmp_path):
    """24 lines, some with labels wider than a column of text: all of their words are there, and no ink at the edges."""
    settings = [{"model.d_model": n, "data.path": f"texts of {'many ' * (n % 3)}{n}"} for n in range(1, 25)]
    paths = [trained(make_result, 20 + n, 0, str(n), **one) for n, one in enumerate(settings)]
    png, svg, _ = drawn_of(tmp_path, *paths)
    said = " ".join(text for text in svg_text(svg) if text)
    assert all(f"d_model {n}" in said for n in range(1, 25))
    with Image.open(png) as image:
        ink = np.asarray(image.convert("L")) < 250
    edges = ink[0], ink[-1], ink[:, 0], ink[:, -1]
    assert ink.any()
    assert not any(edge.any() for edge in edges)


def test_costs_are_drawn_from_zero_and_training_after_its_first_steps(make_result, small_study):
    chart = cost_chart(small_study.sets[0], looks_of(small_study))
    assert [panel.y.from_zero for panel in chart.panels] == [True, True]
    [panel] = training_chart(small_study).panels
    spans = [(min(p.x for p in one.points), max(p.x for p in one.points)) for one in panel.series]
    last = max(stop for _, stop in spans)
    assert all(start >= last / 20 for start, _ in spans)
