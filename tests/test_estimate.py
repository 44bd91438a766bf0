"""The estimate of a run: what it extrapolates is what the whole would cost; and the command."""

import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from estimating.costs import OPTIMIZER_NUMBERS, at, drawn_ids, estimate, saved_bytes

from alibi.config import run_of
from alibi.model import LanguageModel
from alibi.training.optimizer import OptimizerConfig, build_optimizer

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")
IDS = 500
SMALL = [
    "experiment=paper_small",
    "device=cpu",
    "precision=fp32",
    "model.adaptive_cutoffs=[50,200]",
    "train.seq_len=32",
]


@pytest.mark.parametrize("method", ["alibi", "t5"])
def test_memory_of_a_long_sequence_is_that_of_its_tokens(method):
    """No method keeps anything of length times length."""
    config = run_of([*SMALL, f"model={method}", "train.seq_len=1024", "train.batch_tokens=1024", "model.num_layers=2"])
    costs = estimate(config, IDS, CPU, measure_time=False)
    model = LanguageModel(config.model, IDS, seed=0).train()
    held = saved_bytes(model, drawn_ids(IDS, 1, 1024), "fp32")
    assert costs.activation_bytes(1) == pytest.approx(held, rel=0.03)
    assert held < 2 * 4 * config.model.num_heads * 1024**2, "control: what two layers' attention weights would be"


@pytest.mark.parametrize(("method", "precision"), [("alibi", "fp32"), ("rotary", "bf16"), ("rnope_swa", "fp32")])
def test_memory_of_the_whole_is_on_the_line(method, precision):
    config = run_of([*SMALL, f"model={method}", f"precision={precision}", "model.num_layers=8"])
    costs = estimate(config, IDS, CPU, measure_time=False)
    model = LanguageModel(config.model, IDS, seed=0).train()
    for sequences in (1, 5):
        held = saved_bytes(model, drawn_ids(IDS, sequences, 32), precision)
        assert costs.activation_bytes(sequences) == pytest.approx(held, rel=0.02)
    assert costs.parameters == model.count_parameters()
    shallow = estimate(replace(config, model=replace(config.model, num_layers=4)), IDS, CPU, measure_time=False)
    assert shallow.activation_bytes(5) < 0.7 * held, "control: half the layers"


def test_the_count_of_what_is_held_is_that_of_a_chain_written_out():
    """A linear layer, a ReLU and a sum keep the ReLU's result, and the input is not the model's own."""

    class Chain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.up = torch.nn.Linear(8, 32)
            self.device = CPU

        def total_nats(self, inputs, targets):
            return self.up(inputs + 0.0).relu().square().sum()

    held = saved_bytes(Chain(), torch.randn(4, 9, 8), "fp32")
    assert held == 4 * (4 * 8 * 8 + 4 * 8 * 32 + 1)  # the input's copy, the ReLU's result, the sum


@pytest.mark.parametrize("name", OPTIMIZER_NUMBERS)
def test_the_optimizer_holds_as_many_numbers_as_stated(tiny_model, name):
    optimizer = build_optimizer(OptimizerConfig(name), tiny_model)
    ids = torch.randint(257, (2, 9))
    tiny_model.total_nats(ids, ids).backward()
    optimizer.step()
    held = sum(t.numel() for state in optimizer.state.values() for t in state.values() if t.dim() > 0)
    assert held == OPTIMIZER_NUMBERS[name] * tiny_model.count_parameters().total


def test_layers_are_on_a_line():
    assert at(1, {1: 5.0, 2: 7.0}) == 5.0
    assert at(16, {1: 5.0, 2: 7.0}) == 35.0
    assert at(16, {1: 5.0, 2: 4.0}) == 4.0, "time that scatters below nothing a layer"


def test_words_are_drawn_as_in_text():
    ids = drawn_ids(267_744, 20, 1000).flatten()
    share = (ids < 20_000).double().mean()
    assert 0.85 < share < 0.95
    assert ids.max() > 60_000


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*arguments, fails=False):
        monkeypatch.setattr(sys, "argv", ["estimate.py", *arguments])
        if fails:
            with pytest.raises(SystemExit) as ended:
                runpy.run_path(str(ROOT / "scripts" / "estimate.py"), run_name="__main__")
            return ended.value.code
        runpy.run_path(str(ROOT / "scripts" / "estimate.py"), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_the_command_says_memory_speed_and_days(command):
    told = command(*SMALL, "--gpus", "2", "train.batch_tokens=1024")
    assert "33,280 ids" in told, "of WikiText-2, though no text is read"
    assert "parameters 343,360" in told
    assert "GiB, one GPU of 2" in told
    assert "micro-batch of 16 x 32 = 512 tokens" in told
    assert "measured here, on cpu in fp32, by 1 and 2 of 4 layers" in told


def test_days_follow_from_the_rate(command):
    told = command(*SMALL, "--tokens-per-sec", "1000", "train.max_steps=86400", "optimizer.cosine_steps=90000")
    assert "1,000 a GPU, as given" in told
    assert "(1.02 days)" in told  # 86,400 updates of 1,024 tokens


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["experiment=paper", "--gpus", "7"], "--gpus (7) must divide the 144 sequences of an update"),
        (["experiment=paper", "--tokens-per-sec", "0"], "--tokens-per-sec (0.0) must be finite and above 0"),
        (["experiment=paper", "--tokens-per-sec", "inf"], "--tokens-per-sec (inf) must be finite and above 0"),
        (["experiment=paper", "--vocab-size", "0"], "--vocab-size (0) must be at least 1"),
        (["experiment=paper", "--vocab-size", "60000"], "must be below the vocabulary of 60000"),
        (["tokenizer=word", "data=stdlib"], "give --vocab-size"),
        (["experiment=none_such"], "there is no experiment=none_such"),
        (["train.seq_lenn=3"], "train.seq_lenn"),
        (["train.seq_len=0"], "train.seq_len (0) must be at least 1"),
    ],
)
def test_what_cannot_be_is_named(command, arguments, message):
    assert message in command(*arguments, fails=True)


def test_a_text_that_has_no_folder_yet_may_lack_it():
    assert run_of(["experiment=paper_1b3", "device=cpu"]).train.max_steps == 50_000


def test_a_task_has_its_own_vocabulary(run_script):
    code, out, _ = run_script("estimate", "experiment=copy", "model=rotary", "--tokens-per-sec", "1000")
    assert code == 0
    assert "107,456" in out
    code, _, err = run_script("estimate", "experiment=copy", "--vocab-size", "70")
    assert code == 1
    assert "--vocab-size (70) would be ignored by copy, which has its own" in err
