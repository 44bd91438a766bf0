"""Result files, read. Reporting knows nothing else of the project."""

import json
from collections.abc import Iterable
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
        """What was measured, as a part of a file name: wikitext103-validation-nonoverlapping."""
        data, precision = self.content["data"], self.content["precision"]
        name = f"{data['name']}-{data['split']}-{self.content['protocol']['name']}"
        return name if precision == "fp32" else f"{name}-{precision}"


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
