"""What a user gets wrong: one message with the value and the remedy, exit code 1, no traceback, nothing lost."""

import os
import re
import signal
import subprocess

import pytest
from hydra.errors import CompactHydraException

from alibi.processes import stop_signals
from alibi.training import train

AROUND_HYDRAS_MESSAGES = ("Traceback", "Error executing job", "HYDRA_FULL_ERROR", "hydra.cc", "full_key")
BASE = ["tracking.wandb=disabled", "device=cpu", "size=tiny", "train.max_steps=1"]


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        (["model.num_heads=7", "model.d_model=256"], ["num_heads (7) must divide d_model (256); use 8"]),
        (
            ["model=rotary", "model.d_model=12", "model.num_heads=4"],
            ["d_model / num_heads (12 / 4) must be even and at least 2, not 3"],
        ),
        (["model=alibii"], ["alibii", "alibi", "rotary", "sinusoidal", "t5", "none"]),
        (["data=wikitext"], ["wikitext103", "wikitext2", "stdlib", "text"]),
        (["tokenizer=gpt2"], ["bpe", "word", "byte"]),
        (["size=huge"], ["tiny", "small", "base", "paper"]),
        (["train.seqlen=64"], ["seqlen"]),
        (["model.position.theta=5"], ["model.position.theta"]),
        (["+model.position.theta=5"], ["model.position.theta is not a setting of alibi"]),
        (["+train.seqlen=64"], ["seqlen"]),
        (["+foo=1"], ["foo"]),
        (["model=rotary", "model.position.theta=abc"], ["model.position.theta ('abc') must be a finite number"]),
        (["model=t5", "model.position.max_distance=null"], ["model.position.max_distance (None) must be a whole"]),
        (["data=text", "data.path=.", "data.pattern=/etc/*"], ["data.pattern (/etc/*)"]),
        (["seed=-1"], ["seed (-1)"]),
        (["seed=1764158400123456789"], ["seed (1764158400123456789) must be a whole number below 2**53"]),
        (["seed=true"], ["seed (true) must be a whole number"]),
        (["optimizer.clip=nan"], ["optimizer.clip (nan) must be a finite number"]),
        (["tokenizer.vocab_size=1180591620717411303424"], ["tokenizer.vocab_size", "to 16777216"]),
        (["run_dir='~nobody-of-this-name/x'"], ["~nobody-of-this-name/x starts with ~"]),
        (["train.seq_len=abc"], ["abc"]),
        (["train.seq_len=48", "train.batch_tokens=100"], ["train.batch_tokens (100)", "use 96"]),
        (["train.micro_batch_tokens=1000"], ["train.micro_batch_tokens (1000)"]),
        (["device=tpu"], ["device (tpu)", "auto, cpu, cuda"]),
        (["precision=fp8"], ["precision (fp8)", "bf16"]),
        (["data=text"], ["data.path"]),
        (["data=wikitext2", "data.path=nowhere"], ["nowhere", "not a folder"]),
        (["data=stdlib", "data.path=x"], ["data.path", "stdlib"]),
        (["optimizer.warmup_steps=5"], ["optimizer.warmup_steps (5)"]),
        (["tracking.wandb=on"], ["tracking.wandb"]),
        (["train.resume=nowhere", "data=stdlib"], ["nowhere", "auto"]),
    ],
)
def test_bad_training_settings(command, overrides, wanted, tmp_path):
    code, printed = command("train", *BASE, *overrides)
    assert code == 1
    assert not [words for words in AROUND_HYDRAS_MESSAGES if words in printed]
    for part in wanted:
        assert part in printed
    assert not (tmp_path / "outputs").exists()


