"""Verify a result file: compute its numbers again, and say which agree.

    python scripts/verify.py outputs/RUN/evaluation/step-00001000-wikitext2-validation-nonoverlapping.json
    python scripts/verify.py RESULT --rescore [--path FOLDER]

From the nats on disk (eval.save_nats=true), or with --rescore from the checkpoint beside it, on this machine. Nats do
not give the measures, which depend on the text: those are named as not checked. The exit code is 0 if all other
numbers agree, 1 if one does not or cannot be computed.
"""

import argparse
import json
import sys
from pathlib import Path

from alibi.environment import pick_device
from alibi.evaluation.rescore import rescored
from alibi.evaluation.verify import Check, from_nats
from alibi.paths import PathsConfig, user_path
from alibi.results import load_result
from alibi.script import script, script_parser


def parse() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("result", type=user_path, help="a result file")
    parser.add_argument("--rescore", action="store_true", help="score the text again with the checkpoint")
    parser.add_argument("--data", help="with --rescore: the text, where it is not the run's own: wikitext2, text, ...")
    parser.add_argument("--path", help="with --rescore: folder of the text")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if (options.data or options.path) and not options.rescore:
        parser.error("--data and --path would be ignored without --rescore")
    return options


def verify(options: argparse.Namespace) -> tuple[list[Check], list[str]]:
    """
    Raises:
        ValueError, OSError: no sound result, no nats, no checkpoint, or another text.
    """
    result = load_result(options.result)
    if not options.rescore:
        return from_nats(result)
    return rescored(result, options.data, options.path, Path(PathsConfig().cache), pick_device(options.device))


def main(options: argparse.Namespace) -> bool:
    """Whether all numbers agree."""
    checks, left = verify(options)
    agree = bool(checks) and all(check.agrees for check in checks)
    if options.json:
        about = [check.in_json() for check in checks]
        print(json.dumps({"result": str(options.result), "agree": agree, "checks": about, "not_checked": left}))
        return agree
    for check in checks:
        verdict = "agrees" if check.agrees else "DIFFERS"
        print(f"{verdict:8} {check.what:32} by {check.difference:.1e} (at most {check.tolerance:.0e})")
    for what in left:
        print(f"not checked: {what}")
    wrong = sum(not check.agrees for check in checks)
    print(f"{len(checks) - wrong} of {len(checks)} agree" + ("" if agree else f": {options.result} is NOT verified"))
    return agree


if __name__ == "__main__":
    with script():
        sys.exit(0 if main(parse()) else 1)
