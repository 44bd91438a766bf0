"""docs/faults.md names tests: each of them is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_test_that_the_table_names_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "faults.md").read_text())
    assert len(named) > 40
    assert [(f, name) for f, name in named if f"def {name}(" not in (ROOT / f).read_text()] == []
