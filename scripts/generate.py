"""Continue a prompt with a trained model.

    python scripts/generate.py outputs/latest --prompt "In 1921 the" --tokens 100 --temperature 0.8 --top-k 50 --seed 0

    python scripts/generate.py outputs/latest --tokens 2000 --adapt yarn     # or '{name: yarn, factor: 8}'

The text begins with the end-of-text token, as in evaluation, followed by the prompt. Only prompt and continuation are
written to stdout.
"""

import argparse
import os
import sys
from pathlib import Path

import torch
import yaml

from alibi.environment import pick_device
from alibi.generation import generate
from alibi.model import TRUNCATION, Adaptation, same_weights
from alibi.paths import expanded
from alibi.runs import Checkpoint, resolve_runs
from alibi.script import script, script_parser
from alibi.settings import LARGEST


def parse() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("run", type=expanded, help="a run folder, a checkpoint folder, or latest")
    parser.add_argument("--prompt", default="", help="text to continue; - reads it from stdin; default: none")
    parser.add_argument("--tokens", type=int, default=100, help="how many to add (100)")
    parser.add_argument("--temperature", type=float, default=1.0, help="0 is greedy (1.0)")
    parser.add_argument("--top-k", type=int, help="draw from this many of the likeliest tokens")
    parser.add_argument("--top-p", type=float, help="draw from the likeliest tokens that sum to this probability")
    parser.add_argument("--seed", type=int, help="of the draws; without it they differ every time")
    parser.add_argument("--stop", action="store_true", help="end at end-of-text (with words as tokens: at a line end)")
    parser.add_argument(
        "--adapt",
        type=adaptation,
        help="how the model is adapted to texts beyond its training length, as eval.adapt",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    return parser.parse_args()


def adaptation(text: str) -> Adaptation:
    """What --adapt asks for: a name, or a mapping in YAML.

    Raises:
        argparse.ArgumentTypeError: neither, or an unknown one.
    """
    try:
        wanted = Adaptation.of(yaml.safe_load(text), "--adapt")
    except (yaml.YAMLError, ValueError) as error:
        raise argparse.ArgumentTypeError(" ".join(str(error).split())) from error
    if wanted.name == TRUNCATION:
        raise argparse.ArgumentTypeError("truncation is for evaluation alone, which cuts its windows")
    return wanted


def text_of(prompt: str) -> str:
    """The prompt, or stdin for -, byte by byte.

    Raises:
        ValueError: bytes that are not UTF-8.
    """
    given = sys.stdin.buffer.read() if prompt == "-" else os.fsencode(prompt)
    try:
        return given.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"--prompt has the byte {given[error.start]:#04x} at offset {error.start}, and is not UTF-8; "
            "convert it, as by iconv -f LATIN1 -t UTF-8."
        ) from error


def continued(options: argparse.Namespace) -> str:
    """Prompt and continuation.

    Raises:
        ValueError, FileNotFoundError: options out of range, no run, a damaged checkpoint.
    """
    if options.seed is not None and not 0 <= options.seed < LARGEST:
        raise ValueError(f"--seed ({options.seed}) must be at least 0 and below 2**53 ({LARGEST}).")
    if options.seed is not None and options.temperature == 0:
        raise ValueError("--seed would be ignored: --temperature 0 is greedy; leave --seed out.")
    text, device = text_of(options.prompt), pick_device(options.device)
    paths = resolve_runs(options.run, Path("outputs"))
    if len(paths) > 1:
        raise ValueError(f"{options.run} means {len(paths)} checkpoints; name one of them.")
    checkpoint = Checkpoint(paths[0])
    tokenizer, model = checkpoint.load_tokenizer(), checkpoint.load_model(device)
    prompt = [tokenizer.end_of_text, *tokenizer.encode_prompt(text)]
    trained, whole = checkpoint.config["train"]["seq_len"], len(prompt) + options.tokens
    if options.adapt is not None:
        adapted = options.adapt.fitted(model.config, trained)
        print(f"note: {adapted.in_words(model.config, trained, whole)}", file=sys.stderr)
        model = same_weights(model, adapted.config(model.config, trained, whole))
    ids = generate(
        model,
        torch.tensor([prompt], device=device),
        options.tokens,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        generator=None if options.seed is None else torch.Generator().manual_seed(options.seed),
        stop_id=tokenizer.end_of_text if options.stop else None,
    )[0].tolist()
    if len(ids) > trained:
        print(f"note: {len(ids)} tokens go past the training length ({trained})", file=sys.stderr)
    added = ids[len(prompt) :]
    if options.stop and tokenizer.end_of_text in added:
        added = added[: added.index(tokenizer.end_of_text)]
    return tokenizer.decode(prompt[1:] + added)


if __name__ == "__main__":
    with script():
        print(continued(parse()))