WRONG_COMMANDS = [
    ("train", ["train.seqlen=64"], "train.seqlen is not a setting of train.py; did you mean train.seq_len?"),
    ("train", ["trian.seq_len=64"], "did you mean train.seq_len?"),
    ("train", ["seq_len=64"], "did you mean train.seq_len?"),
    ("train", ["lr=1"], "did you mean optimizer.lr?"),
    ("train", ["+train.seqlen=64"], "did you mean train.seq_len?"),
    ("train", ["~train.seqlen"], "did you mean train.seq_len?"),
    ("train", ["modle=alibi"], "did you mean model?"),
    ("train", ["model=rotary", "model.theta=1"], "did you mean model.position.theta?"),
    (
        "train",
        ["model.position.theta=1"],
        "model.position.theta is a setting of model=p_rope, model=pope, model=rotary",
    ),
    ("train", ["model=alibbi"], "there is no model=alibbi; did you mean alibi? Choose one of: alibi, alibi_learned,"),
    ("train", ["model=alibü"], "there is no model=alibü; did you mean alibi?"),
    ("train", ["size=Tiny"], "did you mean tiny? Choose one of: base,"),
    ("train", ["hydra/launcher=basik"], "did you mean basic?"),
    ("train", ["model=null"], "there is no model=null. Choose one of: alibi,"),
    ("train", ["model=alibi,rotary"], "for several runs add -m: python train.py -m model=alibi,rotary."),
    ("train", ["model=[alibi, rotary]"], "for several runs: python train.py -m model=alibi,rotary"),
    ("train", ["-m", "model=alibi,alibbi"], "did you mean alibi?"),
    ("train", ["--multrun", "seed=0,1"], "--multrun is not a flag of train.py; did you mean --multirun?"),
    ("train", ["--seed", "1"], "settings have no dashes: seed=VALUE."),
    ("train", ["--train.seq_len=64"], "settings have no dashes: train.seq_len=64."),
    ("train", ["alibi"], "'alibi' has no =; write model=alibi."),
    ("train", ["train.seq_len", "=", "64"], "write train.seq_len=VALUE, without a space around =."),
    ("train", ["train.seq_len==64"], "has one = too many; write train.seq_len=64."),
    ("train", ["train=64"], "train holds settings, and is none itself; write train.NAME=VALUE."),
    ("train", ["seed=0,1"], "has several values; for several runs add -m: python train.py -m seed=0,1."),
    ("train", ["train.max_steps=8k"], "train.max_steps (8k) must be a whole number."),
    ("train", ["train.eval_lengths=64"], 'train.eval_lengths (64) must be a list; write "train.eval_lengths=[64]".'),
    ("train", ["eval.lengths=[64]"], "a setting of evaluate.py, not of train.py; did you mean train.eval_lengths?"),
    ("train", ["device=gpu"], "device (gpu) must be one of: auto, cpu, cuda (a GPU)."),
    ("evaluate", ["outputs/run"], "write runs=outputs/run."),
    ("evaluate", ["data.task.load=fixed"], "data=mqar alone. Of a task's run: 'data.task={load: VALUE}'."),
    ("evaluate", ["run=outputs/run"], "did you mean runs?"),
    ("evaluate", ["runs=[outputs/a,", "outputs/b]"], "is a list that does not end; put quotes around it"),
    ("evaluate", ["eval.lengths=64,128"], 'write "eval.lengths=[64,128]" for a list.'),
    ("evaluate", ["eval.lengths=[long]"], "eval.lengths ([long]) must be a whole number, in a list."),
    ("evaluate", ["train.seq_len=64"], "evaluate.py takes it from the run that runs= names."),
    ("evaluate", ["model=alibi"], "evaluate.py takes it from the run that runs= names."),
]


