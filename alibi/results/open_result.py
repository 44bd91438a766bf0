"""A result file that a command adds rows to, while others may add theirs.

Before rows are added the file is read again under the folder's lock, so that no command removes another's rows. The
lock is held for the moment of the change, never while something is scored.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alibi.results.nats import has_nats, save_nats
from alibi.results.parts import HowFar
from alibi.results.result import Result
from alibi.results.result_file import load_result, lock, write_result
from alibi.results.schema import OF_HEAD, Content, Row

CODE = ("git_commit", "git_dirty", "python", "packages")  # of made_with


def _same_code(made_with: dict | None, now: dict) -> bool:
    return all((made_with or {}).get(name) == now.get(name) for name in CODE)


@dataclass
class OpenResult:
    """
    Args:
        path: of the file.
        head: what the file says beside its rows.
        lengths: what the command was asked for.
        how_far: computes this part of the file from the others; None: a task has none.
        say: prints a line to the user.
        of_rows: measures that a row must have to be kept.
        of_head: measures that the head must have, and how far they reach.

    Attributes:
        done: lengths whose rows are kept as they are.
        lacks_measures: whether the head has to be measured.
    """

    path: Path
    head: dict[str, Any]
    lengths: list[int]
    how_far: Callable[[Content], HowFar] | None
    say: Callable[[str], None]
    of_rows: set[str] = field(default_factory=set)
    of_head: dict[str, int] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    lacks_measures: bool = False

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
            head, rows, unfinished = self._read()
        now, needed = self.head["made_with"], {"accuracy" if self.empty.is_of_task else "group_nats"} | self.of_rows
        whole = {n for n in self.lengths if needed <= rows.get(n, {}).keys()}
        if "nats" in needed:
            whole = {n for n in whole if has_nats(self.path, rows[n]["nats"])}
        going_on = {n for n in whole & unfinished if _same_code(rows[n]["made_with"], now)}
        self.done = whole if reuse else going_on
        there = {name: head[sample] for name, (_, sample) in OF_HEAD.items() if sample in head}
        same = {name for name, sample in there.items() if reuse or (unfinished and _same_code(sample.made_with, now))}
        kept = {name for name in same if there[name].reach == self.of_head.get(name)}
        self.lacks_measures = not self.of_head.keys() <= kept
        if going_on:
            self.say(f"{self.path.name}: resuming an evaluation that did not end; it has lengths {sorted(going_on)}")
        if self.done - going_on:
            self.say(f"{self.path.name}: lengths {sorted(self.done - going_on)} are there already (eval.reuse=true)")

    def add(self, row: dict) -> None:
        """Write a row, in place of one of the same length; nats of every target go into a file beside it."""
        length = row["length"]
        with lock(self.path):
            head, rows, unfinished = self._read()
            old = rows.get(length, {}).get("nats")
            if "nats" in row:
                row = row | {"nats": save_nats(self.path, length, row["nats"])}
            rows[length] = row | {"made_with": self.head["made_with"]}
            self._write(self.empty.content.model_copy(update=head), rows, unfinished | {length})
            if old and old["file"] != row.get("nats", {}).get("file"):
                self.path.with_name(old["file"]).unlink(missing_ok=True)

    def add_head(self, entries: dict) -> None:
        """Write measures that are not of one length."""
        measured = Content.model_validate(self.head | {"rows": []} | entries)
        with lock(self.path):
            head, rows, unfinished = self._read()
            head |= {field: value for of in OF_HEAD.values() for field in of if (value := getattr(measured, field))}
            self._write(self.empty.content.model_copy(update=head), rows, unfinished | set(self.lengths))

    def update(self, finished: bool = False) -> None:
        """Write how far the rows hold, as the margin may be a new one, and at the end that they are finished."""
        with lock(self.path):
            if self.path.exists():  # nobody has removed it meanwhile
                content = load_result(self.path).content
                rows = {row.length: row.model_dump(exclude_unset=True) for row in content.rows}
                self._write(content, rows, set(content.unfinished or []) - set(self.lengths if finished else ()))

    def _write(self, content: Content, rows: dict[int, dict], unfinished: set[int]) -> None:
        changes = {"unfinished": sorted(unfinished), "rows": [Row.model_validate(row) for row in rows.values()]}
        content = content.model_copy(update=changes)
        far = {} if self.how_far is None else {"how_far": self.how_far(content)}
        write_result(self.path, content.model_copy(update=far))

    def _read(self) -> tuple[dict[str, Any], dict[int, dict], set[int]]:
        """Measures in the head of the file, its rows by length, and the lengths of unfinished ones.

        Sums by other groups of the text are left out, since nothing could be paired with them, and so are numbers per
        word where an older version counted the words differently.
        """
        if not self.path.exists():
            return {}, {}, set()
        there = load_result(self.path)
        if what := self.empty.differs_from(there):
            raise ValueError(f"{self.path} is of {what}, and rows of both cannot share a file. Move it away.")
        stale = set() if there.content.groups == self.empty.content.groups else {"group_nats"}
        if there.data.words != self.empty.data.words:
            stale |= {"word_perplexity", "interval"}
        made_with = there.content.made_with or {}
        rows = {
            row.length: {"made_with": made_with} | row.model_dump(exclude_unset=True, exclude=stale)
            for row in there.content.rows
        }
        head = {field: value for of in OF_HEAD.values() for field in of if (value := getattr(there.content, field))}
        return head, rows, set(there.content.unfinished or [])
