"""Bytes of a text that no token stands for: counted, marked, and left out of comparisons."""

import json

import pytest
import tokenizers as hf
from guests import CONFIGS, END, evaluated, make_tokenizer, save_guest
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from alibi.analysis import compare
from alibi.commands.evaluate_command import OtherText
from alibi.data.tokenizers import BytePairTokenizer, ByteTokenizer, WordTokenizer
from alibi.interop.export import as_fast_tokenizer
from alibi.interop.guest_tokenizer import GuestTokenizer
from alibi.reporting import comparison_text, results_table
from alibi.reporting.page import render_page
from alibi.reporting.words import number
from alibi.training import train

LINES = [
    " = Article = \n", " Hello  world , the naïve 東京 \n", "def f(x):\n", "\treturn  x - 1 \r\n", "\n",
    "e\u0301clair … ２ ﬁ 🦞\n", " \u00a0x\u200b\n", "no line end",
]  # fmt: skip
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
BYTE_LEVEL, TO_BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
METASPACE, FROM_METASPACE = pre_tokenizers.Metaspace("▁"), decoders.Metaspace("▁")
SENTENCEPIECE = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]


def trained(model, trainer, normalizer=None, pre_tokenizer=None, decoder=None) -> GuestTokenizer:
    tokenizer = hf.Tokenizer(model)
    parts = {"normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "decoder": decoder}
    for name, part in parts.items():
        if part is not None:
            setattr(tokenizer, name, part)
    tokenizer.train_from_iterator(LINES * 3, trainer)
    return GuestTokenizer(PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END))


def byte_level(normalizer=None, pre_tokenizer=BYTE_LEVEL, decoder=TO_BYTES) -> GuestTokenizer:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    return trained(models.BPE(), trainer, normalizer, pre_tokenizer, decoder)


def byte_fallback(normalizer, pre_tokenizer, decoder) -> GuestTokenizer:
    """As Llama's, Mistral's and Gemma's: a small alphabet, and bytes for all else."""
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=["<unk>", *BYTE_TOKENS], limit_alphabet=20, show_progress=False
    )
    model = models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    found = trained(model, trainer, normalizer, pre_tokenizer, decoder)
    content = json.loads(found.to_json()) | {"added_tokens": []}
    backend = hf.Tokenizer.from_str(json.dumps(content))
    return GuestTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<unk>", eos_token="<unk>"))


def unigram(normalizer=None) -> GuestTokenizer:
    trainer = trainers.UnigramTrainer(vocab_size=60, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
    return trained(models.Unigram(), trainer, normalizer, METASPACE, FROM_METASPACE)


def word_piece(normalizer) -> GuestTokenizer:
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]"], show_progress=False)
    model = models.WordPiece(unk_token="[UNK]")
    return trained(model, trainer, normalizer, pre_tokenizers.BertPreTokenizer(), decoders.WordPiece())


LOSSLESS = {
    "byte-level": byte_level,
    "without a decoder": lambda: byte_level(decoder=None),
    "canonical composition, as Pythia's and Qwen's": lambda: byte_level(normalizers.NFC()),
    "a space before the text": lambda: byte_level(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "llama": lambda: byte_fallback(
        normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None,
        decoders.Sequence([*SENTENCEPIECE, decoders.Strip(" ", 1, 0)]),
    ),
    "mistral": lambda: byte_fallback(None, METASPACE, decoders.Sequence([*SENTENCEPIECE, decoders.Strip(" ", 1, 0)])),
    "gemma": lambda: byte_fallback(
        normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"),
        decoders.Sequence(SENTENCEPIECE),
    ),
    "a token of its own for line ends": lambda: byte_level(normalizers.Replace("\n", " </s> ")),
}  # fmt: skip
# Bytes of each line that are left out: 東京 has 6, ï and \u00a0 2, and each compatibility form 3.
LOSSY = {
    "line ends and outer spaces stripped": (
        lambda: byte_level(normalizers.Sequence([normalizers.Replace("\n", " "), normalizers.Strip()])),
        [3, 3, 1, 4, 1, 1, 4, 0],
    ),
    "line ends as spaces": (lambda: byte_level(normalizers.Replace("\n", " ")), [1, 1, 1, 1, 1, 1, 1, 0]),
    "lower case": (lambda: byte_level(normalizers.Lowercase()), [1, 1, 0, 0, 0, 0, 0, 0]),
    "accents": (
        lambda: byte_level(normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])),
        [0, 2, 0, 0, 0, 2, 0, 0],
    ),
    "compatibility forms": (lambda: byte_level(normalizers.NFKC()), [0, 0, 0, 0, 0, 9, 2, 0]),
    "runs of spaces": (lambda: byte_level(normalizers.Replace(Regex(" {2,}"), " ")), [0, 1, 0, 1, 0, 0, 0, 0]),
    "a word piece beside one space": (lambda: word_piece(normalizers.Lowercase()), [2, 3, 1, 4, 1, 1, 3, 0]),
}


