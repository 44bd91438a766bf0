import xml.etree.ElementTree as ET

from PIL import Image

from alibi.reporting import draw_perplexity, load_results


def drawn(make_result, tmp_path, *results):
    return draw_perplexity(load_results([make_result(*r) for r in results]), tmp_path / "figures")


def svg_text(path):
    return [e.text for e in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")]


def test_png_and_svg_with_methods_lengths_and_training_length(make_result, tmp_path):
    blows_up = {64: 21.0, 128: 80.0, 2048: 900.0}
    png, svg = drawn(make_result, tmp_path, ("alibi",), ("sinusoidal", blows_up), ("t5", {64: "out of memory: x"}))
    assert png.name == "perplexity-toy-validation-nonoverlapping.png"
    with Image.open(png) as image:
        assert image.size[0] >= 1000
        assert len(set(image.convert("L").tobytes())) > 20, "a blank picture"
    texts = [t.strip() for t in svg_text(svg) if t]
    for wanted in ("alibi", "sinusoidal", "64", "128", "2048", "trained at 64", "perplexity per token"):
        assert wanted in texts
    assert "t5" not in texts, "no line without a number"


def test_runs_of_one_method_are_told_apart(make_result, tmp_path):
    _, svg = drawn(make_result, tmp_path, ("alibi", None, 64, 0), ("alibi", None, 128, 1))
    texts = svg_text(svg)
    assert "alibi, L 64, seed 0" in texts
    assert "alibi, L 128, seed 1" in texts


def test_the_same_results_give_the_same_svg(make_result, tmp_path):
    first = drawn(make_result, tmp_path, ("alibi",))[1].read_bytes()
    assert drawn(make_result, tmp_path, ("alibi",))[1].read_bytes() == first
    assert drawn(make_result, tmp_path, ("alibi", {64: 20.0, 128: 19.0}))[1].read_bytes() != first


def test_nothing_to_draw(make_result, tmp_path):
    assert drawn(make_result, tmp_path, ("alibi", {64: "overflow: x"})) == []
