"""The two entries as a user runs them: real processes, real text, the files of the contract."""

import json
import os
import re
import shutil
import site
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from alibi.analysis import compare_files
from alibi.commands import EvaluateCommand, evaluate, evaluate_runs
from alibi.data import DataConfig
from alibi.evaluation import EvaluationSettings
from alibi.reporting import write_report
from alibi.training import train

ROOT = Path(__file__).parents[1]
TINY = [
    "size=tiny", "data=wikitext2", "train.seq_len=32", "train.batch_tokens=256", "train.max_steps=3", "device=cpu",
]  # fmt: skip


@pytest.fixture
def entry(tmp_path, cache):
    """Run an entry in a folder of its own; returns what it printed, or the whole result where it should fail."""

    def run(name, *overrides, fails=False):
        env = {**os.environ, "ALIBI_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, ROOT / f"{name}.py", *overrides]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def test_train_then_evaluate(entry, command, corpus, tmp_path):
    train = [*TINY, f"data.path={corpus}", "tokenizer.vocab_size=300"]
    out = entry("train", *train, "train.eval_lengths=[64]")
    assert "parameters" in out
    [run] = (p for p in (tmp_path / "outputs").iterdir() if not p.is_symlink())
    assert re.fullmatch(r"alibi-tiny-wikitext2-L32-seed0-[0-9a-f]{8}", run.name)
    assert (tmp_path / "outputs" / "latest").readlink().as_posix() == run.name
    checkpoint = run / "checkpoints" / "step-00000003"
    files = {"model.safetensors", "training_state.safetensors", "training_state.json"}
    files |= {"config.yaml", "tokenizer.json", "manifest.json"}
    assert {p.name for p in checkpoint.iterdir()} == files
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[-1]["val/ppl_64"] > 1
    assert list((run / "wandb").glob("offline-run-*")), "wandb is offline by default"
    assert {p.name for p in tmp_path.iterdir()} == {"outputs", "corpus", "cache"}, "Hydra leaves nothing behind"

    assert "is finished: 3 steps" in command("train", *train)[1]

    out = entry("evaluate", "eval.lengths=[64,32]", "eval.stride=[null,16]", "eval.split=test")
    assert "evaluated as [32, 64]" in out
    assert "wandb failed" not in out
    results = {p.name: json.loads(p.read_text()) for p in (run / "evaluation").glob("*.json")}
    assert sorted(results) == [f"step-00000003-wikitext2-test-{p}.json" for p in ("nonoverlapping", "stride-16")]
    for result in results.values():
        assert [row["length"] for row in result["rows"]] == [32, 64]
        assert {row["scored_tokens"] for row in result["rows"]} == {result["data"]["tokens"]}
    table = [line for line in out.splitlines() if re.match(r"alibi +32", line)]
    assert len(table) == 4  # per token and per word, for two protocols
    assert f"{results['step-00000003-wikitext2-test-nonoverlapping.json']['rows'][0]['perplexity']:.2f}*" in table[0]
    assert results["step-00000003-wikitext2-test-nonoverlapping.json"]["how_far"]["training_length"] == 32
    assert "How far each run holds, wikitext2 test, stride-16" in out
    for ending in ("png", "svg", "pdf"):
        assert (run / "evaluation" / f"perplexity-wikitext2-test-nonoverlapping.{ending}").exists()

    moved = run.rename(tmp_path / "elsewhere")
    assert command("evaluate", f"runs={moved}", "eval.lengths=[32]", "tracking.wandb=disabled")[0] == 0
    assert (moved / "evaluation" / "step-00000003-wikitext2-validation-nonoverlapping.json").exists()


@pytest.mark.slow
def test_a_sweep_and_a_glob(entry, corpus, tmp_path):
    """Every method with the word tokenizer; one job of the sweep fails and takes no other along."""
    train = [*TINY, f"data.path={corpus}", "tokenizer=word", "tracking.wandb=disabled", "model.num_heads=4"]
    out = entry("train", "-m", *train, "model=rotary,alibi,sinusoidal,t5,none", "model.d_model=12,16", fails=True)
    assert "Traceback" not in out
    assert "failed: ValueError: a rotation turns pairs, so d_model / num_heads (12 / 4) must be even" in out
    assert "model.d_model=12" in out
    runs = sorted(p.name for p in (tmp_path / "outputs").iterdir() if not p.is_symlink())
    assert len(runs) == 9
    assert {name.partition("-")[0] for name in runs} == {"rotary", "alibi", "sinusoidal", "t5", "none"}
    assert {p.name for p in tmp_path.iterdir()} == {"outputs", "corpus", "cache"}
    out = entry("evaluate", "runs=outputs/*", "eval.lengths=[32,64]", "tracking.wandb=disabled")
    found = [p for name in runs for p in (tmp_path / "outputs" / name / "evaluation").glob("*.json")]
    results = [json.loads(p.read_text()) for p in found]
    assert len(results) == 9
    assert len({r["data"]["sha256"] for r in results}) == 1
    assert {r["data"]["tokens"] for r in results} == {r["data"]["words"] for r in results}
    assert (tmp_path / "outputs" / "figures" / "perplexity-wikitext2-validation-nonoverlapping.svg").exists()


def test_parquet_and_classic_layout_give_the_same_run(command, corpus, raw_lines, tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    hub = tmp_path / "hub" / "wikitext-2-raw-v1"
    hub.mkdir(parents=True)
    for split, file in (("train", "train"), ("validation", "valid"), ("test", "test")):
        rows = ["" if line == " \n" else line for line in raw_lines[file]]
        parquet.write_table(pa.table({"text": rows}), hub / f"{split}-00000-of-00001.parquet")
    weights = []
    for name, folder in (("classic", corpus), ("parquet", hub.parent)):
        overrides = [*TINY, f"data.path={folder}", "tokenizer=byte", f"run_dir={name}", "tracking.wandb=disabled"]
        code, printed = command("train", *overrides)
        assert code == 0, printed
        weights.append((tmp_path / name / "checkpoints" / "last" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    overrides = ["runs=[classic,parquet]", "eval.lengths=[32]", "eval.max_tokens=2000", "tracking.wandb=disabled"]
    code, printed = command("evaluate", *overrides)
    assert code == 0, printed
    results = [json.loads(p.read_text()) for p in sorted(tmp_path.glob("*/evaluation/*.json"))]
    assert results[0]["data"] == results[1]["data"]
    assert results[0]["rows"][0]["nll_nats"] == results[1]["rows"][0]["nll_nats"]


def test_help_lists_what_may_be_chosen_there_and_the_settings_with_their_comments(command):
    for entry, groups in (
        ("train", {"model", "size", "data", "tokenizer", "optimizer", "experiment"}),
        ("evaluate", {"data"}),
    ):
        code, printed = command(entry, "--help")
        assert code == 0
        listed, settings = printed.partition("Settings:")[::2]
        assert {line.split()[0] for line in listed.splitlines() if line.startswith("  ")} == groups
        for line in (ROOT / "configs" / f"{entry}.yaml").read_text().splitlines():
            if line.startswith("  ") and "#" in line and not line.lstrip().startswith(("#", "-", "summary", "folder")):
                assert line in settings
        assert "Hydra" not in printed.replace("Hydra's flags", "")
    assert "  data       wikitext103, copy, crasp, mqar, stdlib, text, wikitext2 " in command("train", "--help")[1]
    assert "    theta: 10000.0" in command("train", "model=rotary", "--help")[1]


def test_without_lengths_a_run_is_evaluated_at_1_2_and_4_times_its_own(command, small_run, tmp_path, monkeypatch):
    """Of several runs each has the lengths of all, so that any two can be compared."""
    monkeypatch.setattr(evaluate_runs, "draw_perplexity", lambda *drawn: [])
    for seq_len in (16, 32):
        train(small_run(max_steps=1, seq_len=seq_len), tmp_path / "outputs" / f"r{seq_len}")

    def lengths(run):
        [path] = (tmp_path / "outputs" / run / "evaluation").glob("*.json")
        return [row["length"] for row in json.loads(path.read_text())["rows"]]

    asked = "device=cpu", "tracking.wandb=disabled"
    code, printed = command("evaluate", "runs=outputs/r16", *asked)
    assert (code, lengths("r16")) == (0, [16, 32, 64])
    assert command("evaluate", "runs=outputs/r*", *asked)[0] == 0
    assert lengths("r16") == lengths("r32") == [16, 32, 64, 128]
    code, printed = command("evaluate", "runs=outputs/r*", "eval.stride=17", *asked)
    assert code == 1
    assert "eval.stride (17) must be null (nonoverlapping), a whole number from 1 to every length" in printed
    assert "(the shortest is 16)" in printed
    assert EvaluationSettings().with_lengths([]).lengths == [512, 1024, 2048], "of a guest nobody says"


def as_another_user(*command, cwd):
    """Exit code and output of a command of a user without a name, a home, and rights to what root owns."""
    python = shutil.which("python3.11", path="/usr/bin")
    if os.getuid() or not shutil.which("setpriv") or not python:
        pytest.skip("needs root, setpriv and a Python that everybody may run")
    path = os.pathsep.join([str(ROOT), *site.getsitepackages()])
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    user = ["setpriv", "--reuid=4242", "--regid=4242", "--clear-groups", python]
    done = subprocess.run([*user, *command], cwd=cwd, env=env, capture_output=True, text=True, timeout=200)
    return done.returncode, done.stdout + done.stderr


def test_a_run_that_may_only_be_read_is_refused_before_it_is_scored(small_run, cache):
    """By a user without a name and a home, of which no library complains."""
    with tempfile.TemporaryDirectory(prefix="alibi-") as folder:  # pytest's own lie in a folder of its user alone
        place, config = Path(folder), small_run(max_steps=1)
        train(config, place / "outputs" / "run")
        shutil.copytree(cache, place / "cache")
        for path in (place, *place.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        command = [str(ROOT / "evaluate.py"), "runs=outputs/run", f"paths.cache={place / 'cache'}", "device=cpu"]
        command += [f"data.path={config.data.path}"]
        code, printed = as_another_user(*command, cwd=place)
        assert code == 1
        assert printed.splitlines()[-1].startswith(f"{place / 'outputs' / 'run' / 'evaluation'}: you may not read or")
        assert len(printed.splitlines()) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.compile itself
def test_train_compile_without_a_compiler_is_one_message(command, monkeypatch, tmp_path, corpus):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    text = ["data=wikitext2", f"data.path={corpus}", "tokenizer=byte", "size=tiny", "train.seq_len=16"]
    code, printed = command("train", "device=cpu", *text, "train.batch_tokens=16", "train.compile=true")
    assert code == 1
    assert "C++ compiler" in printed.splitlines()[-1]
    assert printed.splitlines()[-1].endswith("leave train.compile=true out.")
    assert "Traceback" not in printed
    assert not list((tmp_path / "outputs").glob("*/[!.]*"))


def test_folders_and_files_whose_names_are_no_utf8(small_run, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "builtins.print", lambda *words, **settings: None
    )  # keep_streams() escapes what pytest does not
    text, outputs = (tmp_path / os.fsdecode(name) for name in (b"te\xe9t", b"out\xe9"))
    text.mkdir()
    for number, line in enumerate((corpus / "wiki.train.raw").read_text().splitlines()[:40]):
        (text / os.fsdecode(b"\xff%d.txt" % number)).write_text(f"{line} {number}\n" * 20)
    config = small_run(max_steps=1)
    config.data = DataConfig("text", str(text))
    train(config, outputs / "run")
    evaluate(EvaluateCommand(f"{outputs}/r*", tracking=config.tracking, paths=config.paths, device="cpu"))
    comparison = compare_files([f"{outputs}/r*"])
    assert list(comparison.results[0].rows) == [16, 32, 64]
    assert write_report(comparison, tmp_path / "report")
