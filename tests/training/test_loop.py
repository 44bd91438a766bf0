import json
import shutil
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file

from alibi.data import Cursor, TokenizerConfig, TrainingOrder
from alibi.data.tokenizers import BytePairTokenizer
from alibi.environment import has_fast_bf16
from alibi.runs import Checkpoint, RunFolder, load_model, load_tokenizer, run_name, settings_text
from alibi.tracking import read_metrics
from alibi.training import train
from alibi.training.update import NotFinite, Updater

METHODS = ["alibi", "none", "rotary", "sinusoidal", "t5"]


def weights(folder):
    return load_file(folder / "checkpoints" / "last" / "model.safetensors")


def stopped_after(monkeypatch, step):
    """Make the process die inside update number `step`."""
    whole = Updater.update

    def dies(self, number, blocks):
        if number == step:
            self._gradient(number, blocks[: len(blocks) // 2])  # in the middle of the accumulation
            raise KeyboardInterrupt
        return whole(self, number, blocks)

    monkeypatch.setattr(Updater, "update", dies)


@pytest.mark.parametrize("method", METHODS)
def test_resuming_gives_the_same_bits_as_not_stopping(method, small_run, tmp_path, monkeypatch):
    # Batches long enough that an epoch ends within the run, and the stop is within an epoch.
    config = small_run(method, batch_tokens=16 * 1024, micro_batch_tokens=4 * 1024, max_steps=5)
    train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stopped_after(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "stopped")
    assert RunFolder(tmp_path / "stopped").saved_steps() == [2]
    state = Checkpoint(tmp_path / "stopped" / "checkpoints" / "step-00000002").state
    assert state["cursor"]["index"] > 0, "the test must stop in the middle of an epoch"
    train(config, tmp_path / "stopped")

    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    lines = [read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "stopped")]
    kept = [[{k: v for k, v in line.items() if not k.startswith("perf/")} for line in run] for run in lines]
    assert kept[0] == kept[1]
    assert [line["step"] for line in kept[0]] == [1, 2, 3, 4, 5]


def test_resuming_with_a_wrong_cursor_gives_other_bits(small_run, tmp_path, monkeypatch):
    """Control: the comparison above can fail."""
    config = small_run()
    train(config, tmp_path / "whole")
    config_short = small_run()
    with monkeypatch.context() as patch:
        stopped_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            train(config_short, tmp_path / "stopped")
    blocks = TrainingOrder.blocks
    monkeypatch.setattr(TrainingOrder, "blocks", lambda self, c, n: blocks(self, Cursor(c.epoch, c.index + 1), n))
    train(config_short, tmp_path / "stopped")
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert not all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_accumulation_gives_the_update_of_one_large_batch(small_run, tmp_path):
    for name, micro in (("one", 64), ("four", 16)):
        train(small_run(dropout=0.0, micro_batch_tokens=micro), tmp_path / name)
    one, four = weights(tmp_path / "one"), weights(tmp_path / "four")
    for name in one:
        torch.testing.assert_close(one[name], four[name], rtol=1e-5, atol=1e-6)
    other = small_run(dropout=0.0, batch_tokens=128, micro_batch_tokens=128)
    train(other, tmp_path / "control")
    control = weights(tmp_path / "control")
    assert any(not torch.allclose(one[name], control[name], rtol=1e-3, atol=1e-4) for name in one)


def test_same_seed_two_methods_see_the_same_batches_and_start_alike(small_run, tmp_path, monkeypatch):
    seen = {}
    read = TrainingOrder.read

    def noted(self, blocks):
        result = read(self, blocks)
        seen[current].append((list(map(int, blocks)), result[0].sum(), result[1].sum()))
        return result

    monkeypatch.setattr(TrainingOrder, "read", noted)
    for current, seed in (("alibi", 0), ("t5", 0), ("none", 1)):
        seen[current] = []
        train(small_run(current, seed=seed, max_steps=3), tmp_path / current)
    assert seen["alibi"] == seen["t5"]
    assert seen["alibi"] != seen["none"], "another seed must give other batches"


def test_a_run_ends_with_validation_checkpoint_and_pointers(small_run, tmp_path):
    config = small_run(max_steps=3, eval_every=100, checkpoint_every=100, eval_lengths=[8, 64])
    run = tmp_path / "outputs" / "run"
    train(config, run)
    last = read_metrics(run / "metrics.jsonl")[-1]
    wanted = {"step", "tokens", "train/loss", "train/lr", "train/grad_norm", "perf/tokens_per_sec", "perf/step_ms"}
    wanted |= {"perf/max_memory_mib", "val/loss", "val/ppl", "val/word_ppl", "val/bpb"}
    assert wanted | {"val/loss_8", "val/ppl_64"} <= last.keys()
    assert last["tokens"] == 3 * 64
    assert (run / "checkpoints" / "last").readlink().as_posix() == "step-00000003"
    assert (run / "checkpoints" / "best").readlink().as_posix() == "step-00000003"
    assert (tmp_path / "outputs" / "latest").readlink().as_posix() == "run"
    assert "val/loss" not in read_metrics(run / "metrics.jsonl")[0]


def test_the_best_checkpoint_is_that_of_the_lowest_validation_loss(small_run, tmp_path):
    """Updates far too large make it worse after the first, then slightly better."""
    config = small_run(max_steps=4, eval_every=1, keep_last=1)
    config.optimizer.lr = config.optimizer.min_lr = 1.0
    config.optimizer.warmup_steps = 3
    train(config, tmp_path / "run")
    losses = {line["step"]: line["val/loss"] for line in read_metrics(tmp_path / "run" / "metrics.jsonl")}
    best = min(losses, key=losses.get)
    assert best < 4, "the last would be kept anyhow"
    assert (tmp_path / "run" / "checkpoints" / "best").readlink().as_posix() == f"step-{best:08d}"
    assert RunFolder(tmp_path / "run").saved_steps() == [best, 4]


def test_validation_has_no_numbers_per_word_and_byte_of_text_that_tokens_do_not_cover(small_run, tmp_path, capsys):
    config = small_run(max_steps=1, tokenizer="word")
    config.tokenizer.vocab_size = 6  # four special symbols, and two words
    train(config, tmp_path / "run")
    told = read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]
    assert {"val/loss", "val/ppl"} <= told.keys()
    assert not {"val/word_ppl", "val/bpb"} & told.keys()
    assert "validation: text not covered: no token stands for" in capsys.readouterr().out


