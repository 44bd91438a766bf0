"""The house: who may import whom, read from the sources themselves; and method names stay in alibi/positions."""

import ast
import itertools
from pathlib import Path

import pytest

from alibi.positions import Position

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "alibi").rglob("*.py"))
ENTRIES = [
    path for path in (ROOT / "train.py", ROOT / "evaluate.py", *(ROOT / "scripts").rglob("*.py")) if path.exists()
]

# Which rooms of alibi a room may import; its own files always. `alibi` is the package's __init__.
MODEL_SIDE = {"positions", "model"}
BELOW = MODEL_SIDE | {"runs"}
LEAVES = {"environment", "files", "paths", "pointers", "processes"}
LEAVES |= {"settings", "streams", "tracking", "wandb_run"}
ALLOWED = {
    "positions": {"settings"},
    "model": {"positions", "settings"},
    "data": LEAVES,
    "runs": MODEL_SIDE | {"data"} | LEAVES,
    "results": {"files", "pointers"},
    "analysis": {"results"},
    "evaluation": BELOW | {"data", "results", "analysis"} | LEAVES,
    "training": BELOW | {"data", "evaluation"} | LEAVES,
    "generation": BELOW | LEAVES,
    "interop": BELOW | {"data"} | LEAVES,
    "reporting": {"results", "analysis"},
    # What an entry calls, where rooms meet that do not know each other.
    "commands": BELOW
    | {"data", "evaluation", "training", "generation", "interop", "results", "analysis", "reporting"}
    | LEAVES,
    "config": BELOW | {"data", "evaluation", "training", "generation", "interop", "commands"} | LEAVES,
    "sweeps": {"config", "training", "runs"} | LEAVES,
    "environment": set(),
    "files": set(),
    "paths": set(),
    "pointers": {"files"},
    "processes": set(),
    "script": {"files", "streams"},
    "settings": set(),
    "streams": set(),
    "tracking": {"files", "wandb_run"},
    "wandb_run": {"files"},
    "alibi": BELOW | {"evaluation", "generation", "environment"},
}
# A method may start from ALiBi's slopes.
SHARED_BY_METHODS = {f"alibi.positions.{name}" for name in ("base", "rotation", "scaling", "alibi")}
POSITION_FILE = {"torch", "math", "dataclasses", "typing"} | SHARED_BY_METHODS
OWN_FILES = {
    "alibi.positions.base": {"torch", "dataclasses", "collections.abc", "typing", "alibi.settings"},
    "alibi.positions.scaling": POSITION_FILE | {"alibi.settings"},
}
MAY_KNOW_HYDRA = {
    *(path.relative_to(ROOT).as_posix() for path in (ROOT / "alibi" / "config").glob("*.py")),
    *("alibi/sweeps/job.py", "alibi/sweeps/callback.py", "train.py", "evaluate.py"),
}


def name_of(path: Path) -> str:
    """alibi/model/score_bias.py of the repository as alibi.model.score_bias."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The part of alibi that a module belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "alibi"


def imports(source: str, module: str, is_package: bool = False) -> set[str]:
    """Every module that a source imports, inside functions too, by its full name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".")[: None if is_package and node.level == 1 else is_package - node.level]
                base = ".".join([*package, *([node.module] if node.module else [])])
            names = {f"{base}.{alias.name}" for alias in node.names}
            inner = {name for name in names if is_module(name)}
            found |= inner if inner == names else inner | {base}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("import_module", "importlib.import_module"):
            found |= {argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)}
    return found


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return name.startswith("alibi.") and (path.with_suffix(".py").exists() or path.is_dir())


def within(name: str, allowed: set[str]) -> bool:
    return any(name == a or (name.startswith(f"{a}.") and not a.startswith("alibi")) for a in allowed)


def broken_rules(source: str, module: str, is_package: bool = False) -> list[str]:
    """What a source of alibi imports that the house does not allow, one sentence each."""
    found, room = imports(source, module, is_package), room_of(module)
    if room not in ALLOWED:
        return [f"{module} lies in no room of the house; say in design.md and here who may import {room}"]
    rooms = {room_of(name) for name in found if name.split(".")[0] == "alibi"}
    wrong = [f"{module} imports alibi's {other}" for other in sorted(rooms - {room} - ALLOWED[room])]
    if room == "positions" and not is_package:
        allowed = OWN_FILES.get(module, POSITION_FILE)
        wrong += [f"{module} imports {name}" for name in sorted(found) if not within(name, allowed)]
    return wrong


