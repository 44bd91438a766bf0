"""Models of transformers as guests: the nats are those of transformers itself, and what cannot be scored is said."""

import json
import sys

import pytest
import torch
from guests import CONFIGS, END, VOCAB, WIDTH, direct_nats, evaluated, make_tokenizer, save_guest
from safetensors.torch import load_file
from tokenizers import normalizers, pre_tokenizers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertModel,
    BioGptConfig,
    CLIPConfig,
    CodeGenConfig,
    GPT2Config,
    GPTJConfig,
    OPTConfig,
    RobertaConfig,
)

from alibi.analysis import compare
from alibi.commands.evaluate_command import OtherText
from alibi.interop import guest_scorer
from alibi.interop.guest_scorer import GuestScorer
from alibi.interop.guest_tokenizer import GuestTokenizer
from alibi.model.output import LOGITS_PER_CHUNK
from alibi.reporting import comparison_text
from alibi.reporting.page import render_page
from alibi.training import train


@pytest.fixture(scope="session")
def tokenizer(raw_lines):
    return make_tokenizer(raw_lines["train"])


@pytest.fixture
def score(tmp_path, corpus, cache):
    """Evaluates what `runs` names on the generated corpus: its results."""

    def call(runs, text=None, lengths=(16, 96), max_tokens=400, **settings):
        text = text or OtherText("wikitext2", str(corpus))
        return evaluated(
            runs, tmp_path / "outputs", cache, text, lengths=list(lengths), max_tokens=max_tokens, **settings
        )

    return call


def scored_lines(lines, result, tokenizer):
    """The lines that were scored: as many as hold the result's tokens."""
    kept, tokens = [], 0
    while tokens < result.data.tokens:
        kept.append(lines[len(kept)])
        tokens += len(tokenizer(kept[-1])["input_ids"])
    assert tokens == result.data.tokens
    return kept


@pytest.mark.parametrize("name", CONFIGS)
def test_nats_are_those_of_transformers(name, score, tmp_path, tokenizer, raw_lines):
    folder = save_guest(tmp_path / name, CONFIGS[name], tokenizer)
    [result] = score(f"hf:{folder}")
    lines = scored_lines(raw_lines["valid"], result, tokenizer)
    weights = result.checkpoint
    assert (weights.model, weights.step, weights.seed) == (CONFIGS[name].model_type, 0, None)
    assert weights.parameters == sum(weights.parameters_in.values()) > 10_000
    for length, row in result.numbers.items():
        # An MPT's bias must be widened by hand for longer text.
        wide = length if name.startswith("mpt") else None
        assert row["nll_nats"] == pytest.approx(direct_nats(folder, lines, length, wide), rel=1e-6)
        other = direct_nats(folder, lines, length - 1, wide)  # control: blocks one token shorter
        assert row["nll_nats"] != pytest.approx(other, rel=1e-6)


def test_without_its_position_a_guest_has_other_nats(score, tmp_path, tokenizer, monkeypatch):
    """The control of the comparison above: one part left out of one of the two computations."""
    folder = save_guest(tmp_path / "mpt", CONFIGS["mpt-8"], tokenizer)
    [right] = score(f"hf:{folder}")
    flat = lambda *_, **kwargs: torch.zeros(8, 1, 96)[..., : kwargs.get("length", 96)]  # noqa: E731
    monkeypatch.setattr("transformers.models.mpt.modeling_mpt.build_mpt_alibi_tensor", flat)
    [wrong] = score(f"hf:{folder}")
    for length, row in right.numbers.items():
        assert row["nll_nats"] != pytest.approx(wrong.numbers[length]["nll_nats"], rel=1e-4)


