"""Compare fp32, bf16 and (on CUDA) fp16 with float64: perplexity, and nats of single tokens.

    python scripts/precision.py outputs/latest --lengths 512 2048 --tokens 4096 [--out FILE.json]

Scores the first --tokens tokens of the split (4,096 by default), nonoverlapping, the same targets at each
length. As in training and evaluation, only matrix products are in the narrow type; weights and sums are not.
"""

import argparse
import json
from pathlib import Path

from measuring.precisions import compare_precisions, precision_table, precisions_of, sample_of

from alibi.environment import environment, pick_device
from alibi.evaluation import EvaluationSettings, open_evaluation_text
from alibi.files import write_atomically
from alibi.paths import PathsConfig, expanded, user_path
from alibi.runs import Checkpoint, resolve_runs
from alibi.script import script, script_parser


def parse() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("run", type=expanded, help="a run folder, a checkpoint folder, or latest")
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 2048], help="inputs of one pass (512 2048)")
    parser.add_argument("--tokens", type=int, default=4096, help="size of the sample (4096)")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--batch-tokens", type=int, help="inputs scored at once (what is fast on the device)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--out", type=user_path, help="write the rows to this JSON file too")
    return parser.parse_args()


def compare(options: argparse.Namespace) -> dict:
    """All that the file holds.

    Raises:
        ValueError, FileNotFoundError, ConnectionError: options out of range, no run, no text.
    """
    device = pick_device(options.device)
    if options.batch_tokens is not None and options.batch_tokens < 1:
        raise ValueError(f"--batch-tokens ({options.batch_tokens}) must be at least 1.")
    paths = resolve_runs(options.run, Path("outputs"))
    if len(paths) > 1:
        raise ValueError(f"{options.run} means {len(paths)} checkpoints; name one of them.")
    checkpoint = Checkpoint(paths[0])
    asked, cache = EvaluationSettings(split=options.split), Path(PathsConfig().cache)
    text = open_evaluation_text(checkpoint, checkpoint.data_config, asked, cache)
    sample = sample_of(text.tokens, options.tokens, options.lengths)
    model = checkpoint.load_model(device)
    rows = compare_precisions(
        model, sample, options.lengths, precisions_of(device), device, batch_tokens=options.batch_tokens
    )
    return {
        "kind": "precision",
        "checkpoint": {
            "path": checkpoint.path.relative_to(checkpoint.run.parent).as_posix(),
            "sha256": checkpoint.sha256,
            "step": checkpoint.step,
        },
        "data": {"name": sample.text["name"], "split": sample.text["split"], "tokens": len(sample)},
        "made_with": environment(device),
        "rows": rows,
    }


if __name__ == "__main__":
    with script():
        options = parse()
        report = compare(options)
        data = report["data"]
        print(f"{data['tokens']:,} tokens of {data['name']} {data['split']}, from its beginning\n")
        print(precision_table(report["rows"]))
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(options.out, json.dumps(report, indent=1, allow_nan=False) + "\n")
