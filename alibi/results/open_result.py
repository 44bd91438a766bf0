"""A result file that a command adds rows to, while other commands may do the same.

Whatever is changed is read again first, under the lock of the folder, so that no command takes away another's rows.
The lock is held for the moment of a change, never while something is scored.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from alibi.analysis.change import split_change
from alibi.faults import hold
from alibi.files import free_name
from alibi.results.result_json import (
    protocol_name,
    read_result,
    result_path,
    rewrite_result,
    same_model,
    same_part,
    same_targets,
    write_result,
)

CODE = ("git_commit", "git_dirty", "python", "packages")  # of made_with


@dataclass
class OpenResult:
    """
    Args:
        folder: of the results.
        step_name: of the checkpoint.
        head: what the file says beside its rows.
        plain: the text is the whole of the run's own.
        lengths: what the command was asked for.
        within_percent: the margin of how far.
        say: where a line to the user goes.

    Attributes:
        path: of the file.
        done: lengths whose rows are kept as they are.
    """

    folder: Path
    step_name: str
    head: dict
    plain: bool
    lengths: list[int]
    within_percent: float
    say: Callable[[str], None]
    path: Path = field(init=False)
    done: set[int] = field(default_factory=set)

    def open(self, reuse: bool) -> None:
        """Find out which rows are kept: all with `reuse`, else those of a command that was interrupted.

        Raises:
            ValueError: what stands in its place cannot be read.
            OSError: the folder may not be written, or its disk has no locks.
        """
        self.path = result_path(self.folder, self.step_name, self.head, self.plain)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.held():
            self._take_old_name()
            rows, unfinished = self._there()
        whole = {n for n in self.lengths if "group_nats" in rows.get(n, {})}
        now = self.head["made_with"]
        going_on = {n for n in whole & unfinished if all(rows[n]["made_with"].get(k) == now.get(k) for k in CODE)}
        self.done = whole if reuse else going_on
        if going_on:
            self.say(
                f"{self.path.name}: going on with an evaluation that did not end; it has lengths {sorted(going_on)}"
            )
        if self.done - going_on:
            self.say(f"{self.path.name}: lengths {sorted(self.done - going_on)} are there already (eval.reuse=true)")

    def add(self, row: dict) -> None:
        """Write a row, in the place of one of the same length."""
        with self.held():
            rows, unfinished = self._there()
            rows[row["length"]] = row | {"made_with": self.head["made_with"]}
            head = self.head | {"unfinished": sorted(unfinished | {row["length"]})}
            write_result(self.path, head, rows.values(), self.within_percent)

    def end(self) -> None:
        """The command is done: its rows are finished. The margin may be another one where no row was added."""
        with self.held():
            if there := read_result(self.path):  # nobody has removed it meanwhile
                left = set(there.get("unfinished", [])) - set(self.lengths)
                rewrite_result(self.path, self.within_percent, unfinished=sorted(left))

    def held(self) -> AbstractContextManager:
        return hold(self.folder.parent / ".evaluation.lock")  # evaluation/ holds results and nothing else

    def _there(self) -> tuple[dict[int, dict], set[int]]:
        """Rows of the same weights and text, by length, and lengths of unfinished ones; anything else makes way.

        Sums by other groups than the head's are left out, for nothing could be paired with them, and so is what
        was taken per word where an older version counted other words.
        """
        there = read_result(self.path)
        if there is None:
            return {}, set()
        if not same_model(there, self.head):
            what, mark = "other weights", f"weights-{there['checkpoint']['sha256'][:8]}"
            if there["checkpoint"]["sha256"] == self.head["checkpoint"]["sha256"]:
                what, mark = "another tokenizer", "ids"
            return self._set_aside(what, self.path.with_stem(f"{self.path.stem}-{mark}"))
        if not same_part(there, self.head):  # an earlier version gave a part of the text the name of the whole
            own = result_path(self.folder, self.step_name, there, plain=False)
            return self._set_aside("another part of the text", own)
        stale = set() if there.get("groups") == self.head["groups"] else {"group_nats"}
        if there["data"].get("words") != self.head["data"]["words"]:
            stale |= {"word_perplexity", "interval"}
        made_with = there.get("made_with") or {}
        rows = [
            {"made_with": made_with} | {name: value for name, value in row.items() if name not in stale}
            for row in there["rows"]
        ]
        return {row["length"]: row for row in rows}, set(there.get("unfinished", []))

    def _set_aside(self, what: str, own: Path) -> tuple[dict, set]:
        """Give the file that stands in the place a name of its own; no rows are left there."""
        self.say(f"{self.path.name} is of {what}, and is now {self.path.replace(free_name(own)).name}")
        return {}, set()

    def _take_old_name(self) -> None:
        """Of a part that an earlier version gave the name of the whole: its rows are this file's."""
        old = result_path(self.folder, self.step_name, self.head, plain=True)
        with suppress(ValueError):  # a file that cannot be read is named when it is asked for
            there = None if self.path.exists() else read_result(old)
            if there and same_model(there, self.head) and same_part(there, self.head):
                self.say(f"{old.name} is of a part of the text, and is now {old.replace(self.path).name}")


def explain_changes(files: Sequence[OpenResult], say: Callable[[str], None]) -> None:
    """Split the change with length in two, in every sliding result whose nonoverlapping twin is there.

    Args:
        files: of this evaluation; those of earlier ones beside them are taken in.
    """
    with files[0].held():
        twins = same_targets(files[0].path)
        plain = next((r for r in twins.values() if r["protocol"]["name"] == protocol_name(None)), None)
        for path, sliding in twins.items():
            if sliding is plain or plain is None:
                continue
            change, reason = split_change(plain, sliding)
            if change:
                rewrite_result(path, change=change)
            elif path in [file.path for file in files]:
                say(f"{path.name}: {reason}")