def test_sliding_scores_the_same_targets_and_only_scored_positions_reach_the_output_layer(
    score, tmp_path, tokenizer, monkeypatch
):
    folder = save_guest(tmp_path / "guest", CONFIGS["gpt_neox"], tokenizer)
    [plain, sliding] = score(f"hf:{folder}", lengths=[32], stride=[None, 8], max_tokens=300)
    assert plain.data.tokens == sliding.rows[32]["scored_tokens"]
    assert sliding.rows[32]["nll_nats"] != pytest.approx(plain.rows[32]["nll_nats"], rel=1e-4)
    monkeypatch.setitem(LOGITS_PER_CHUNK, "cpu", 5 * 300)  # five targets at once
    [_, chunked] = score(f"hf:{folder}", lengths=[32], stride=[None, 8], max_tokens=300)
    assert chunked.rows[32]["nll_nats"] == pytest.approx(sliding.rows[32]["nll_nats"], rel=1e-6)
    monkeypatch.setattr(GuestScorer, "_probe", lambda self: False)  # all logits, as where more stands behind the layer
    [_, whole] = score(f"hf:{folder}", lengths=[32], stride=[None, 8], max_tokens=300)
    assert whole.rows[32]["nll_nats"] == pytest.approx(sliding.rows[32]["nll_nats"], rel=1e-6)


def test_a_length_above_a_hard_maximum_is_an_entry(score, tmp_path, tokenizer):
    folder = save_guest(tmp_path / "gpt2", CONFIGS["gpt2"], tokenizer)
    [result] = score(f"hf:{folder}", lengths=[64, 65, 300], stride=[32])
    assert list(result.numbers) == [64]
    assert result.rows[65]["error"].startswith("too long: the model looks its positions up in transformer.wpe")
    assert "which has 64" in result.rows[300]["error"]
    assert result.content.how_far.reason == "no length above the training length, 64, was measured"
    [short] = score(f"hf:{folder}", lengths=[64, 300], max_tokens=60)
    assert list(short.numbers) == [64, 300], "a text that is shorter than the maximum fits at every length"


LONGEST = {
    "roberta": RobertaConfig(**WIDTH, max_position_embeddings=34, is_decoder=True, pad_token_id=1, vocab_size=VOCAB),
    "roberta-0": RobertaConfig(**WIDTH, max_position_embeddings=33, is_decoder=True, pad_token_id=0, vocab_size=VOCAB),
    "opt": OPTConfig(**WIDTH, ffn_dim=96, word_embed_proj_dim=48, max_position_embeddings=32, vocab_size=VOCAB),
    "biogpt": BioGptConfig(**WIDTH, intermediate_size=96, max_position_embeddings=32, vocab_size=VOCAB),
    "gptj": GPTJConfig(n_embd=48, n_layer=2, n_head=4, rotary_dim=8, n_positions=32, vocab_size=VOCAB),
    "codegen": CodeGenConfig(n_embd=48, n_layer=2, n_head=4, rotary_dim=8, n_positions=32, vocab_size=VOCAB),
}


@pytest.mark.parametrize("unnamed", [False, True])
@pytest.mark.parametrize("name", LONGEST)
def test_a_table_that_counts_otherwise_ends_where_the_model_fails(
    name, unnamed, score, tmp_path, tokenizer, monkeypatch
):
    """All take 32 tokens; tables and configurations say 32, 33 or 34."""
    if unnamed:
        monkeypatch.setattr(guest_scorer, "POSITION_TABLES", ())
    folder = save_guest(tmp_path / name, LONGEST[name], tokenizer)
    [result] = score(f"hf:{folder}", lengths=[16, 32, 33, 34, 64], max_tokens=200)
    assert list(result.numbers) == [16, 32]
    for length in (33, 34, 64):
        reason = f"with {length} tokens the model fails" if unnamed else "the model looks its positions up in "
        assert result.rows[length]["error"].startswith(f"too long: {reason}")
    if not unnamed:
        assert result.checkpoint.seq_len == 32


