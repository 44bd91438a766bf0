"""A result file that a command adds rows to, while other commands may do the same.

Before any change the file is read again under the folder's lock, so that no command removes another's rows. The lock
is held for the moment of the change, never while something is scored.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alibi.faults import hold
from alibi.results.result import Result
from alibi.results.result_json import load_result, write_result
from alibi.results.schema import Content, HowFar, Row

CODE = ("git_commit", "git_dirty", "python", "packages")  # of made_with


def lock(result: Path) -> AbstractContextManager:
    """The lock on the results of a run. It lies beside evaluation/, which holds results only."""
    return hold(result.parents[1] / ".evaluation.lock")


@dataclass
class OpenResult:
    """
    Args:
        path: of the file.
        head: what the file says beside its rows.
        lengths: what the command was asked for.
        how_far: computes this part of the file from its rows.
        say: prints a line to the user.

    Attributes:
        done: lengths whose rows are kept as they are.
    """

    path: Path
    head: dict[str, Any]
    lengths: list[int]
    how_far: Callable[[Iterable[dict]], HowFar]
    say: Callable[[str], None]
    done: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.empty = Result(self.path, Content.model_validate(self.head | {"rows": []}))

    def open(self, reuse: bool) -> None:
        """Find out which rows are kept: all with `reuse`, else those of a command that was interrupted.

        Raises:
            ValueError: the file that is there cannot be read, or is of other weights, text or tokenizer.
            OSError: the folder may not be written, or its disk has no locks.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with lock(self.path):
            rows, unfinished = self._read()
        whole = {n for n in self.lengths if "group_nats" in rows.get(n, {})}
        now = self.head["made_with"]
        going_on = {n for n in whole & unfinished if all(rows[n]["made_with"].get(k) == now.get(k) for k in CODE)}
        self.done = whole if reuse else going_on
        if going_on:
            self.say(f"{self.path.name}: resuming an evaluation that did not end; it has lengths {sorted(going_on)}")
        if self.done - going_on:
            self.say(f"{self.path.name}: lengths {sorted(self.done - going_on)} are there already (eval.reuse=true)")

    def add(self, row: dict) -> None:
        """Write a row, in place of one of the same length."""
        with lock(self.path):
            rows, unfinished = self._read()
            rows[row["length"]] = row | {"made_with": self.head["made_with"]}
            self._write(self.empty.content, rows, unfinished | {row["length"]})

    def end(self) -> None:
        """The command is done, so its rows are finished. Where no row was added the margin may be a new one."""
        with lock(self.path):
            if self.path.exists():  # nobody has removed it meanwhile
                content = load_result(self.path).content
                rows = {row.length: _fields(row) for row in content.rows}
                self._write(content, rows, set(content.unfinished or []) - set(self.lengths))

    def _write(self, content: Content, rows: dict[int, dict], unfinished: set[int]) -> None:
        changes = {
            "unfinished": sorted(unfinished),
            "how_far": self.how_far(rows.values()),
            "rows": [Row.model_validate(row) for row in rows.values()],
        }
        write_result(self.path, content.model_copy(update=changes))

    def _read(self) -> tuple[dict[int, dict], set[int]]:
        """Rows of the file by length, and the lengths of unfinished ones.

        Sums by other groups of the text are left out, since nothing could be paired with them, and so are numbers per
        word where an older version counted the words differently.
        """
        if not self.path.exists():
            return {}, set()
        there = load_result(self.path)
        if what := self.empty.differs_from(there):
            raise ValueError(f"{self.path} is of {what}, and rows of both cannot share a file. Move it away.")
        stale = set() if there.content.groups == self.empty.content.groups else {"group_nats"}
        if there.data.words != self.empty.data.words:
            stale |= {"word_perplexity", "interval"}
        made_with = there.content.made_with or {}
        rows = [
            {"made_with": made_with} | {name: value for name, value in _fields(row).items() if name not in stale}
            for row in there.content.rows
        ]
        return {row["length"]: row for row in rows}, set(there.content.unfinished or [])


def _fields(row: Row) -> dict:
    return row.model_dump(exclude_unset=True)
