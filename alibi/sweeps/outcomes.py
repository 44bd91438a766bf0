"""What became of the jobs of a sweep: files in a folder that all its processes share, and the list."""

import hashlib
import json
import os
import signal
import socket
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from alibi.files import write_atomically

BEGUN, RAN, SKIPPED, FAILED, STOPPED = "begun", "ran", "skipped", "failed", "stopped"


@dataclass
class Outcome:
    """What became of a job: one of the words above, why, and its run folder where that is known."""

    number: int
    overrides: list[str]
    what: str = BEGUN
    reason: str = ""
    run: str = ""


@dataclass(frozen=True)
class Sweep:
    """What the processes of a sweep tell each other, by files in its folder, which no other sweep has."""

    folder: Path

    @classmethod
    def begin(cls, place: Path) -> "Sweep":
        """A new sweep, with its folder in `place`."""
        return cls(Path(tempfile.mkdtemp(prefix=".sweep-", dir=place)))

    def record(self, outcome: Outcome) -> None:
        write_atomically(self.folder / f"job-{outcome.number}.json", json.dumps(asdict(outcome)))

    def outcomes(self) -> list[Outcome]:
        found = [Outcome(**json.loads(p.read_text())) for p in self.folder.glob("job-*.json")]
        return sorted(found, key=lambda outcome: outcome.number)

    def outcome(self, number: int) -> Outcome:
        return Outcome(**json.loads((self.folder / f"job-{number}.json").read_text()))

    def claim(self, run: Path, number: int, settings: dict) -> tuple[int, dict]:
        """Number and settings of the job that has the run folder: this one, or one that came first."""
        claim = self.folder / f"claim-{hashlib.sha256(os.fsencode(os.path.realpath(run))).hexdigest()}.json"
        with FileLock(self.folder / "claims.lock"):
            if not claim.exists():
                write_atomically(claim, json.dumps([number, settings]))
        first, theirs = json.loads(claim.read_text())
        return first, theirs

    def stop(self, number: int) -> None:
        write_atomically(self.folder / "stop", str(number))

    def stopped_by(self) -> int:
        """Number of the signal that the sweep is to stop by; SIGTERM's where its first process is gone, 0 to go on."""
        try:
            return int((self.folder / "stop").read_text())
        except FileNotFoundError:
            return 0 if self._led() else signal.SIGTERM

    def lead(self) -> None:
        """Say which process leads the sweep; the jobs on this machine stop with it."""
        (self.folder / "leader").write_text(f"{socket.gethostname()} {os.getpid()}")

    def _led(self) -> bool:
        if not (self.folder / "leader").exists():
            return True
        host, process = (self.folder / "leader").read_text().split()
        try:
            if host == socket.gethostname():
                os.kill(int(process), 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True


def summary_text(outcomes: list[Outcome]) -> str:
    """How many jobs ran, were skipped, failed, were stopped; and a line for each."""
    count = {what: sum(o.what == what for o in outcomes) for what in (RAN, SKIPPED, FAILED, STOPPED, BEGUN)}
    head = ", ".join(f"{number} {what}" for what, number in count.items() if number)
    common = set.intersection(*(set(o.overrides) for o in outcomes)) if len(outcomes) > 1 else set()
    lines = [f"\nsweep      {len(outcomes)} jobs: {head or 'none begun'}"]
    for o in outcomes:
        own = " ".join(value for value in o.overrides if value not in common)
        reason = o.reason or ("no word of its end: its launcher's process was lost" if o.what == BEGUN else "")
        lines.append("  ".join(part for part in (f"  {o.what:7}  {o.number:3}", own, o.run, reason) if part))
    if count[FAILED] + count[STOPPED] + count[BEGUN]:
        lines.append("The same command skips what is finished and goes on with the rest.")
    return "\n".join(lines)
