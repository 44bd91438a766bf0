"""What scripts/report.py does first: result files compared."""

from collections.abc import Sequence

from alibi.analysis import Comparison, compare
from alibi.reporting import refusals_text
from alibi.results import find_results, load_results


def compare_runs(wanted: Sequence[str]) -> Comparison:
    """
    Args:
        wanted: result files, run folders, or globs of these.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: a file that is no sound result; or several runs, of which no two may be compared.
    """
    results = load_results(find_results(wanted))
    comparison = compare(results)
    runs = {result.checkpoint.sha256 for result in results}
    if len(runs) > 1 and not any(pair.lengths for part in comparison.sets for pair in part.pairs):
        notes = [part.note for part in comparison.sets if len(part.runs) > 1]
        files = ", ".join(str(result.path) for result in results)
        reasons = [f"no two of these {len(runs)} runs may be compared ({files}):", *notes, refusals_text(comparison)]
        raise ValueError("\n".join(reasons))
    return comparison
