"""What became of the jobs of a sweep: files in a folder that all its processes share, and the list of them."""

import hashlib
import json
import os
import signal
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from alibi.faults import hold
from alibi.files import write_atomically

BEGUN, RAN, SKIPPED, FAILED, STOPPED = "begun", "ran", "skipped", "failed", "stopped"


@dataclass
class Outcome:
    """What became of a job: one of the words above, the reason, and its run folder if known."""

    number: int
    overrides: list[str]
    what: str = BEGUN
    reason: str = ""
    run: str = ""


@dataclass(frozen=True)
class Sweep:
    """What the processes of a sweep tell each other, as files in a folder of this sweep alone."""

    folder: Path

    def record(self, outcome: Outcome) -> None:
        write_atomically(self.folder / f"job-{outcome.number}.json", json.dumps(asdict(outcome)))

    def outcomes(self) -> list[Outcome]:
        found = [Outcome(**json.loads(path.read_text())) for path in self.folder.glob("job-*.json")]
        return sorted(found, key=lambda outcome: outcome.number)

    def claim(self, run: Path, number: int, settings: dict) -> tuple[int, dict]:
        """Claim a run folder for a job; returns number and settings of the job that has it, which may be another."""
        claim = self.folder / f"claim-{hashlib.sha256(os.fsencode(os.path.realpath(run))).hexdigest()}.json"
        with hold(self.folder / "claims.lock"):
            if not claim.exists():
                write_atomically(claim, json.dumps([number, settings]))
        return tuple(json.loads(claim.read_text()))

    def stop(self, number: int) -> None:
        write_atomically(self.folder / "stop", str(number))

    def stopped_by(self) -> int:
        """Number of the signal that stops the sweep, SIGTERM's if its leading process is gone; 0 to continue."""
        with suppress(FileNotFoundError):
            return int((self.folder / "stop").read_text())
        try:
            os.kill(int((self.folder / "leader").read_text()), 0)
        except ProcessLookupError:
            return signal.SIGTERM
        except OSError:  # no leader; or its number belongs to another user's process now
            pass
        return 0

    def lead(self) -> None:
        """Make this process the leader of the sweep: its jobs, on the same machine, stop when it is gone."""
        (self.folder / "leader").write_text(str(os.getpid()))


def summary_text(outcomes: list[Outcome]) -> str:
    """How many jobs ran, were skipped, failed or were stopped, and a line for each."""
    count = {what: sum(o.what == what for o in outcomes) for what in (RAN, SKIPPED, FAILED, STOPPED, BEGUN)}
    head = ", ".join(f"{number} {what}" for what, number in count.items() if number)
    common = set.intersection(*(set(o.overrides) for o in outcomes)) if len(outcomes) > 1 else set()
    lines = [f"\nsweep      {len(outcomes)} jobs: {head or 'none begun'}"]
    for o in outcomes:
        own = " ".join(value for value in o.overrides if value not in common)
        reason = o.reason or ("lost: its launcher's process ended before it" if o.what == BEGUN else "")
        lines.append("  ".join(part for part in (f"  {o.what:7}  {o.number:3}", own, o.run, reason) if part))
    if count[FAILED] + count[STOPPED] + count[BEGUN]:
        lines.append("The same command skips what is finished and goes on with the rest.")
    return "\n".join(lines)
