"""Perplexity against length: log2 x axis, a line for the seeds of each setting, training lengths marked."""

from collections.abc import Sequence
from pathlib import Path

from alibi.reporting import canvas, words
from alibi.reporting.evaluation_table import second_metric
from alibi.reporting.lines import Line
from alibi.reporting.study import ResultSet
from alibi.reporting.words import METRICS
from alibi.results.result import Result


def draw_perplexity(part: ResultSet, folder: Path) -> list[Path]:
    """Write perplexity-<what was measured>.png, .svg and .pdf into `folder`; returns their paths.

    None if no row has a number. Runs of different tokenizers are drawn by what they share, words or bytes.
    """
    one_tokenizer = "perplexity" in part.content["metrics"]
    metric = "perplexity" if one_tokenizer else second_metric([run.result for run in part.runs])
    return draw_metric(part.lines, metric, folder / f"perplexity-{part.slug}")


def draw_metric(lines: Sequence[Line], metric: str, stem: Path) -> list[Path]:
    """The figure of one metric; runs without any number of it are left out.

    Args:
        metric: perplexity, word_perplexity or bits_per_byte.
        stem: of the three files.
    """
    drawn = [(line, [_points(result, metric) for result in line.results]) for line in lines]
    drawn = [(line, [curve for curve in curves if curve]) for line, curves in drawn]
    drawn = [(line, curves) for line, curves in drawn if curves]
    if not drawn:
        return []
    figure = canvas.new_figure(canvas.COLUMN, 2.8)
    axes = figure.add_subplot()
    has_bands = False
    for line, curves in drawn:
        canvas.draw_line(axes, line, curves, line.mean(metric) if len(curves) > 1 else curves[0])
        has_bands |= _draw_bands(axes, line, metric)
    canvas.mark_training_lengths(axes, [line for line, _ in drawn])
    points = [point for _, curves in drawn for curve in curves for point in curve]
    canvas.log_lengths(axes, sorted({length for length, _ in points}))
    canvas.log_values(axes, [value for _, value in points])
    axes.set_xlabel("length of evaluation (tokens)")
    axes.set_ylabel(METRICS[metric])
    first = drawn[0][0].results[0]
    axes.set_title(canvas.measured(lines) + (f", {words.percents(first.level)} intervals" if has_bands else ""))
    canvas.plain(axes)
    canvas.legend(figure, axes)
    return canvas.save(figure, stem)


def _points(result: Result, metric: str) -> list[tuple[int, float]]:
    return [(n, row[metric]) for n, row in result.numbers.items() if row.get(metric) is not None]


def _draw_bands(axes, line: Line, metric: str) -> bool:
    """Each run's interval as a band; says whether there was one."""
    drew = False
    for result in line.results:
        pairs = {n: (row.get("interval") or {}).get(metric) for n, row in result.numbers.items()}
        rows = [(n, pair) for n, pair in pairs.items() if pair]
        if rows:
            lengths, edges = zip(*rows, strict=True)
            axes.fill_between(lengths, *zip(*edges, strict=True), color=line.look.colour[0], alpha=0.15, lw=0)
            drew = True
    return drew
