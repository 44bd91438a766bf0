"""Result files, read. Reporting knows nothing else of the project."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

SCHEMA = 1


@dataclass(frozen=True)
class Result:
    """One result file: a checkpoint's rows on one text, by one protocol, in one precision."""

    path: Path
    content: dict

    @property
    def rows(self) -> dict[int, dict]:
        """By length, shortest first. A row has the numbers, or an `error`."""
        return {row["length"]: row for row in self.content["rows"]}

    @property
    def method(self) -> str:
        return self.content["checkpoint"]["model"]

    @property
    def seq_len(self) -> int:
        """The training length."""
        return self.content["checkpoint"]["seq_len"]

    @property
    def seed(self) -> int:
        return self.content["checkpoint"]["seed"]

    @property
    def step(self) -> int:
        return self.content["checkpoint"]["step"]

    @property
    def run(self) -> str:
        """Name of the run folder, which holds evaluation/, which holds the file."""
        return self.path.absolute().parents[1].name

    @property
    def protocol(self) -> str:
        """What was measured, from the file's own name: wikitext103-validation-nonoverlapping."""
        return re.sub(r"^step-\d+-", "", self.path.stem)

    @property
    def measured(self) -> tuple:
        """What two results must share to stand in one table: the text, the part of it, and the protocol."""
        data, protocol = self.content["data"], self.content["protocol"]
        return data["name"], data["split"], data["sha256"], protocol["name"], self.content["precision"]


def told_apart(results: Sequence[Result]) -> dict[Path, str]:
    """A name for each result: the method, or, where others have its length, seed and step, the run's too."""

    def looks(result: Result) -> tuple:
        return result.method, result.seq_len, result.seed, result.step

    alike = Counter(looks(result) for result in results)
    return {r.path: r.method if alike[looks(r)] == 1 else f"{r.method} ({r.run})" for r in results}


def load_results(paths: Iterable[Path]) -> list[Result]:
    """Result files, in the order given.

    Raises:
        ValueError: a file that is no result file, or of another schema.
    """
    results = []
    for path in paths:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            schema = content["schema"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no result file ({type(error).__name__}: {error}).") from error
        if schema != SCHEMA:
            raise ValueError(f"{path} has schema {schema}; this version reads {SCHEMA}.")
        results.append(Result(path, content))
    return results
