"""Compare runs, and write the report that people look at.

    python scripts/report.py 'outputs/wikitext2/*'                         # tables, to the terminal
    python scripts/report.py 'outputs/wikitext2/*' --out outputs/report    # and a page, figures, tables as files

Takes result files, run folders, and globs of these. Runs are compared on equal text by the same
protocol; what may not be compared is named with the reason. With several runs of which no two may be
compared, nothing is written and the exit code is 1.
"""

import argparse
import json
import sys

from alibi.commands import compare
from alibi.paths import expanded, user_path
from alibi.reporting import comparison_text, write_report


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=expanded, nargs="+", help="result files, run folders, or globs of these")
    parser.add_argument("--out", type=user_path, help="folder for index.html, figures/, tables/ and comparison.json")
    return parser.parse_args()


def main() -> None:
    options = parse()
    try:
        results, comparison = compare(options.results)
        print(comparison_text(results, comparison))
        if options.out:
            paths = write_report(results, comparison, options.out)
            (options.out / "comparison.json").write_text(json.dumps(comparison, indent=1, allow_nan=False) + "\n")
            print(f"\n{len(paths)} files; the page is {paths[0]}")
    except (ValueError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
