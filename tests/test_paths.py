"""Home folders, in the arguments of every script that takes a path."""

import importlib
import sys
from pathlib import Path

import pytest

from alibi.paths import expanded


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("benchmark", ["--out=~/x", "--run=~/x"]),
        ("export_hf", ["~/x", "~/x"]),
        ("generate", ["~/x", "--prompt=~/y"]),
        ("import_fairseq", ["~/x", "~/x", "~/x"]),
        ("precision", ["~/x", "--out=~/x"]),
        ("torture", ["--out=~/x"]),
        ("report", ["~/x", "~/x/*", "--out=~/x"]),
    ],
)
def test_scripts_take_a_home_folder(script, arguments, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    options = vars(importlib.import_module(script).parse())
    values = [v for value in options.values() for v in (value if isinstance(value, list) else [value])]
    told = [str(value) for value in values if isinstance(value, str | Path)]
    assert sum(value.startswith("/home/me/x") for value in told) == sum(word.endswith(("x", "*")) for word in arguments)
    assert [value for value in told if value.startswith("~")] == ["~/y"] * (script == "generate")


def test_who_has_no_home_is_told_of_it_and_no_folder_is_made_up(monkeypatch):
    with pytest.raises(ValueError, match=r"~nobody-here/x starts with ~.*write ./~nobody-here/x"):
        expanded("~nobody-here/x")
    assert [expanded(path) for path in ("./~a", "a/~", "/x/~a", "", "latest")] == ["./~a", "a/~", "/x/~a", "", "latest"]