def test_a_finished_run_says_so_and_is_left_alone(small_run, tmp_path, capsys):
    config = small_run(max_steps=2)
    train(config, tmp_path / "run")
    before = (tmp_path / "run" / "metrics.jsonl").stat().st_mtime_ns
    capsys.readouterr()
    train(config, tmp_path / "run")
    assert "is finished: 2 steps" in capsys.readouterr().out
    assert (tmp_path / "run" / "metrics.jsonl").stat().st_mtime_ns == before


def test_the_summary_names_what_a_person_wants_to_know_first(small_run, tmp_path, capsys):
    train(small_run("t5", max_steps=1), tmp_path / "run")
    out = capsys.readouterr().out
    assert "parameters" in out
    assert "position 64" in out  # 32 buckets, 2 heads
    for word in ("embedding", "rest", "train", "validation", "steps", "time       about", "first loss"):
        assert word in out


def test_a_loss_that_is_not_finite_stops_and_leaves_the_last_checkpoint(small_run, tmp_path, monkeypatch):
    config = small_run()
    whole = Updater._backward

    def poisoned(self, blocks, *more):
        nats = whole(self, blocks, *more)
        return nats * float("nan") if self.optimizer.state and len(self.saw) > 8 else self.saw.append(1) or nats

    monkeypatch.setattr(Updater, "_backward", poisoned)
    monkeypatch.setattr(Updater, "saw", [], raising=False)
    with pytest.raises(NotFinite, match=r"loss is nan.*last good checkpoint, step \d+, is untouched.*optimizer.lr"):
        train(config, tmp_path / "run")
    steps = RunFolder(tmp_path / "run").saved_steps()
    assert steps
    for tensor in weights(tmp_path / "run").values():
        assert tensor.isfinite().all()
    assert all("NaN" not in line for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())