@pytest.fixture
def own_signals():
    """A sweep takes the signals over, and gives them back with the end of its process."""
    before = {number: signal.getsignal(number) for number in stop_signals()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_signals")
@pytest.mark.parametrize(("entry", "overrides", "wanted"), WRONG_COMMANDS)
def test_a_command_that_cannot_be_composed_is_one_line_with_the_remedy(command, entry, overrides, wanted):
    code, printed = command(entry, *overrides)
    assert code == 1
    assert wanted in printed
    lines = [line for line in printed.splitlines() if "[HYDRA]" not in line]
    assert len(lines) == 1
    assert not [words for words in AROUND_HYDRAS_MESSAGES if words in printed]


@pytest.mark.parametrize("name", ["a=b", "a,b", "a[1]", "a#b", "it's", "ünï", "a(b)", "a${b}", 'a"b'])
def test_a_path_that_hydra_reads_otherwise_is_answered_with_the_quoting_that_works(command, name):
    """What the message says goes through a shell and comes out as the path that was meant."""
    for entry, setting, more in (("train", "data.path", ["data=text"]), ("evaluate", "runs", [])):
        code, printed = command(entry, "device=cpu", *more, f"{setting}={name}")
        assert code == 1
        told = re.fullmatch(r"(?s).*(?:plain text:|write) (.*?)\n", printed)[1]
        override = subprocess.run(["bash", "-c", f"printf %s {told}"], capture_output=True, check=True).stdout
        code, printed = command(entry, "device=cpu", *more, os.fsdecode(override))
        assert code == 1
        cannot_be_stored = "${" in name and entry == "train"
        assert (
            "cannot be stored" in printed if cannot_be_stored else re.search(f"{re.escape(name)}.* (not|no) ", printed)
        )
        assert "two kinds of quotes" not in printed


def test_where_an_error_came_from_is_shown_on_demand(command, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(CompactHydraException, match="seed") as raised:
        command("train", *BASE, "seed=-1")
    assert isinstance(raised.value.__cause__, ValueError)


def test_jobs_of_a_sweep_that_fail_are_told_once_each(command):
    """Of evaluate.py: that of train.py has tests of its own."""
    code, printed = command("evaluate", "-m", "runs=nothing,nowhere", "tracking.wandb=disabled")
    assert code == 1
    for number, run in enumerate(("nothing", "nowhere")):
        assert re.search(rf"job {number} \(.*runs={run}.*\) failed: ", printed)
    assert printed.count("does not exist") == 2
    assert not [words for words in AROUND_HYDRAS_MESSAGES if words in printed]


@pytest.mark.skipif("__import__('torch').cuda.is_available()")
def test_cuda_where_there_is_none(command):
    code, printed = command("train", *BASE, "device=cuda", "data=stdlib")
    assert (code, "Traceback" in printed) == (1, False)
    assert "no CUDA device" in printed
    assert "device=cpu" in printed


def test_seq_len_above_the_train_split(command, corpus):
    overrides = ["data=wikitext2", f"data.path={corpus}", "tokenizer=byte"]
    code, printed = command("train", *BASE, *overrides, "train.seq_len=4194304", "train.batch_tokens=4194304")
    assert (code, "Traceback" in printed) == (1, False)
    assert "train.seq_len (4194304) is above the" in printed


def test_a_folder_without_the_splits_file(command, corpus):
    for form in ("raw", "tokens"):
        (corpus / f"wiki.valid.{form}").unlink()
    code, printed = command("train", *BASE, "data=wikitext2", f"data.path={corpus}", "tokenizer=byte")
    assert (code, "Traceback" in printed) == (1, False)
    assert "has no file for validation of wikitext2; it needs wiki.valid.raw or wiki.valid.tokens" in printed


def test_a_file_that_is_not_utf8(command, corpus):
    path = corpus / "wiki.train.raw"
    content = path.read_bytes()
    path.write_bytes(content[:1000] + b"\xff" + content[1000:])
    code, printed = command("train", *BASE, "data=wikitext2", f"data.path={corpus}", "tokenizer=byte")
    assert (code, "Traceback" in printed) == (1, False)
    assert "wiki.train.raw" in printed
    assert "offset 1000" in printed


def test_an_empty_split(command, corpus):
    (corpus / "wiki.valid.raw").write_text("")
    code, printed = command("train", *BASE, "data=wikitext2", f"data.path={corpus}", "tokenizer=byte")
    assert (code, "Traceback" in printed) == (1, False)
    assert "validation split of wikitext2 is empty" in printed


def test_no_hub(command, monkeypatch):
    def refused(*args, **kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refused)
    code, printed = command("train", *BASE)
    assert (code, "Traceback" in printed) == (1, False)
    assert "data.path" in printed
    assert "data=stdlib" in printed


def test_no_run_yet(command):
    code, printed = command("evaluate")
    assert (code, "Traceback" in printed) == (1, False)
    assert "no run yet" in printed
    assert "python train.py" in printed


@pytest.fixture
def run(small_run, tmp_path):
    train(small_run(max_steps=2), tmp_path / "outputs" / "run")
    return tmp_path / "outputs" / "run"


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        (["eval.lengths=[0,64]"], "eval.lengths has 0"),
        (["eval.lengths=[64]", "eval.stride=65"], "eval.stride (65)"),
        (["eval.lengths=[64,9007199254740992]"], "must be a whole number below 2**53"),
        (["eval.within_percent=nan"], "eval.within_percent (nan) must be a finite number"),
        (["eval.stride=0"], "eval.stride (0)"),
        (["eval.split=train"], "eval.split (train)"),
        (["eval.length=[64]"], "length"),
        (["runs=outputs/nothing*"], "matches no run"),
        (["runs=outputs/missing"], "does not exist"),
        (["runs=null"], "runs=None does not exist"),
        (["runs=3"], "runs=3 does not exist"),
        (["+eval.batch_token=3"], "batch_token"),
        (["runs=."], "neither a run folder nor a checkpoint folder"),
        (["model=alibi"], "model"),
        (["data=text"], "data.path"),
        (["data.path=nowhere"], "nowhere"),
    ],
)
def test_bad_evaluation_settings(command, run, overrides, wanted):
    code, printed = command("evaluate", "tracking.wandb=disabled", *overrides)
    assert (code, "Traceback" in printed) == (1, False)
    assert wanted in printed
    assert not (run / "evaluation").exists()


