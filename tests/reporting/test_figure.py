import xml.etree.ElementTree as ET

from PIL import Image

from alibi.reporting import draw_perplexity, load_results
from alibi.reporting.figure_more import context_curve
from alibi.reporting.lines import lines_of


def drawn(make_result, tmp_path, *results):
    return draw_perplexity(load_results([make_result(*r) for r in results]), tmp_path / "figures")


def svg_text(path):
    return [e.text for e in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")]


def test_png_and_svg_with_methods_lengths_and_training_length(make_result, tmp_path):
    blows_up = {64: 21.0, 128: 80.0, 2048: 900.0}
    png, svg, pdf = drawn(make_result, tmp_path, ("alibi",), ("sinusoidal", blows_up), ("t5", {64: "out of memory: x"}))
    assert png.name == "perplexity-toy-validation-nonoverlapping.png"
    with Image.open(png) as image:
        assert image.size[0] >= 1000
        assert len(set(image.convert("L").tobytes())) > 20, "a blank picture"
    assert pdf.read_bytes().startswith(b"%PDF")
    texts = [t.strip() for t in svg_text(svg) if t]
    for wanted in ("alibi", "sinusoidal", "64", "128", "2048", "trained at 64", "perplexity per token"):
        assert wanted in texts
    assert "t5" not in texts, "no line without a number"


def test_runs_of_one_method_are_told_apart(make_result, tmp_path):
    _, svg, _ = drawn(make_result, tmp_path, ("alibi", None, 64, 0), ("alibi", None, 128, 1))
    texts = svg_text(svg)
    assert "alibi, L 64, seed 0" in texts
    assert "alibi, L 128, seed 1" in texts


def test_the_same_results_give_the_same_files(make_result, tmp_path):
    first = [path.read_bytes() for path in drawn(make_result, tmp_path, ("alibi",))]
    assert [path.read_bytes() for path in drawn(make_result, tmp_path, ("alibi",))] == first
    other = drawn(make_result, tmp_path, ("alibi", {64: 20.0, 128: 19.0}))
    assert all(path.read_bytes() != before for path, before in zip(other, first, strict=True))


def test_seeds_of_a_line_share_a_colour_under_their_mean(make_result):
    results = load_results(
        [make_result("alibi", {64: 10.0 + s, 128: 8.0}, 64, s) for s in (0, 1)] + [make_result("t5")]
    )
    alibi, t5 = lines_of(results)
    assert (alibi.label, t5.label) == ("alibi, 2 seeds", "t5, seed 0")
    assert alibi.mean("perplexity") == [(64, 10.5), (128, 8.0)]
    assert alibi.look.colour != t5.look.colour


def test_lines_of_a_method_differ_by_dash_and_marker(make_result):
    short, long = lines_of(load_results([make_result(seq_len=64), make_result(seq_len=128)]))
    assert short.look.colour == long.look.colour
    assert short.look.marker != long.look.marker
    assert short.look.dash != long.look.dash


def test_runs_of_different_tokenizers_are_drawn_per_word(make_result, tmp_path):
    data = {"name": "toy", "split": "validation", "tokens": 99, "words": 60, "bytes": 400, "sha256": "1"}
    results = load_results([make_result(), make_result("t5", data=data)])
    _, svg, _ = draw_perplexity(results, tmp_path / "figures")
    assert "perplexity per word" in svg_text(svg)
    assert "perplexity per token" not in svg_text(svg)


def test_a_name_with_dollars_is_no_formula(make_result, tmp_path):
    _, svg, _ = drawn(make_result, tmp_path, ("a$x^2$_<b>",))
    assert "a$x^2$_<b>" in svg_text(svg)


def test_nothing_to_draw(make_result, tmp_path):
    assert drawn(make_result, tmp_path, ("alibi", {64: "overflow: x"})) == []


def test_a_text_named_like_a_formula_and_a_method_named_like_no_label(make_result, tmp_path):
    """matplotlib reads $...$ as mathematics, and leaves out labels that begin with _."""
    data = {"name": r"$\foo$", "split": "test", "tokens": 9, "words": 3, "bytes": 40, "sha256": "1"}
    _, svg, _ = draw_perplexity(load_results([make_result("_mine", data=data), make_result("b", data=data)]), tmp_path)
    assert any(text.startswith(r"$\foo$ test") for text in svg_text(svg))
    assert "_mine" in [text.strip() for text in svg_text(svg)]


def test_values_over_many_decades_have_ticks(make_result, tmp_path):
    _, svg, _ = drawn(make_result, tmp_path, ("alibi", {64: 20.0, 128: 1e30}))
    assert "1e+20" in svg_text(svg)


def test_contexts_are_joined_within_an_octave_until_they_say_something():
    row = {
        "context": {"up_to": [1, 2, 3, 4, 8], "targets": [60, 60, 60, 60, 500], "nll_nats": [60, 120, 120, 120, 1000]}
    }
    assert context_curve(row) == [(3, 2.0, 120), (8, 2.0, 500)], "1 alone and 4 alone hold too few"
    assert context_curve({}) == []