def left_out(tokenizer) -> list[int]:
    found = [tokenizer.uncovered_bytes([line]) for line in LINES]
    assert tokenizer.uncovered_bytes(LINES) == sum(found)
    return found


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_tokenizer_that_keeps_the_text_covers_it(name):
    assert left_out(LOSSLESS[name]()) == [0] * len(LINES)


@pytest.mark.parametrize("name", LOSSY)
def test_what_a_tokenizer_drops_or_changes_is_counted(name):
    make, wanted = LOSSY[name]
    assert left_out(make()) == wanted


def test_letters_and_marks_that_word_pieces_drop_are_counted():
    drop = normalizers.Sequence(
        [normalizers.NFD(), normalizers.StripAccents(), normalizers.Replace(Regex("[0-9]"), "")]
    )
    tokenizer = word_piece(drop)
    plain = tokenizer.uncovered_bytes(["the cle of\n"])
    assert tokenizer.uncovered_bytes(["the cle\u0301 12 of\n"]) == plain + len("\u0301".encode()) + len("12")


def test_a_letter_and_its_mark_are_one_character_where_something_else_is_changed():
    """Composition makes one character of two, and only the first has the offsets of its token."""
    alphabet = {token: number for number, token in enumerate([END, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    backend = hf.Tokenizer(models.BPE(alphabet, []))
    backend.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace("X", "x")])
    backend.pre_tokenizer, backend.decoder = BYTE_LEVEL, TO_BYTES
    tokenizer = GuestTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=END, eos_token=END))
    assert tokenizer.uncovered_bytes(["e\u0301clair cafe\u0301\n", "X cafe\u0301\n"]) == 1


def test_a_letter_that_has_no_token_costs_its_own_bytes_and_no_others():
    """BPE without an unknown token drops it in silence, and gives wrong offsets to the tokens behind."""
    letters = sorted(set("abc def\n") - {"d"})
    backend = hf.Tokenizer(models.BPE({token: number for number, token in enumerate([END, *letters])}, []))
    tokenizer = GuestTokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=END, eos_token=END))
    assert tokenizer.uncovered_bytes(["abc def\n", "dad cab\n", "cab\n"]) == 1 + 2


def test_unknown_characters_are_not_covered():
    tokenizer = unigram()
    assert left_out(tokenizer) == [0] * len(LINES), "it has learned them"
    assert tokenizer.uncovered_bytes(["the \u0439\u0446 \U0001f980\n"]) == 4 + 4


@pytest.mark.parametrize("kind", [BytePairTokenizer, ByteTokenizer, WordTokenizer])
def test_ours_and_its_export_leave_out_the_same(kind):
    ours = kind.train(LINES[:3], {"bpe": 300, "word": 12, "byte": None}[kind.name])
    theirs = GuestTokenizer(as_fast_tokenizer(ours, 64))
    assert left_out(ours) == left_out(theirs)
    assert any(left_out(ours)) == (kind is WordTokenizer)


def test_words_leave_out_what_they_do_not_know_and_space_beyond_one_beside_a_word():
    words = WordTokenizer.train([" the model of text \n"], None)
    assert words.uncovered_bytes([" the model \n", "the of\n", "<unk> text\n", "text"]) == 0
    assert words.uncovered_bytes(["the 東京 of\n"]) == 6
    assert words.uncovered_bytes(["  the\tof \r\n"]) == 1 + 1 + 1


@pytest.fixture
def guest(tmp_path, raw_lines):
    def make(name, normalizer=None):
        tokenizer = make_tokenizer(raw_lines["train"])
        if normalizer:
            tokenizer.backend_tokenizer.normalizer = normalizer
        return save_guest(tmp_path / name, CONFIGS["gpt2"], tokenizer)

    return make


@pytest.fixture
def score(tmp_path, corpus, cache, capsys):
    def call(*runs, **settings):
        text = OtherText("wikitext2", str(corpus))
        results = evaluated(list(runs), tmp_path / "outputs", cache, text, **{"lengths": [16]} | settings)
        return results, capsys.readouterr().out

    return call


