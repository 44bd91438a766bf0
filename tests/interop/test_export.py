"""A run written as an MPT: what transformers loads from there gives our logits, our ids and our nats.

More of the parity of logits is in tests/model/test_model_parity_transformers.py.
"""

import json
import os
import sys

import export_hf
import pytest
import torch
from guests import evaluated
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from alibi.analysis import compare
from alibi.data.tokenizers import BytePairTokenizer, ByteTokenizer, WordTokenizer
from alibi.generation import generate
from alibi.interop import export_run
from alibi.interop.export import as_fast_tokenizer, to_mpt
from alibi.interop.guest_tokenizer import GuestTokenizer
from alibi.model import LanguageModel, ModelConfig
from alibi.positions import LinearBias, Position
from alibi.runs import Checkpoint, checkpoint_of
from alibi.training import train


@pytest.fixture
def run(small_run, tmp_path):
    """Trains a run of three updates: its checkpoint."""

    def make(tokenizer="byte", method="alibi"):
        folder = tmp_path / "outputs" / f"{method}-{tokenizer}"
        train(small_run(method, tokenizer=tokenizer, max_steps=3), folder)
        return Checkpoint(checkpoint_of(folder))

    return make


def worst(a, b):
    return (a - b).abs().max().item()


def test_logits_are_ours_at_128_and_past_the_training_length(run, tmp_path, monkeypatch):
    checkpoint = run()
    ours = checkpoint.load_model().requires_grad_(False)
    for name, parameter in ours.named_parameters():  # larger than three updates leave them: logits of unit size
        if parameter.dim() > 1:
            parameter.normal_(std=0.25, generator=torch.Generator().manual_seed(len(name)))
    monkeypatch.setattr(Checkpoint, "load_model", lambda self: ours)
    export_run(checkpoint, tmp_path / "mpt")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "mpt").eval().requires_grad_(False)
    assert (theirs.config.train_seq_len, theirs.config.max_seq_len) == (16, 2048)
    for length, tolerance in ((128, 1e-5), (2048, 1e-4)):
        ids = torch.randint(257, (1, length), generator=torch.Generator().manual_seed(length))
        assert theirs(ids).logits.std() > 0.5
        assert worst(ours(ids), theirs(ids).logits) < tolerance
    theirs.transformer.wte.weight.div_(4)  # control: the embedding without its factor
    assert worst(ours(ids), theirs(ids).logits) > 0.1


