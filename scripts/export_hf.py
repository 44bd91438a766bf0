"""Export an ALiBi run as a model that transformers loads without code of ours: an MPT with the run's tokenizer.

    python scripts/export_hf.py outputs/latest exported/my-model
    python evaluate.py runs=hf:exported/my-model data=wikitext103 'eval.lengths=[512,2048]'      # the same numbers

MPT takes inputs up to max_seq_len in its configuration, which can be raised later: no weight depends on it.
"""

import argparse
from pathlib import Path

from alibi.interop import export_run
from alibi.paths import expanded, user_path
from alibi.runs import Checkpoint, resolve_runs
from alibi.script import script, script_parser


def parse() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("run", type=expanded, help="a run folder, a checkpoint folder, or latest")
    parser.add_argument("out", type=user_path, help="the folder to make")
    parser.add_argument("--max-length", type=int, help="longest input (2048, or the training length if longer)")
    return parser.parse_args()


def export(options: argparse.Namespace) -> None:
    """
    Raises:
        ValueError, FileNotFoundError, FileExistsError, ImportError: no such run, or one that MPT cannot hold.
    """
    paths = resolve_runs(options.run, Path("outputs"))
    if len(paths) > 1:
        raise ValueError(f"{options.run} means {len(paths)} checkpoints; name one of them.")
    checkpoint = Checkpoint(paths[0])
    export_run(checkpoint, options.out, options.max_length)
    print(f"{options.out}: {checkpoint.run.name}, step {checkpoint.step}, as an MPT")


if __name__ == "__main__":
    with script():
        export(parse())
