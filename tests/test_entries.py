"""The two entries as a user runs them: real processes, real text, the files of the contract."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TINY = [
    "size=tiny", "data=wikitext2", "train.seq_len=32", "train.batch_tokens=256", "train.max_steps=3", "device=cpu",
]  # fmt: skip


@pytest.fixture
def entry(tmp_path, cache):
    """Run an entry in a folder of its own; returns what it printed, or the whole result where it should fail."""

    def run(name, *overrides, fails=False):
        env = {**os.environ, "ALIBI_CACHE": str(cache), "OMP_NUM_THREADS": "2"}
        command = [sys.executable, ROOT / f"{name}.py", *overrides]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def test_train_then_evaluate(entry, corpus, tmp_path):
    train = [*TINY, f"data.path={corpus}", "tokenizer.vocab_size=300"]
    out = entry("train", *train, "train.eval_lengths=[64]")
    assert "parameters" in out
    [run] = (p for p in (tmp_path / "outputs").iterdir() if not p.is_symlink())
    assert re.fullmatch(r"alibi-tiny-wikitext2-L32-seed0-[0-9a-f]{8}", run.name)
    assert (tmp_path / "outputs" / "latest").readlink().as_posix() == run.name
    checkpoint = run / "checkpoints" / "step-00000003"
    files = {"model.safetensors", "training_state.pt", "config.yaml", "tokenizer.json", "manifest.json"}
    assert {p.name for p in checkpoint.iterdir()} == files
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[-1]["val/ppl_64"] > 1
    assert list((run / "wandb").glob("offline-run-*")), "wandb is offline by default"
    assert {p.name for p in tmp_path.iterdir()} == {"outputs", "corpus", "cache"}, "Hydra leaves nothing behind"

    assert "is finished: 3 steps" in entry("train", *train)

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
    entry("evaluate", f"runs={moved}", "eval.lengths=[32]", "tracking.wandb=disabled")
    assert (moved / "evaluation" / "step-00000003-wikitext2-validation-nonoverlapping.json").exists()


def test_a_sweep_and_a_glob(entry, corpus, tmp_path):
    """Every method with the word tokenizer; one job of the sweep fails and takes no other along."""
    train = [*TINY, f"data.path={corpus}", "tokenizer=word", "tracking.wandb=disabled", "model.num_heads=4"]
    out = entry("train", "-m", *train, "model=rotary,alibi,sinusoidal,t5,none", "model.d_model=12,16", fails=True)
    assert "Traceback" not in out
    assert "head width" in out  # rotary with heads of width 3
    assert "failed: ValueError: rotary turns pairs" in out
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


def test_parquet_and_classic_layout_give_the_same_run(entry, corpus, raw_lines, tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    hub = tmp_path / "hub" / "wikitext-2-raw-v1"
    hub.mkdir(parents=True)
    for split, file in (("train", "train"), ("validation", "valid"), ("test", "test")):
        rows = ["" if line == " \n" else line for line in raw_lines[file]]
        parquet.write_table(pa.table({"text": rows}), hub / f"{split}-00000-of-00001.parquet")
    weights = []
    for name, folder in (("classic", corpus), ("parquet", hub.parent)):
        entry("train", *TINY, f"data.path={folder}", "tokenizer=byte", f"run_dir={name}", "tracking.wandb=disabled")
        weights.append((tmp_path / name / "checkpoints" / "last" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    overrides = ["runs=[classic,parquet]", "eval.lengths=[32]", "eval.max_tokens=2000", "tracking.wandb=disabled"]
    entry("evaluate", *overrides)
    results = [json.loads(p.read_text()) for p in sorted(tmp_path.glob("*/evaluation/*.json"))]
    assert results[0]["data"] == results[1]["data"]
    assert results[0]["rows"][0]["nll_nats"] == results[1]["rows"][0]["nll_nats"]