@pytest.mark.parametrize("kind", [BytePairTokenizer, ByteTokenizer, WordTokenizer])
def test_ids_of_every_line_are_ours(kind, raw_lines, tmp_path):
    ours = kind.train(raw_lines["train"], {"bpe": 300, "word": 40, "byte": None}[kind.name])
    as_fast_tokenizer(ours, 64).save_pretrained(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    guest = GuestTokenizer(theirs)
    odd = ["\n", " a\u00a0b\x1cc\td \r\n", "</s> <unk> <|endoftext|> x\n", "e\u0301 \u200b \U0001f99e\n", "\x00\x7f\n"]
    lines = [*raw_lines["valid"], *odd]
    assert guest.encode(lines) == ours.encode(lines)
    assert theirs("one two")["input_ids"] == [ours.end_of_text, *ours.encode_prompt("one two")]
    assert guest.first_input == guest.end_of_text == ours.end_of_text
    # The same file is the same tokenizer, and then numbers per token are compared too.
    assert (guest.sha256 == ours.sha256) == (kind.name == "bpe")


@pytest.mark.parametrize("tokenizer", ["bpe", "byte", "word"])
def test_evaluated_as_a_guest_it_has_the_runs_own_nats(tokenizer, run, tmp_path, cache):
    checkpoint = run(tokenizer)
    export_run(checkpoint, tmp_path / "mpt")
    runs = [str(checkpoint.run), f"hf:{tmp_path / 'mpt'}"]
    results = evaluated(runs, tmp_path / "outputs", cache, lengths=[16, 100], max_tokens=500, stride=[None, 8])
    found = {}
    for result in results:
        nats = {(result.protocol[-9:], length): row["nll_nats"] for length, row in result.numbers.items()}
        found.setdefault(result.checkpoint.model, {}).update(nats)
    ours, theirs = found["alibi"], found["mpt"]
    assert len(ours) == 4
    assert {result.checkpoint.seq_len for result in results} == {16}
    assert ours == pytest.approx(theirs, rel=1e-6)
    for part in compare(results).sets:
        assert "perplexity" in part.comparable, "one tokenizer, whatever its file says"
        assert part.crossings[0][2] == [], "of rounding"
    assert len({round(value, 2) for value in ours.values()}) == 4, "lengths and strides differ by more than that"


@pytest.mark.parametrize("kind", ["bpe", "byte", "word"])
def test_a_pipeline_continues_a_prompt_as_we_do(kind, run, tmp_path, monkeypatch):
    checkpoint, folder = run(kind), tmp_path / "mpt"
    if kind == "word":  # a text of line ends, unknown words and a few others
        ours = checkpoint.load_model().requires_grad_(False)
        for parameter in ours.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(6))
        ours.output.weight[3] = ours.output.weight[2].neg()  # one of the two is above 0
        ours.output.weight[[0, 1, *range(4, ours.vocab_size)]] = 0
        monkeypatch.setattr(Checkpoint, "load_model", lambda self: ours)
    export_run(checkpoint, folder)
    prompt, tokenizer = "the lobster and of", checkpoint.load_tokenizer()
    start = torch.tensor([[tokenizer.end_of_text, *tokenizer.encode_prompt(prompt)]])
    ours = tokenizer.decode(generate(checkpoint.load_model(), start, 40, temperature=0)[0, 1:].tolist())
    [told] = pipeline("text-generation", str(folder), device="cpu")(prompt, max_new_tokens=40, do_sample=False)
    if kind == "word":
        assert {"\n", "<unk>"} <= set(ours.split(" "))
    assert told["generated_text"] == ours


def test_what_is_written_is_read_by_older_releases_and_other_users(run, tmp_path):
    """transformers 4 knows no TokenizersBackend, and hands an MPT token types that it does not take."""
    before = os.umask(0o022)
    try:
        checkpoint = run("word")
        export_run(checkpoint, tmp_path / "mpt")
    finally:
        os.umask(before)
    read = lambda name: json.loads((tmp_path / "mpt" / name).read_text())  # noqa: E731
    tokenizer, model = read("tokenizer_config.json"), read("config.json")
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert tokenizer["model_input_names"] == ["input_ids", "attention_mask"]
    assert tokenizer["padding_side"] == "left"
    assert model["use_cache"] is True
    assert [model[f"{name}_token_id"] for name in ("bos", "eos", "pad")] == [2, None, 1]
    written = [*(tmp_path / "mpt").iterdir(), *checkpoint.path.iterdir()]
    assert {path.suffix for path in written} >= {".safetensors", ".json"}
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in written} == {p.name: "0o644" for p in written}


def test_what_does_not_fit_is_refused_and_leaves_nothing(run, tmp_path, monkeypatch):
    out = tmp_path / "mpt"
    with pytest.raises(ValueError, match=r"rotary is not what MPT does.*No other architecture"):
        export_run(run(method="rotary"), out)
    checkpoint = run()
    with pytest.raises(ValueError, match=r"max_length \(0\) must be at least 1"):
        export_run(checkpoint, out, 0)
    monkeypatch.setattr("transformers.PreTrainedTokenizerFast.save_pretrained", failing)
    with pytest.raises(OSError, match="no space"):
        export_run(checkpoint, out)
    assert not list(tmp_path.glob("*mpt*"))
    monkeypatch.undo()
    export_run(checkpoint, out, 64)
    with pytest.raises(FileExistsError, match="is not empty; give"):
        export_run(checkpoint, out)


