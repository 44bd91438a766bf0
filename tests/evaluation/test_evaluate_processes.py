"""Evaluation by several processes: the nats of one, and what one of them cannot do."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from evaluations import evaluate_checkpoint

from alibi.evaluation import EvaluationSettings, open_evaluation_text
from alibi.evaluation.score import score, score_length
from alibi.evaluation.sums import ContextSums, GroupSums, NatsSum
from alibi.processes import Processes
from alibi.runs import Checkpoint
from alibi.training import train

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture
def checkpoint(small_run, tmp_path):
    train(small_run(max_steps=2), tmp_path / "run")
    return Checkpoint(tmp_path / "run" / "checkpoints" / "step-00000002")


@pytest.mark.slow
def test_two_processes_give_the_nats_of_one(checkpoint, cache, tmp_path):
    asked = ["eval.lengths=[16,100]", "eval.stride=[null,7]", "device=cpu", "tracking.wandb=disabled"]
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    env = {**os.environ, "ALIBI_CACHE": str(cache), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [*start, ROOT / "evaluate.py", "runs=run", *asked]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("How far each run holds") == 2  # one for each protocol, by process 0 alone
    found = sorted((checkpoint.run / "evaluation").glob("*.json"))
    two = {path.name: json.loads(path.read_text()) for path in found}
    text = open_evaluation_text(checkpoint, checkpoint.data_config, EvaluationSettings(), cache)
    settings = EvaluationSettings(lengths=[16, 100], stride=[None, 7])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the two had: another number rounds single nats another way
    paths = evaluate_checkpoint(checkpoint, text, settings, "fp32")
    torch.set_num_threads(threads)
    assert sorted(two) == sorted(path.name for path in paths)
    for path in paths:
        one = json.loads(path.read_text())
        assert (one["made_with"]["processes"], two[path.name]["made_with"]["processes"]) == (1, 2)
        for ours, wanted in zip(two[path.name]["rows"], one["rows"], strict=True):
            assert ours["scored_tokens"] == wanted["scored_tokens"]
            assert ours["nll_nats"] == pytest.approx(wanted["nll_nats"], rel=1e-9)
            assert ours["group_nats"] == pytest.approx(wanted["group_nats"], rel=1e-9)
            assert ours["context"]["targets"] == wanted["context"]["targets"]
            assert ours["context"]["nll_nats"] == pytest.approx(wanted["context"]["nll_nats"], rel=1e-9)


@dataclass(frozen=True)
class First(Processes):
    """Process 0 of two, in one: what the other would have gathered is given."""

    other: tuple = ()

    def gather(self, value):
        return [value, self.other]


def ones(inputs, targets, first):
    return torch.ones(targets.shape)


def test_one_share_alone_is_not_the_whole_and_both_are(checkpoint, cache):
    text = open_evaluation_text(checkpoint, checkpoint.data_config, EvaluationSettings(), cache)
    whole = score_length(text, 16, 16, ones, 16)
    sums = [NatsSum(), GroupSums(text.groups), ContextSums(16)]
    assert sum(score(text.tokens, 16, 16, ones, sums, CPU, 16, (1, 2))) == sums[0].tokens < whole["scored_tokens"]
    both = score_length(text, 16, 16, ones, 16, First(0, 2, other=(None, 1e9, *sums)))
    for name in ("scored_tokens", "nll_nats", "group_nats", "context", "interval"):
        assert both[name] == whole[name]
    assert both["peak_memory_mib"] == 1e9


def test_what_another_process_had_no_memory_for_is_a_row_with_its_reason(checkpoint, cache):
    text = open_evaluation_text(checkpoint, checkpoint.data_config, EvaluationSettings(), cache)
    other = ("out of memory: over there", 1.0, NatsSum(), GroupSums(text.groups), ContextSums(16))
    row = score_length(text, 16, 16, ones, 16, First(0, 2, other=other))
    assert row == {"length": 16, "stride": 16, "error": "out of memory: over there"}
