"""The README does what it says: its position method works as it stands, its files and settings exist."""

import re
import runpy
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from alibi.training import train

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(kind: str, containing: str) -> str:
    blocks = re.findall(rf"```{kind}\n(.*?)```", README, re.S)
    [found] = [b for b in blocks if containing in b]
    return found


def test_the_new_position_method_works_as_written(tmp_path, corpus, cache):
    """Added to a copy of the project as the README says, it trains and is evaluated past its length."""
    for name in ("alibi", "configs", "train.py", "evaluate.py"):
        subprocess.run(["cp", "-r", ROOT / name, tmp_path / name], check=True)
    (tmp_path / "alibi" / "positions" / "kerple.py").write_text(block("python", "class Kerple"))
    (tmp_path / "configs" / "model" / "kerple.yaml").write_text(block("yaml", "kerple"))
    script = f"""
        import sys, train, evaluate, alibi
        assert alibi.__file__.startswith({str(tmp_path)!r}), alibi.__file__
        common = ["tracking.wandb=disabled", "device=cpu", "paths.cache={cache}"]
        sys.argv = ["train.py", "model=kerple", "model.position.start=3", "size=tiny", "data=wikitext2",
                    "data.path={corpus}", "tokenizer=byte", "train.seq_len=32", "train.batch_tokens=64",
                    "train.max_steps=2", *common]
        train.main()
        sys.argv = ["evaluate.py", "eval.lengths=[32,300]", "eval.max_tokens=1000", *common]
        evaluate.main()
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "position 8" in done.stdout  # two numbers for each of four heads
    assert re.search(r"^kerple .*\*", done.stdout, re.M)


def test_the_commands_after_the_quick_start_find_its_runs(small_run, cache, tmp_path, monkeypatch, capsys):
    """Its runs lie in a folder of their own, beside the figures that it draws there; each command runs as written."""
    settings = yaml.safe_load((ROOT / "configs" / "experiment" / "quickstart.yaml").read_text())
    outputs = settings["paths"]["outputs"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALIBI_CACHE", str(cache))
    config = small_run(max_steps=2)
    config.paths.outputs = outputs
    train(config, tmp_path / outputs / "alibi-tiny-stdlib-L16-seed0-1a2b3c4d")
    (tmp_path / outputs / "perplexity-drawn-by-the-quick-start.png").write_bytes(b"")
    lines = [line for text in re.findall(r"```bash\n(.*?)```", README, re.S) for line in text.splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in lines if outputs in line]
    assert {Path(name).stem for name, *_ in commands} == {"evaluate", "report", "generate", "precision"}
    for name, *arguments in commands:
        more = ["device=cpu", "tracking.wandb=disabled"] if name == "evaluate.py" else []
        monkeypatch.setattr(sys, "argv", [str(ROOT / name), *arguments, *more])
        runpy.run_path(str(ROOT / name), run_name="__main__")
        assert capsys.readouterr().out, name
    assert (tmp_path / "outputs" / "report" / "index.html").exists()
    assert re.search(r'load_model\("(.*?)"\)', README).group(1) == f"{outputs}/latest"


def test_the_library_example_works():
    scope = {}
    exec(block("python", "ALiBiTransformer"), scope)
    assert scope["model"](scope["torch"].randn(1, 300, 256)).shape == (1, 300, 256)


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_every_file_it_points_to_exists(path):
    assert (ROOT / path).exists()


def test_every_setting_it_names_exists():
    settings = (ROOT / "configs" / "train.yaml").read_text() + (ROOT / "configs" / "evaluate.yaml").read_text()
    for line in re.findall(r"^\| `(?:train|eval)\.\*` \| (.*) \|$", README, re.M):
        for name in re.findall(r"`([a-z_]+)`", line):
            assert re.search(rf"^  {name}:", settings, re.M), name


def test_no_placeholder_is_left():
    assert "@" not in re.sub(r"```.*?```", "", README, flags=re.S)