def failing(*_):
    raise OSError("no space")


def test_the_script_says_what_it_made_or_what_is_wrong(run, tmp_path, monkeypatch, capsys):
    checkpoint = run()
    monkeypatch.setattr("sys.argv", ["export_hf.py", str(checkpoint.run), str(tmp_path / "mpt"), "--max-length", "32"])
    export_hf.export(export_hf.parse())
    assert capsys.readouterr().out.endswith("mpt: alibi-byte, step 3, as an MPT\n")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "mpt").config.max_seq_len == 32


VOCAB = 53


def small_model(method="alibi", **values) -> LanguageModel:
    position = {"name": method} if method else {}
    config = ModelConfig(position=position, **{"num_layers": 2, "d_model": 32, "num_heads": 4, **values})
    return LanguageModel(config, VOCAB, seed=0).eval().requires_grad_(False)


def some_ids(length: int) -> torch.Tensor:
    return torch.randint(VOCAB, (2, length), generator=torch.Generator().manual_seed(length))


@pytest.mark.parametrize("tied", [True, False])
def test_the_default_model_is_an_mpt(tied):
    model = small_model(tie_embeddings=tied)
    mpt = to_mpt(model, 128)
    assert (mpt(some_ids(128)).logits - model(some_ids(128))).abs().max() < 1e-5
    assert (mpt(some_ids(40)).logits - model(some_ids(40))).abs().max() < 1e-5, "shorter text needs no other max_length"
    assert not mpt.training
    mpt.transformer.wte.weight.div_(model.config.d_model**0.5)  # control: our embedding as it is stored
    assert (mpt(some_ids(40)).logits - model(some_ids(40))).abs().max() > 0.1


def test_ours_is_left_alone():
    model = small_model()
    before = model(some_ids(9))
    mpt = to_mpt(model, 16)
    for parameter in mpt.parameters():
        parameter.zero_()
    assert torch.equal(model(some_ids(9)), before)


def test_dtype_is_kept():
    mpt = to_mpt(small_model().double(), 16)
    assert {p.dtype for p in mpt.parameters()} == {torch.float64}


@pytest.mark.parametrize("method", sorted(set(Position.registry) - {"alibi"}))
def test_another_method_is_refused(method):
    with pytest.raises(ValueError, match=rf"model={method} is not what MPT does"):
        to_mpt(small_model(method), 16)


def test_alibi_with_a_switch_or_in_some_layers_is_refused():
    with pytest.raises(ValueError, match=r"model=alibi with model.window is not what MPT does.*train with model=alibi"):
        to_mpt(small_model(window=8), 16)
    types = {"a": {"position": {"name": "alibi"}}, "b": {"position": {"name": "alibi"}, "window": 4}}
    with pytest.raises(ValueError, match="model=a-b is not what MPT does"):
        to_mpt(small_model(None, pattern=["a", "b"], layer_types=types), 16)


def test_other_slopes_are_refused(monkeypatch):
    model = small_model()
    slopes_H = model.transformer.position.bias().slopes_H
    monkeypatch.setattr(model.transformer.position, "bias", lambda: LinearBias(slopes_H.flip(0)))
    with pytest.raises(ValueError, match=r"slopes of alibi .* are not MPT's"):
        to_mpt(model, 16)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bias": True}, r"model.bias \(True\) must be False"),
        ({"activation": "relu"}, r"model.activation \(relu\) must be gelu"),
        ({"final_norm": False}, r"model.final_norm \(False\) must be True"),
        ({"d_ff": 96}, r"model.d_ff \(96\) must be 128"),
    ],
)
def test_a_part_that_mpt_lacks_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        to_mpt(small_model(**values), 16)


def test_max_length_is_at_least_one():
    with pytest.raises(ValueError, match=r"max_length \(0\)"):
        to_mpt(small_model(), 0)


def test_without_transformers_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"to_mpt needs transformers .*pip install transformers"):
        to_mpt(small_model(), 16)