def test_a_length_above_the_stated_one_that_the_model_takes_is_scored(score, tmp_path, tokenizer):
    folder = save_guest(tmp_path / "opt", LONGEST["opt"], tokenizer)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_positions": 16}))
    [result] = score(f"hf:{folder}", lengths=[16, 32], max_tokens=200)
    assert list(result.numbers) == [16, 32]


def test_bf16_is_another_file_with_other_numbers(score, tmp_path, tokenizer):
    folder = save_guest(tmp_path / "guest", CONFIGS["bloom"], tokenizer)
    [wide], [narrow] = (score(f"hf:{folder}", lengths=[16], precision=precision) for precision in ("fp32", "bf16"))
    assert narrow.path.name.endswith("-bf16.json")
    assert narrow.rows[16]["nll_nats"] == pytest.approx(wide.rows[16]["nll_nats"], rel=0.02)
    assert narrow.rows[16]["nll_nats"] != wide.rows[16]["nll_nats"]


def test_pickled_weights_are_read_for_their_numbers(score, tmp_path, tokenizer):
    folder = save_guest(tmp_path / "guest", CONFIGS["gpt2"], tokenizer)
    [safe] = score(f"hf:{folder}", lengths=[16])
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    [pickled] = score(f"hf:{folder}", lengths=[16])
    assert pickled.rows[16]["nll_nats"] == safe.rows[16]["nll_nats"]
    torch.save({**weights, "more": pytest.approx(1)}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="transformers cannot load it"):
        score(f"hf:{folder}", lengths=[16])


def test_beside_runs_it_takes_their_text_and_is_compared_per_word_and_byte(small_run, tmp_path, tokenizer, cache):
    outputs = tmp_path / "outputs"
    train(small_run(max_steps=1), outputs / "run")
    folder = save_guest(tmp_path / "guest", CONFIGS["gpt2"], tokenizer)
    results = evaluated([str(outputs / "run"), f"hf:{folder}"], outputs, cache, lengths=[16])
    comparison = compare(results)
    [part] = comparison.sets
    assert part.comparable == ["word_perplexity", "bits_per_byte"]
    assert {line.label for line in part.lines} == {"alibi L=16", "gpt2 L=64"}
    assert "gpt2 L=64" in comparison_text(comparison)
    assert results[1].folder.name.startswith("hf-guest-")
    assert results[1].folder.parent == results[0].folder.parent


def test_a_guest_of_which_nothing_is_known_stands_in_every_table(score, tmp_path, tokenizer):
    folder = save_guest(tmp_path / "guest", CONFIGS["bloom"], tokenizer)
    results = score(f"hf:{folder}", lengths=[16, 32], stride=[None, 4])
    comparison = compare(results)
    assert results[0].checkpoint.seq_len is None
    assert "nothing says at which length the model was trained" in comparison_text(comparison)
    assert "bloom" in render_page(comparison)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "has no config.json"),
        (lambda f: [p.unlink() for p in f.glob("tokenizer*")], "has no tokenizer"),
        (lambda f: (f / "model.safetensors").unlink(), "has no weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b"no"), "transformers cannot load it"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), "transformers cannot load its tokenizer"),
        (lambda f: (f / "config.json").write_text("{"), "transformers knows no such model"),
        (lambda f: (f / "config.json").write_text('{"model_type": "new", "auto_map": {}}'), "knows no such model"),
        (lambda f: CLIPConfig().save_pretrained(f), "transformers cannot load it .*CLIPConfig"),
    ],
)
def test_what_is_no_model_with_a_tokenizer_is_refused(change, message, score, tmp_path, tokenizer):
    folder = save_guest(tmp_path / "guest", CONFIGS["gpt2"], tokenizer)
    change(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        score(f"hf:{folder}")


def test_a_model_that_sees_later_tokens_is_refused(score, tmp_path, tokenizer):
    """BERT is among the models that AutoModelForCausalLM loads, and is none unless it is told so."""
    config = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=300
    )
    save_guest(tmp_path / "bert", config, tokenizer)
    with pytest.raises(ValueError, match=r"BertLMHeadModel is no causal language model .* later tokens"):
        score(f"hf:{tmp_path / 'bert'}")
    config.is_decoder = True
    save_guest(tmp_path / "decoder", config, tokenizer)
    [result] = score(f"hf:{tmp_path / 'decoder'}", lengths=[16])
    assert result.numbers