def test_text_that_is_not_covered_is_marked_and_not_compared(guest, score, small_run, tmp_path):
    train(small_run(max_steps=1), tmp_path / "outputs" / "run")
    lower = guest("lower", normalizers.Replace("A", "a"))
    results, told = score(str(tmp_path / "outputs" / "run"), f"hf:{lower}")
    whole, part = results
    lost = part.data.uncovered_bytes
    assert whole.data.uncovered_bytes == 0
    assert 0 < lost < 0.01 * part.data.bytes
    assert f"text not covered: no token stands for {lost:,} of" in told
    assert part.rows[16]["word_perplexity"] > 1
    assert "word_perplexity" not in part.numbers[16]
    assert "word_perplexity" in whole.numbers[16]
    comparison = compare(results)
    table = results_table(comparison.sets[0], [16])
    cells = [number(result.rows[16]["word_perplexity"]) for result in (whole, part)]
    assert f"{cells[1]}†" in table
    assert f"{cells[0]}†" not in table
    assert "† gpt2 L=64: text not covered" in table
    [found] = comparison.to_dict()["sets"]
    assert [pair["lengths"] for pair in found["pairs"]] == [[]]
    assert found["crossings"] == []
    assert "text not covered by the tokenizer of gpt2 L=64" in found["note"]
    lines = {line["label"]: line["lengths"][0].keys() for line in found["lines"]}
    assert lines == {"alibi L=16": {"length", "word_perplexity", "bits_per_byte"}, "gpt2 L=64": {"length"}}
    for shown in (comparison_text(comparison), render_page(comparison)):
        assert f"{cells[1]}†" in shown
        assert "text not covered: no token stands for" in shown


def test_above_one_per_cent_there_are_no_numbers_per_word_and_byte(guest, score, tmp_path):
    strip = guest("strip", normalizers.Sequence([normalizers.Replace("\n", " "), normalizers.Strip()]))
    [result], told = score(f"hf:{strip}")
    assert result.data.uncovered_bytes > 0.01 * result.data.bytes
    assert "there are no numbers per word and per byte" in told
    assert not {"word_perplexity", "bits_per_byte"} & result.rows[16].keys()
    assert result.rows[16]["interval"].keys() == {"perplexity"}
    assert result.rows[16]["perplexity"] > 1, "per token it is what was scored"
    [part] = compare([result]).sets
    assert "gpt2 L=64: text not covered" in results_table(part, [16])


def test_guests_of_one_such_tokenizer_are_compared_per_token(guest, score):
    folders = [guest(name, normalizers.Lowercase()) for name in ("one", "two")]
    config = json.loads((folders[1] / "config.json").read_text())
    (folders[1] / "config.json").write_text(json.dumps(config | {"layer_norm_epsilon": 0.1}))
    results, _ = score(*(f"hf:{folder}" for folder in folders))
    [found] = compare(results).to_dict()["sets"]
    [pair] = found["pairs"]
    assert pair["lengths"][0].keys() == {"length", "perplexity"}


def test_another_tokenizer_before_the_same_weights_is_another_result(guest, score):
    folder = guest("guest")
    [first], _ = score(f"hf:{folder}")
    content = json.loads((folder / "tokenizer.json").read_text())
    vocab = content["model"]["vocab"]
    vocab["e"], vocab["a"] = vocab["a"], vocab["e"]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    before = first.path.read_text()
    [mended], _ = score(f"hf:{folder}", lengths=[8], reuse=True)
    assert list(mended.rows) == [8], "no row of the other tokenizer"
    assert mended.folder != first.folder
    assert first.path.read_text() == before
    [both], _ = score(f"hf:{folder}", lengths=[16], reuse=True)
    assert list(both.rows) == [8, 16], "the control: the same tokenizer adds its lengths"
    assert both.rows[16]["nll_nats"] != pytest.approx(first.rows[16]["nll_nats"], rel=1e-4)


def test_another_first_input_or_token_between_documents_is_another_result(guest, tmp_path, cache):
    """Both stand in tokenizer_config.json alone: the ids of every line are the same."""
    folder, documents = guest("guest"), tmp_path / "documents"
    documents.mkdir()
    for name in range(20):
        (documents / f"{name}.txt").write_text("the lobster and of a \n" * 9)
    text = OtherText("text", str(documents))
    path, settings = folder / "tokenizer_config.json", json.loads((folder / "tokenizer_config.json").read_text())
    found = []
    for change in ({}, {"eos_token": "a"}, {"bos_token": "a"}):
        path.write_text(json.dumps(settings | change))
        [result] = evaluated(f"hf:{folder}", tmp_path / "outputs", cache, text, lengths=[8 + len(found)], reuse=True)
        assert list(result.rows) == [8 + len(found)]
        found.append(result)
    assert len({result.folder for result in found}) == 3
