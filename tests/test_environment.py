"""What a checkpoint and a result say of the machine and of the code that made them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from alibi.environment import environment

LEAF = Path(__file__).parents[1] / "alibi" / "environment.py"


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path) -> Path:
    """A repository with one commit and, not committed, a copy of the code inside."""
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "first")
    (tmp_path / "code").mkdir()
    shutil.copy(LEAF, tmp_path / "code" / "environment.py")
    return tmp_path


def told(folder: Path) -> list[str]:
    """Commit and dirty flag, as the copy in `folder` tells them."""
    script = "import torch, environment as e; t = e._git_state(); print(t['git_commit'], t['git_dirty'])"
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_an_enclosing_repository_is_not_the_codes(repository):
    assert told(repository / "code") == ["None", "None"]
    git(repository, "add", "code")
    git(repository, "commit", "-q", "-m", "the code is part of it")
    assert told(repository / "code") == [git(repository, "rev-parse", "HEAD"), "False"]
    (repository / "new").touch()
    assert told(repository / "code")[1] == "True"


def test_the_build_of_torch_is_named():
    """The package's version lacks the build, which decides kernels: 2.13.0 for 2.13.0+cu130."""
    assert environment(torch.device("cpu"))["packages"]["torch"] == str(torch.__version__)