def test_a_decoder_that_reads_an_encoder_is_refused(score, tmp_path, tokenizer):
    config = BartConfig(
        d_model=32, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=64, decoder_ffn_dim=64, vocab_size=300,
        encoder_attention_heads=2, decoder_attention_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    BartForConditionalGeneration(config).save_pretrained(tmp_path / "bart")
    tokenizer.save_pretrained(tmp_path / "bart")
    with pytest.raises(ValueError, match=r"is a bart that reads an encoder's states.* no language model"):
        score(f"hf:{tmp_path / 'bart'}")
    half = GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=300, add_cross_attention=True)
    save_guest(tmp_path / "half", half, tokenizer)
    with pytest.raises(ValueError, match=r"is a gpt2 that reads an encoder's states"):
        score(f"hf:{tmp_path / 'half'}")
    save_guest(tmp_path / "alone", config, tokenizer)  # a BartForCausalLM, which was one from the start
    [result] = score(f"hf:{tmp_path / 'alone'}", lengths=[16, 65], max_tokens=100)
    assert list(result.numbers) == [16]


def test_weights_without_an_output_layer_are_refused(score, tmp_path, tokenizer):
    config = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=300,
        is_decoder=True,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match=r"would be random numbers"):
        score(f"hf:{tmp_path / 'bert'}")


def test_a_tokenizer_of_another_model_is_refused(score, tmp_path, raw_lines):
    config = GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=200)
    save_guest(tmp_path / "guest", config, make_tokenizer(raw_lines["train"]))
    with pytest.raises(ValueError, match=r"its tokenizer has 300 ids and the model 200"):
        score(f"hf:{tmp_path / 'guest'}")


def test_an_id_without_a_network_is_one_message(score, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConnectionError, match=r"the hub did not give hf:no/such-model .*runs=hf:FOLDER"):
        score("hf:no/such-model")
    with pytest.raises(FileNotFoundError, match=r"hf:\./nowhere does not exist"):
        score("hf:./nowhere")


def test_settings_that_do_not_go_with_a_guest_are_refused(score, tmp_path, tokenizer):
    folder = save_guest(tmp_path / "gpt2", CONFIGS["gpt2"], tokenizer)
    with pytest.raises(ValueError, match=r"no text of its own.*data=wikitext103"):
        score(f"hf:{folder}", text=OtherText())
    with pytest.raises(ValueError, match=r"eval.cached is for this project's own"):
        score(f"hf:{folder}", cached=True)


def test_without_transformers_it_says_what_to_install(score, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"runs=hf:x needs transformers .*pip install transformers"):
        score("hf:x")


def test_a_tokenizer_puts_no_space_before_a_line_and_reads_special_tokens_as_text(raw_lines):
    tokenizer = make_tokenizer(raw_lines["train"])
    plain = GuestTokenizer(tokenizer).encode(["found\n", f"a {END} b\n"])
    assert tokenizer.eos_token_id not in plain[1]
    assert plain[0] == tokenizer("found\n")["input_ids"]
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=True)])
    assert tokenizer("found\n")["input_ids"] != plain[0]
    assert GuestTokenizer(tokenizer).encode(["found\n"]) == plain[:1]
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("x")])
    assert GuestTokenizer(tokenizer).encode(["found\n"]) == plain[:1]
    tokenizer.bos_token = tokenizer.eos_token = None
    with pytest.raises(ValueError, match="neither a bos nor an eos token"):
        GuestTokenizer(tokenizer)
