"""Compare runs: tables in the terminal, and a page with figures.

    python scripts/report.py 'outputs/wikitext2/*'                         # tables, to the terminal
    python scripts/report.py 'outputs/wikitext2/*' --out outputs/report    # and a page, figures, tables as files
    python scripts/report.py 'outputs/wikitext2/*' --paper paper --figures perplexity     # PDFs and LaTeX for a paper

Takes result files, run folders, and globs of these. Compares runs on the same text and protocol; for the rest it
says why they cannot be compared. If no two of several runs can be, nothing is written and the exit code is 1.
"""

import argparse
import json

from alibi.analysis import compare_files
from alibi.paths import expanded, user_path
from alibi.reporting import FIGURES, TOKENS, comparison_text, write_paper, write_report
from alibi.script import script, script_parser


def parse() -> argparse.Namespace:
    parser = script_parser(__doc__)
    parser.add_argument("results", type=expanded, nargs="+", help="result files, run folders, or globs of these")
    parser.add_argument("--out", type=user_path, help="folder for index.html, figures/, tables.md and comparison.json")
    parser.add_argument("--paper", type=user_path, help="folder for PDFs, 3.3 and 6.8 inches wide, and tables.tex")
    parser.add_argument(
        "--figures", nargs="+", choices=FIGURES, help="which figures --paper writes; perplexity by default"
    )
    parser.add_argument(
        "--against", metavar="LINE", help="charts are relative to this line, by its label in the tables"
    )
    parser.add_argument(
        "--tokens",
        choices=TOKENS,
        help="draw training against the run's own tokens (the default), or its origin's too",
    )
    options = parser.parse_args()
    if options.figures and not options.paper:
        parser.error("--figures would be ignored without --paper DIR")
    if options.against and not (options.out or options.paper):
        parser.error("--against would be ignored without --out DIR or --paper DIR: it is for charts")
    if options.tokens and not (options.out or "training" in (options.figures or ())):
        parser.error("--tokens would be ignored without --out DIR or --figures training: it is for that chart")
    return options


def main(options: argparse.Namespace) -> None:
    """
    Raises:
        ValueError, OSError: no results, or none that can be compared.
    """
    comparison, total_tokens = compare_files(options.results, options.against), options.tokens == "total"
    print(comparison_text(comparison))
    if options.out:
        paths = write_report(comparison, options.out, total_tokens)
        content = json.dumps(comparison.to_dict(), indent=1, allow_nan=False)
        (options.out / "comparison.json").write_text(content + "\n")
        print(f"\n{len(paths)} files; the page is {paths[0]}")
    if options.paper:
        for path in write_paper(comparison, options.paper, options.figures or FIGURES[:1], total_tokens):
            print(path)


if __name__ == "__main__":
    with script():
        main(parse())