def damage(path, how):
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        middle = len(content) // 2
        altered = bytes([content[middle] ^ 1])
        path.write_bytes(content[:middle] if how == "cut" else content[:middle] + altered + content[middle + 1 :])


@pytest.mark.parametrize("how", ["missing", "cut", "altered"])
@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "config.yaml", "training_state.json", "manifest.json"]
)
def test_a_damaged_checkpoint_is_never_replaced_by_another(command, run, name, how):
    damage(run / "checkpoints" / "step-00000002" / name, how)
    code, printed = command("evaluate", "tracking.wandb=disabled", "eval.lengths=[16]")
    assert (code, "Traceback" in printed) == (1, False)
    assert "step-00000002" in printed
    assert not (run / "evaluation").exists()


def test_another_tokenizer_in_the_checkpoint(command, run):
    (run / "checkpoints" / "step-00000002" / "tokenizer.json").write_text('{"kind": "word", "words": []}')
    code, printed = command("evaluate", "tracking.wandb=disabled", "eval.lengths=[16]")
    assert (code, "Traceback" in printed) == (1, False)
    assert "tokenizer.json is cut short or altered" in printed


def test_a_folder_with_another_run(command, corpus, tmp_path):
    settings = [*BASE, "data=wikitext2", f"data.path={corpus}", "tokenizer=byte", "train.seq_len=32", "run_dir=mine"]
    assert command("train", *settings, "train.batch_tokens=64")[0] == 0
    before = {p: p.read_bytes() for p in (tmp_path / "mine").rglob("*") if p.is_file()}
    code, printed = command("train", *settings, "train.batch_tokens=128")
    assert (code, "Traceback" in printed) == (1, False)
    assert "train.batch_tokens is 64 there and 128 now" in printed
    assert {p: p.read_bytes() for p in (tmp_path / "mine").rglob("*") if p.is_file()} == before