@pytest.mark.parametrize("every", [1, 100])
def test_weights_that_an_update_ruined_are_not_saved(every, small_run, tmp_path):
    """The loss before the update was fine; the weights after it are huge, and finite."""
    config = small_run(max_steps=3, eval_every=every, checkpoint_every=1)
    config.optimizer.lr, config.optimizer.min_lr, config.optimizer.warmup_steps = 1e25, 1e25, 0
    with pytest.raises(NotFinite, match=r"step 1: .*not finite|step 1: validation loss is nan"):
        train(config, tmp_path / "run")
    assert RunFolder(tmp_path / "run").saved_steps() == []
    assert "NaN" not in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_odd_validation_lengths_are_said(small_run, tmp_path, capsys):
    train(small_run(max_steps=1, eval_lengths=[64, 32, 64, 99999]), tmp_path / "run")
    out = capsys.readouterr().out
    assert "evaluated as [32, 64, 99999]" in out
    assert "99999 is above" in out


def test_the_run_writes_its_own_settings(small_run, tmp_path):
    config = small_run(max_steps=1)
    train(config, tmp_path / "run")
    checkpoint = Checkpoint(tmp_path / "run" / "checkpoints" / "step-00000001")
    assert checkpoint.model_config == config.model
    assert checkpoint.config["train"]["seq_len"] == 16
    manifest = json.loads((checkpoint.path / "manifest.json").read_text())
    assert manifest["made_with"].keys() >= {"git_commit", "git_dirty", "packages", "device", "threads"}


def test_bf16_trains_near_fp32(small_run, tmp_path, capsys):
    """And says so where the machine only emulates it."""
    for precision in ("fp32", "bf16"):
        train(replace(small_run(dropout=0.0), precision=precision), tmp_path / precision)
        slow = precision == "bf16" and not has_fast_bf16(torch.device("cpu"))
        assert ("this machine has no bf16 instructions" in capsys.readouterr().out) == slow
    losses = [read_metrics(tmp_path / p / "metrics.jsonl")[-1]["val/loss"] for p in ("fp32", "bf16")]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_a_run_with_a_pretrained_tokenizer_carries_it_along(small_run, tmp_path):
    """The tokenizer of another run, as a file: the same ids under another kind; the file is not needed again."""
    tokenizer = BytePairTokenizer.train(["a few words and some more\n"] * 20, 300)
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_json())
    config = small_run(max_steps=4, max_hours=1e-9)
    config.tokenizer = TokenizerConfig("pretrained", path=str(tmp_path / "tokenizer.json"))
    with pytest.raises(SystemExit):
        train(config, tmp_path / "run")
    (tmp_path / "tokenizer.json").unlink()
    config.train.max_hours = None
    assert train(config, tmp_path / "run") == "ran"
    stored = load_tokenizer(tmp_path / "run")
    assert stored.encode(["a word\n"]) == tokenizer.encode(["a word\n"])
    assert load_model(tmp_path / "run").vocab_size == stored.vocab_size == tokenizer.vocab_size


def test_a_command_whose_recipe_has_changed_names_the_run_that_it_made_before(small_run, tmp_path, capsys):
    """experiment=wikitext2 had 800 updates of 4,096 tokens."""
    before, now, other = small_run(batch_tokens=4096, max_steps=800), small_run(max_steps=1), small_run(max_steps=1)
    before.optimizer.lr, before.optimizer.min_lr, other.seed = 3e-3, 3e-4, 1
    earlier, *folders = (tmp_path / run_name(asdict(config)) for config in (before, now, other))
    train(now, folders[0])
    assert "before a default changed" not in capsys.readouterr().out
    shutil.rmtree(folders[0])
    earlier.mkdir()
    (earlier / "config.yaml").write_text(settings_text(asdict(before)))
    train(now, folders[0])
    settings = "train.batch_tokens=4096 train.max_steps=800 optimizer.lr=0.003 optimizer.min_lr=0.0003"
    said = f"{earlier} is the run of this command before a default changed; {settings} goes on"
    assert said in capsys.readouterr().out
    train(other, folders[1])
    train(now, tmp_path / "a-name-of-its-own")
    assert "before a default changed" not in capsys.readouterr().out
