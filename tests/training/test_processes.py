"""Several processes, as torchrun starts them: the same batches and losses as one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from alibi.tracking import read_metrics

ROOT = Path(__file__).parents[2]


def test_two_processes_give_the_losses_of_one(corpus, cache, tmp_path):
    settings = [
        "data=wikitext2", f"data.path={corpus}", "tokenizer=byte", "size=tiny", "model=t5", "device=cpu",
        "precision=fp32", "train.seq_len=32", "train.batch_tokens=256", "train.micro_batch_tokens=64",
        "train.max_steps=4", "train.eval_every=2", "tracking.wandb=disabled", f"paths.outputs={tmp_path}",
    ]  # fmt: skip
    env = {**os.environ, "ALIBI_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    for name, start in (("one", [sys.executable]), ("two", torchrun)):
        command = [*start, "train.py", *settings, f"run_dir={tmp_path / name}"]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("finished ") == 1
    one, two = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "two"))
    assert [line["step"] for line in two] == [1, 2, 3, 4]
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() & {"train/loss", "train/grad_norm", "val/loss"}:
            assert a[name] == pytest.approx(b[name], rel=1e-6)
    assert one[0]["train/loss"] != pytest.approx(one[1]["train/loss"], rel=1e-6)
