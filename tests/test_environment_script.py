"""scripts/environment.sh where a machine has only a part of what it looks for."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

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


@pytest.mark.parametrize("there", ["half an environment", "one of another Python"])
def test_an_environment_that_is_not_whole_is_made_anew(tmp_path, there):
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "empty"\nversion = "1"\n[tool.setuptools]\npackages = []\n'
    )
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    if there == "half an environment":  # as a `python3 -m venv` that failed leaves it: no pip
        (binaries / "python").symlink_to(sys._base_executable)
    else:
        for name in ("python", "pip"):
            (binaries / name).write_text("#!/bin/sh\necho Python 3.99.0\n")
            (binaries / name).chmod(0o755)
        (binaries.parent / "installed-requirements.txt").write_text("Python 3.99.0 of then")
    script = f"set -e; cd '{tmp_path}'; source '{SCRIPT}'; install requirements.txt; python --version"
    env = {**os.environ, "PYTHON": sys._base_executable}
    done = subprocess.run([shutil.which("bash"), "-c", script], env=env, capture_output=True, text=True, timeout=100)
    version = f"Python {platform.python_version()}"
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, version), done.stdout + done.stderr
    assert (tmp_path / ".venv" / "installed-requirements.txt").read_text().startswith(version)
