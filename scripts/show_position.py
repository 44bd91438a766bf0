"""Show what a position method does to attention: figures, a table, and the numbers as arrays.

    python scripts/show_position.py model=alibi --out outputs/alibi-position
    python scripts/show_position.py model=rotary model.position.theta=500 size=tiny --length 512 --out DIR
    python scripts/show_position.py runs=outputs/latest --layer 3 --length 1024 --out DIR

model= takes further settings of train.py and shows the method at its initial values. runs= shows one trained run
on the beginning of its validation text, with its attention weights. A bias that depends on the content needs runs=.

Writes bias, turn and attention, those that the layer has, as .png and .svg, and position.npz (float64):
  bias              (heads, queries, keys), -inf where a key is hidden; of the first window of text if it depends on it
  distance          (length,): 0, 1, 2, ..., the columns of all that follow
  bias_by_distance  (heads, length): exact if it is the same for all queries, else the mean over those that see the key
  turn_by_distance  (length,), or (heads, length) where heads differ: score of equal vectors, 1 unturned
  attention         (heads, length), of a run: weight by distance, mean over all queries, so that a row sums to 1
  parameters/NAME   what the layer's method learns, and its query scale
"""

import argparse
import os
import shlex
from pathlib import Path

import numpy as np
import torch
from showing.attention import AttentionByDistance, AttentionPass
from showing.draw import Shown, draw
from showing.layer import Layer, dense_bias, mean_by_distance, turn_by_distance
from showing.subject import Subject, subject_of
from showing.table import table

from alibi.files import check_writable
from alibi.model.score_bias import ScoreBias
from alibi.paths import user_path
from alibi.script import script, script_parser

LONGEST = 2048  # of the dense (heads, length, length) bias


def parse() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument(
        "settings", nargs="*", help="model=NAME and other settings of train.py; or runs=RUN, a run or checkpoint folder"
    )
    parser.add_argument("--length", type=int, default=128, help=f"tokens (128), at most {LONGEST:,}")
    parser.add_argument("--layer", type=int, default=0, help="counted from 0 (0)")
    parser.add_argument("--out", type=user_path, required=True, metavar="DIR", help="folder for the files")
    return parser.parse_intermixed_args()


def check(options: argparse.Namespace) -> None:
    """
    Raises:
        ValueError: an option out of range.
        OSError: the folder cannot be written to.
    """
    if not 1 <= options.length <= LONGEST:
        rule = f"must be at least 1 and at most {LONGEST:,}: the bias of all pairs is held in memory"
        raise ValueError(f"--length ({options.length}) {rule}.")
    if options.out.exists() and not options.out.is_dir():
        raise ValueError(f"--out ({options.out}) is a file; name a folder.")
    check_writable(options.out)


def show(subject: Subject, layer: Layer, options: argparse.Namespace) -> Shown:
    """Everything about one layer.

    Raises:
        ValueError: a bias that depends on the content and no run, or weights of a run that are not finite.
    """
    model, number, length = subject.model, layer.number, options.length
    if subject.windows_WL is not None:
        first = AttentionPass.of(model, number, subject.windows_WL[:1])
        position, scores = first.position, first.scores()
        attention = AttentionByDistance.of(model, number, subject.windows_WL)
        if not attention.weight_HN.isfinite().all():
            raise ValueError(f"attention of layer {number} is not finite: the run diverged; choose another checkpoint.")
    elif layer.by_content:
        raise ValueError(
            f"the bias of {layer.method.name} depends on the content, so it needs a run and its text: train one, "
            f"python train.py {shlex.join(options.settings)}, and give runs=RUN in place of the settings."
        )
    else:
        position, attention = layer.position(length), None
        scores = ScoreBias(layer.method.bias(), position.mask)
    bias_HLM = dense_bias(scores, model.config.num_heads)
    kind = f" ({layer.kind}: {layer.method.name})" if layer.kind else ""
    return Shown(
        subject.name,
        f"layer {number} of 0–{model.config.num_layers - 1}{kind}, length {length:,}",
        subject.seq_len,
        layer.windows,
        bias_HLM,
        *mean_by_distance(bias_HLM),
        turn_by_distance(position, model.config.num_heads, layer.method.head_dim),
        attention,
    )


def arrays(shown: Shown, layer: Layer) -> dict[str, np.ndarray]:
    """What position.npz holds."""
    found = {"bias": shown.bias_HLM, "distance": torch.arange(shown.length), "bias_by_distance": shown.bias_HN}
    if (turn_HN := shown.turn_HN) is not None:
        found["turn_by_distance"] = turn_HN[0] if bool((turn_HN == turn_HN[0]).all()) else turn_HN
    if shown.attention is not None:
        found["attention"] = shown.attention.weight_HN
    parameters = {f"parameters/{name}": values for name, values in layer.parameters().items()}
    return {name: values.numpy() for name, values in found.items()} | parameters


def write_arrays(path: Path, values: dict[str, np.ndarray]) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(unfinished, "wb") as file:
            np.savez_compressed(file, **values)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def report(shown: Shown, layer: Layer) -> str:
    lines = [f"method     {shown.name}", f"layer      {shown.where.removeprefix('layer ')}"]
    lines += [f"{'' if number else 'does':<11}{clause}" for number, clause in enumerate(layer.in_words())]
    widest = max((window for window in layer.windows if window is not None), default=0)
    if widest >= shown.length:
        lines.append(
            f"note       a window of {widest:,} hides nothing of {shown.length:,} tokens; use a larger --length"
        )
    if shown.attention is not None:
        lines.append(f"attention  mean over {shown.attention.num_queries:,} queries of validation text")
    return "\n".join([*lines, *([f"\n{rows}"] if (rows := table(shown)) else [])])


@torch.no_grad()
def main(options: argparse.Namespace) -> None:
    """
    Raises:
        ValueError, OSError: options out of range, no run, no text.
    """
    check(options)
    subject = subject_of(options.settings, options.length)
    layer = Layer.of(subject.model, options.layer)
    shown = show(subject, layer, options)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "position.npz"
    write_arrays(path, arrays(shown, layer))
    print(report(shown, layer), "", *draw(shown, options.out), path, sep="\n")


if __name__ == "__main__":
    with script():
        main(parse())
