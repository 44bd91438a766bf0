"""scripts/environment.sh where a machine has only a part of what it looks for."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "environment.sh"


@pytest.mark.parametrize(
    ("there", "missing"),
    [((), True), (("chromium",), True), (("chromedriver",), True), (("chromium", "chromedriver"), False)],
)
def test_a_browser_is_there_only_with_its_driver(tmp_path, there, missing):
    for name in there:
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    # Nothing but these in PATH, so that nothing is installed either.
    done = subprocess.run(
        [shutil.which("bash"), "-c", f"source '{SCRIPT}'; install_browser"],
        env={"PATH": str(tmp_path)}, capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    assert ("tests of the report's page are skipped" in done.stderr) == missing
