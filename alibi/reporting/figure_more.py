"""The figures beside perplexity: nats against context, memory and speed, training curves, the two-part split."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.ticker import EngFormatter

from alibi.reporting import canvas
from alibi.reporting.lines import PARTS, Line
from alibi.reporting.training_log import read_training
from alibi.results.result import Result

# A bin with fewer targets is noise: in sliding evaluation short contexts occur at the text's beginning alone.
FEWEST_TARGETS = 100


def context_curve(row: Mapping) -> list[tuple[int, float, int]]:
    """(context, mean nats, targets) of bins that hold enough targets; a bin stands at its upper end.

    Neighbours within an octave are joined until they do; what then still holds too few is left out.
    """
    told = row.get("context") or {"up_to": [], "targets": [], "nll_nats": []}
    curve, low, targets, nats = [], 0, 0, 0.0
    for up_to, more, more_nats in zip(told["up_to"], told["targets"], told["nll_nats"], strict=True):
        if targets == 0 or up_to >= 2 * low:
            low, targets, nats = up_to, 0, 0.0
        targets, nats = targets + more, nats + more_nats
        if targets >= FEWEST_TARGETS:
            curve.append((up_to, nats / targets, targets))
            targets = 0
    return curve


def context_lengths(results: Sequence[Result]) -> list[int]:
    """The lengths at which some run has a curve of its nats by context."""
    return sorted({n for result in results for n, row in result.numbers.items() if len(context_curve(row)) > 1})


def draw_context(lines: Sequence[Line], length: int, stem: Path) -> list[Path]:
    """Mean nats of a target against the context it had, in the rows of one length; one thin line a run."""
    figure = canvas.new_figure(canvas.COLUMN, 2.8)
    axes = figure.add_subplot()
    named, first = set(), []
    for line in lines:
        for result in line.results:
            curve = context_curve(result.numbers.get(length, {}))
            if len(curve) > 1:
                label = None if line.label in named else canvas.text_of(line.label)
                named.add(line.label)
                first.append(curve[0][0])
                style = {"lw": 0.9, "alpha": 0.85, "color": line.look.colour[0], "ls": line.look.dash[0]}
                axes.plot([x for x, _, _ in curve], [y for _, y, _ in curve], label=label, **style)
    if not named:
        return []
    canvas.mark_training_lengths(axes, [line for line in lines if line.label in named])
    axes.set_xscale("log", base=2)
    axes.set_xlim(left=min(first))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:.0f}")
    axes.set_xlabel("context of the target (tokens)")
    axes.set_ylabel("nats per token")
    axes.set_title(f"{canvas.measured(lines)}, length {length}")
    canvas.plain(axes)
    canvas.legend(figure, axes)
    return canvas.save(figure, stem)


def draw_cost(lines: Sequence[Line], stem: Path) -> list[Path]:
    """Speed above, memory below, against length."""
    panels = [
        ("tokens_per_sec", "tokens per second"),
        ("peak_memory_mib", "peak memory (MiB)"),
    ]
    panels = [p for p in panels if any(row.get(p[0]) for ln in lines for r in ln.results for row in r.numbers.values())]
    if not panels:
        return []
    figure = canvas.new_figure(canvas.COLUMN, 0.6 + 1.7 * len(panels))
    every = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    lengths = sorted({n for line in lines for result in line.results for n in result.numbers})
    for axes, (name, title) in zip(every, panels, strict=True):
        for line in lines:
            curves = [[(n, row[name]) for n, row in r.numbers.items() if row.get(name)] for r in line.results]
            curves = [curve for curve in curves if curve]
            if curves:
                canvas.draw_line(axes, line, curves, line.mean(name) if len(curves) > 1 else curves[0])
        canvas.log_lengths(axes, lengths)
        canvas.log_values(axes, [y for drawn in axes.lines for y in drawn.get_ydata()])
        axes.set_ylabel(title)
        canvas.plain(axes)
    every[-1].set_xlabel("length of evaluation (tokens)")
    machines = {r.machine(n) for line in lines for r in line.results for n in r.numbers} - {""}
    every[0].set_title(canvas.measured(lines) + (", on several machines" if len(machines) > 1 else ""))
    canvas.plain(every[0])
    canvas.legend(figure, every[0])
    return canvas.save(figure, stem)


def draw_training(lines: Sequence[Line], stem: Path) -> list[Path]:
    """Training loss, smoothed and thin; validation loss with markers."""
    figure = canvas.new_figure(canvas.COLUMN, 2.8)
    axes = figure.add_subplot()
    named = set()
    for line in lines:
        for folder in dict.fromkeys(result.folder for result in line.results):
            training = read_training(folder)
            if training is None:
                continue
            colour = line.look.colour[0]
            if training.train:
                axes.plot(*zip(*training.train, strict=True), lw=0.5, alpha=0.55, color=colour, ls=line.look.dash[0])
            label = None if line.label in named else canvas.text_of(line.label)
            named.add(line.label)
            x, y = zip(*training.val, strict=True) if training.val else ((), ())
            style = {"marker": line.look.marker[0], "ms": 2, "ls": line.look.dash[0]}
            axes.plot(x, y, lw=1.1, color=colour, label=label, **style)
    if not named:
        return []
    axes.set_xlabel("tokens seen in training")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_ylabel("nats per token")
    axes.set_title("training loss (thin) and validation loss (with markers)")
    canvas.log_values(axes, [y for drawn in axes.lines for y in drawn.get_ydata()])
    canvas.plain(axes)
    canvas.legend(figure, axes)
    return canvas.save(figure, stem)


def draw_split(changes: Mapping[str, Sequence[Mapping]], stem: Path) -> list[Path]:
    """The two parts and the whole change at each length, a panel a line.

    Args:
        changes: a line's label to the `change` of each of its runs. A bar is the mean over the runs; each run is a
            dot on it, with its interval.
    """
    changes = {label: runs for label, runs in changes.items() if any(run["lengths"] for run in runs)}
    if not changes:
        return []
    columns = min(3, len(changes))
    rows = -(-len(changes) // columns)
    figure = canvas.new_figure(canvas.COLUMN if columns == 1 else canvas.PAGE, 0.5 + 1.9 * rows)
    every = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (label, runs) in zip(every, changes.items(), strict=False):
        _draw_panel(axes, runs)
        axes.set_title(canvas.text_of(label))
        canvas.plain(axes)
        axes.grid(visible=False, axis="x")
    for axes in every[len(changes) :]:
        axes.set_visible(False)
    for axes in every[::columns]:
        axes.set_ylabel("nats per token")
    for axes in every[max(0, len(changes) - columns) : len(changes)]:
        axes.set_xlabel("length of evaluation (tokens)")
    canvas.legend(figure, every[0])
    return canvas.save(figure, stem)


def _draw_panel(axes, runs: Sequence[Mapping]) -> None:
    lengths = sorted({entry["length"] for run in runs for entry in run["lengths"]})
    width = 0.8 / len(PARTS)
    for place, (part, (name, (colour, _))) in enumerate(PARTS.items()):
        for group, length in enumerate(lengths):
            entries = [e for run in runs for e in run["lengths"] if e["length"] == length]
            x = group + (place - 1) * width
            mean = sum(e[part] for e in entries) / len(entries)
            axes.bar(x, mean, width * 0.92, color=colour, alpha=0.75, label=name if group == 0 else None)
            for number, entry in enumerate(entries):
                at = x + (number - (len(entries) - 1) / 2) * width * 0.3
                low, high = (entry.get("interval") or {}).get(part) or (entry[part], entry[part])
                axes.plot([at, at], [low, high], lw=0.7, color="black")
                axes.plot(at, entry[part], "o", ms=1.4, color="black")
    axes.axhline(0, color="0.3", lw=0.6)
    axes.set_xticks(range(len(lengths)), [str(length) for length in lengths])
