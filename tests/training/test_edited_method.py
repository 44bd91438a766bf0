"""A method that is edited after it was trained: the run is neither finished nor gone on with, and nothing is lost."""

import shutil

import pytest
import torch
from torch import nn
from torture import run_content

from alibi.model.transformer import FeedForward
from alibi.positions.alibi import ALiBi
from alibi.positions.base import DistanceBias
from alibi.runs import ChangedModel, RunFolder, load_model
from alibi.training import train


class Edited(DistanceBias):
    """ALiBi's line, computed otherwise, then changed."""

    def __init__(self, num_heads: int, change) -> None:
        self.num_heads, self.change = num_heads, change

    def at(self, distance):
        slope_H = torch.exp2(-8.0 / self.num_heads * torch.arange(1, self.num_heads + 1, dtype=torch.float64))
        return self.change(-(distance.abs() * slope_H.view(-1, *[1] * distance.dim())))


def edit(monkeypatch, change) -> None:
    monkeypatch.setattr(ALiBi, "bias", lambda self: Edited(self.num_heads, change))


def edit_model(monkeypatch) -> None:
    whole = FeedForward.forward
    monkeypatch.setattr(FeedForward, "forward", lambda self, x: 1.1 * whole(self, x))


def edit_parameters(monkeypatch) -> None:
    build = ALiBi.__init__

    def init(self, *shape) -> None:
        build(self, *shape)
        self.gain = nn.Parameter(torch.ones(2))

    monkeypatch.setattr(ALiBi, "__init__", init)
    monkeypatch.setattr(ALiBi, "initialise", lambda self, generator: nn.init.ones_(self.gain))


EDITS = {
    "slopes 1 % steeper": lambda patch: edit(patch, lambda bias: 1.01 * bias),
    "flat at distances never trained": lambda patch: edit(patch, lambda bias: bias.clamp(min=-1.0)),
    "code of the model": edit_model,
    "one parameter more": edit_parameters,
}


@pytest.fixture
def run(small_run, tmp_path):
    """A finished run: its settings and folder."""
    config = small_run()
    train(config, tmp_path / "run")
    return config, tmp_path / "run"


@pytest.mark.parametrize("how", EDITS)
def test_an_edited_method_is_refused_and_trained_beside(how, run, monkeypatch):
    config, folder = run
    before = run_content(folder)
    with monkeypatch.context() as patch:
        EDITS[how](patch)
        for use in (lambda: train(config, folder), lambda: load_model(folder)):
            with pytest.raises(ChangedModel, match=rf"with run_dir={folder}-2; to use these weights, restore the code"):
                use()
        assert run_content(folder) == before
        assert train(config, folder.with_name("run-2")) == "ran"
        assert train(config, folder.with_name("run-2")) == "skipped"
    assert train(config, folder) == "skipped"


def test_a_method_with_a_longest_position_is_told_before_the_first_step(small_run, tmp_path, monkeypatch):
    """Its positions are learned, say: no checkpoint could be written, and steps would be trained for nothing."""
    table = nn.Embedding(64, small_run().model.d_model)
    monkeypatch.setattr(ALiBi, "embed", lambda self, x_BLD, positions: x_BLD + table(positions))
    with pytest.raises(IndexError):
        train(small_run(), tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_half_way_nothing_is_lost(run, monkeypatch):
    config, folder = run
    before = run_content(folder)
    shutil.rmtree(folder / "checkpoints" / "step-00000006")
    with monkeypatch.context() as patch:
        EDITS["slopes 1 % steeper"](patch)
        with pytest.raises(ChangedModel):
            train(config, folder)
        assert RunFolder(folder).saved_steps()[-1] == 4
    assert train(config, folder) == "ran"
    assert run_content(folder) == before


def test_what_computes_the_same_goes_on_and_initial_values_are_hinted_at(run, tmp_path, monkeypatch, capsys):
    config, folder = run
    assert train(config, folder) == "skipped"
    assert "note" not in capsys.readouterr().out
    edit(monkeypatch, lambda bias: bias)
    source = tmp_path / "mine.py"
    source.write_text("# rewritten")
    monkeypatch.setattr("inspect.getsourcefile", lambda _: str(source))
    assert train(config, folder) == "skipped"
    assert (
        f"If you changed its initial values, train it beside this run, with run_dir={folder}-2"
        in capsys.readouterr().out
    )
