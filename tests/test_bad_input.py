"""What a user gets wrong: one message with the value and the remedy, exit code 1, no traceback, nothing lost."""

import pytest

from alibi.training import train

BASE = ["tracking.wandb=disabled", "device=cpu", "size=tiny", "train.max_steps=1"]


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        (["model.num_heads=7", "model.d_model=256"], ["num_heads (7) must divide d_model (256); use 8"]),
        (["model=rotary", "model.d_model=12", "model.num_heads=4"], ["head width", "12 / 4 = 3", "even"]),
        (["model=alibii"], ["alibii", "alibi", "rotary", "sinusoidal", "t5", "none"]),
        (["data=wikitext"], ["wikitext103", "wikitext2", "stdlib", "text"]),
        (["tokenizer=gpt2"], ["bpe", "word", "byte"]),
        (["size=huge"], ["tiny", "small", "base", "paper"]),
        (["train.seqlen=64"], ["seqlen"]),
        (["model.position.theta=5"], ["model.position.theta"]),
        (["+model.position.theta=5"], ["model.position.theta is not a setting of alibi"]),
        (["+train.seqlen=64"], ["seqlen"]),
        (["+foo=1"], ["foo"]),
        (["model=rotary", "model.position.theta=abc"], ["model.position.theta (abc) must be a float"]),
        (["model=t5", "model.position.max_distance=null"], ["model.position.max_distance (None) must be a int"]),
        (["data=text", "data.path=.", "data.pattern=/etc/*"], ["data.pattern (/etc/*)"]),
        (["seed=-1"], ["seed (-1)"]),
        (["seed=1764158400123456789"], ["seed (1764158400123456789) must be a whole number below 2**53"]),
        (["seed=true"], ["seed=true", "could not be converted to Integer"]),
        (["optimizer.clip=nan"], ["optimizer.clip (nan) must be a finite number"]),
        (["tokenizer.vocab_size=1180591620717411303424"], ["tokenizer.vocab_size", "at most 16777216"]),
        (["run_dir='~nobody-of-this-name/x'"], ["~nobody-of-this-name has none on this machine"]),
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
    assert "Traceback" not in printed
    for part in wanted:
        assert part in printed
    assert not (tmp_path / "outputs").exists()


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
    assert "wiki.valid.tokens does not exist" in printed


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
        (["runs=null"], "runs (None) must be"),
        (["runs=3"], "runs (3) must be"),
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
    "name", ["model.safetensors", "tokenizer.json", "config.yaml", "training_state.pt", "manifest.json"]
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