def names_a_method(source: str) -> list[str]:
    """Comparisons and match cases with the name of a position method."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            sides = [node.value]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith((".startswith", ".endswith")):
            sides = node.args
        else:
            continue
        for side in itertools.chain(*(ast.walk(side) for side in sides)):
            if isinstance(side, ast.Constant) and side.value in Position.registry:
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_a_file_imports_what_its_room_may(path):
    assert broken_rules(read(path), name_of(path), path.name == "__init__.py") == []


@pytest.mark.parametrize("path", SOURCES + ENTRIES, ids=label)
def test_hydra_is_known_to_settings_sweeps_and_entries_alone(path):
    found = {name.split(".")[0] for name in imports(read(path), "alibi.x")}
    assert label(path) in MAY_KNOW_HYDRA or "hydra" not in found


@pytest.mark.parametrize("path", [p for p in SOURCES + ENTRIES if "positions" not in p.parts], ids=label)
def test_methods_are_named_in_their_own_folder_only(path):
    assert names_a_method(read(path)) == []


def test_every_room_was_read():
    assert {"positions", "model", "data", "runs"} <= {room_of(name_of(path)) for path in SOURCES}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("alibi.model.score_bias", "from alibi.data import TokenFile"),
        ("alibi.model.score_bias", "import alibi.data.windows"),
        ("alibi.model.score_bias", "from alibi import data"),
        ("alibi.model.score_bias", "from alibi import LanguageModel"),
        ("alibi.model.score_bias", "from ..data import windows"),
        ("alibi.model.score_bias", "def late():\n    from alibi.runs import load_model"),
        ("alibi.model.score_bias", "from importlib import import_module\nimport_module('alibi.runs')"),
        ("alibi.data.windows", "from alibi.model import LanguageModel"),
        ("alibi.data.windows", "import torch, alibi.positions"),
        ("alibi.runs.folder", "from alibi.training import loop"),
        ("alibi.evaluation.score", "from alibi.training.loop import train"),
        ("alibi.evaluation.score", "from alibi.config import Config"),
        ("alibi.training.loop", "from alibi.commands import evaluate"),
        ("alibi.commands", "from alibi.config import typed"),
        ("alibi.training.loop", "from alibi.sweeps import run_job"),
        ("alibi.generation", "from alibi.training import train"),
        ("alibi.reporting.terminal", "from alibi.runs import load_model"),
        ("alibi.reporting.terminal", "from alibi.evaluation import score"),
        ("alibi.reporting.terminal", "import alibi.environment"),
        ("alibi.environment", "from alibi.model import LanguageModel"),
        ("alibi.tracking", "import alibi"),
        ("alibi.processes", "from alibi.environment import pick_device"),
        ("alibi.positions.alibi", "import numpy"),
        ("alibi.positions.alibi", "import inspect"),
        ("alibi.positions.alibi", "from alibi.positions.t5 import t5_bucket"),
        ("alibi.positions.alibi", "from alibi.positions import Position"),
        ("alibi.positions.alibi", "from . import t5"),
        ("alibi.positions.base", "from alibi.positions.rotary import Rotary"),
        ("alibi.positions.base", "import collections"),
        ("alibi.leftover", "import math"),
    ],
)
def test_a_forbidden_import_is_caught(module, source):
    assert broken_rules(source, module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("alibi.model.score_bias", "import math, torch\nfrom alibi.model.model_config import ModelConfig"),
        ("alibi.model.score_bias", "from .model_config import ModelConfig\nfrom ..positions import Position"),
        ("alibi.positions.alibi", "from torch.nn import functional\nfrom alibi.positions.base import Position"),
        ("alibi.positions.base", "import torch\nfrom collections.abc import Callable"),
        ("alibi.training.loop", "from alibi.evaluation import score\nfrom alibi.environment import environment"),
        ("alibi.config", "from alibi.training import train\nimport hydra"),
        ("alibi.reporting.terminal", "import json\nfrom alibi.reporting import figure"),
    ],
)
def test_an_allowed_import_is_let_through(module, source):
    assert broken_rules(source, module) == []


@pytest.mark.parametrize("source", ["import hydra", "from hydra.core import x", "def f():\n    import hydra.utils"])
def test_hydra_is_found_however_it_is_imported(source):
    assert "hydra" in {name.split(".")[0] for name in imports(source, "alibi.x")}


@pytest.mark.parametrize(
    "source",
    [
        "if method == 'alibi': pass",
        "if 'rotary' != config.position['name']: pass",
        "x = 1 if name in ('t5', 'none') else 2",
        "match name:\n    case 'sinusoidal': pass",
        "name.startswith('alibi')",
    ],
)
def test_a_comparison_with_a_method_is_caught(source):
    assert names_a_method(source)


def test_other_strings_are_let_through():
    assert names_a_method("if name == 'gelu' or f(reduction='none'): pass\ndefault = {'name': 'alibi'}") == []
