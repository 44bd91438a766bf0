"""Tokenizers: what they lose (nothing, but for words), how ids are given, what is saved."""

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alibi.data import Tokenizer, TokenizerConfig, tokenizer_from_json
from alibi.data.tokenizer_config import TRAINED
from alibi.data.tokenizers import BytePairTokenizer, ByteTokenizer, WordTokenizer

ANY_LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"))
MARK = "<|endoftext|>"


@pytest.fixture(scope="module")
def trained(raw_lines) -> dict[str, Tokenizer]:
    return {
        "bpe": BytePairTokenizer.train(raw_lines["train"], 400),
        "word": WordTokenizer.train(raw_lines["train"], None),
        "byte": ByteTokenizer.train(raw_lines["train"], None),
    }


@pytest.mark.parametrize("name", ["bpe", "byte"])
@given(line=ANY_LINE, end=st.sampled_from(["", "\n"]))
def test_any_line_comes_back(trained: dict[str, Tokenizer], name: str, line: str, end: str) -> None:
    tokenizer = trained[name]
    (ids,) = tokenizer.encode([line + end])
    assert tokenizer.decode(ids) == line + end
    assert tokenizer.end_of_text not in ids
    assert all(0 <= i < tokenizer.vocab_size for i in ids)


def test_a_whole_text_comes_back(trained: dict[str, Tokenizer], raw_lines) -> None:
    for name in ("bpe", "byte"):
        ids = [i for line in trained[name].encode(raw_lines["test"]) for i in line]
        assert trained[name].decode(ids) == "".join(raw_lines["test"])
    assert len([i for line in trained["bpe"].encode(raw_lines["test"]) for i in line]) < len("".join(raw_lines["test"]))


@pytest.mark.parametrize("name", ["bpe", "word", "byte"])
@given(lines=st.lists(ANY_LINE.map(lambda line: line + "\n"), min_size=1, max_size=8), cut=st.integers(0, 8))
def test_ids_do_not_depend_on_how_the_text_is_cut(trained, name: str, lines: list[str], cut: int) -> None:
    encode = trained[name].encode
    whole = encode(lines)
    assert encode(lines[:cut]) + encode(lines[cut:]) == whole
    assert [encode([line])[0] for line in lines] == whole


@pytest.mark.parametrize("lines", [[f"a {MARK} b\n"], [MARK], [f"{MARK}{MARK}\n", "x\n"]])
def test_the_name_of_end_of_text_in_a_text_is_text(trained: dict[str, Tokenizer], lines: list[str]) -> None:
    for tokenizer in (trained["bpe"], tokenizer_from_json(trained["bpe"].to_json())):
        encoded = tokenizer.encode(lines)
        assert [tokenizer.decode(ids) for ids in encoded] == lines
        assert all(tokenizer.end_of_text not in ids for ids in encoded)
    # Control: left to itself the library would take it for the token.
    library = trained["bpe"].tokenizer.from_str(trained["bpe"].to_json())
    assert trained["bpe"].end_of_text in library.encode(lines[0], add_special_tokens=False).ids


def test_end_of_text_in_the_training_text_is_not_learned_as_the_token() -> None:
    tokenizer = BytePairTokenizer.train([f"{MARK} {MARK}\n"] * 50, 300)
    (ids,) = tokenizer.encode([f"{MARK}\n"])
    assert tokenizer.end_of_text not in ids
    assert tokenizer.decode(ids) == f"{MARK}\n"


@pytest.mark.parametrize("name", ["bpe", "word", "byte"])
def test_saved_and_loaded_it_is_the_same(trained: dict[str, Tokenizer], raw_lines, name: str) -> None:
    tokenizer = trained[name]
    loaded = tokenizer_from_json(tokenizer.to_json())
    assert type(loaded) is type(tokenizer)
    assert loaded.to_json() == tokenizer.to_json()
    assert loaded.sha256 == tokenizer.sha256 == hashlib.sha256(tokenizer.to_json().encode()).hexdigest()
    assert (loaded.vocab_size, loaded.end_of_text) == (tokenizer.vocab_size, tokenizer.end_of_text)
    lines = [*raw_lines["test"], f"unseen {MARK} ¿qué? \r\x85\n"]
    assert loaded.encode(lines) == tokenizer.encode(lines)


def test_training_gives_the_same_tokenizer_each_time(raw_lines) -> None:
    for name, size in (("bpe", 350), ("word", None), ("word", 20)):
        hashes = {TRAINED[name].train(iter(raw_lines["train"]), size).sha256 for _ in range(3)}
        assert len(hashes) == 1
    other = [BytePairTokenizer.train(raw_lines[split], 350).sha256 for split in ("train", "test")]
    assert other[0] != other[1]


def test_bpe_has_as_many_ids_as_asked_for(raw_lines) -> None:
    for size in (257, 258, 300, 400):
        tokenizer = BytePairTokenizer.train(raw_lines["train"], size)
        assert tokenizer.vocab_size == size
    # A text too small for more: what it gives, and no error.
    assert BytePairTokenizer.train(["ab\n"], 1000).vocab_size <= 258 + 1


def test_bytes_are_bytes() -> None:
    tokenizer = ByteTokenizer()
    assert tokenizer.encode(["é\n", "\0"]) == [[0xC3, 0xA9, 10], [0]]
    assert (tokenizer.vocab_size, tokenizer.end_of_text) == (257, 256)
    assert tokenizer.decode([104, 105, 256, 33]) == "hi!"


def test_words_get_ids_by_falling_count_then_code_point() -> None:
    lines = ["b b b Z a é\n", "\n", "b c c a Z <unk> <unk> <unk> <unk>\n"]
    tokenizer = WordTokenizer.train(lines, None)
    assert tokenizer.words == ["<s>", "<pad>", "</s>", "<unk>", "b", "Z", "a", "c", "é"]
    assert tokenizer.vocab_size == 9
    assert tokenizer.encode(lines) == [[4, 4, 4, 5, 6, 8, 2], [2], [4, 7, 7, 6, 5, 3, 3, 3, 3, 2]]


def test_unseen_words_are_unknown_and_a_line_ends_where_the_text_has_an_end() -> None:
    tokenizer = WordTokenizer.train(["a b\n"], None)
    assert tokenizer.encode([" a zebra b \n", " \n", "\n", "a"]) == [[4, 3, 5, 2], [2], [2], [4]]
    assert tokenizer.end_of_text == tokenizer.ids["</s>"] == 2
    assert tokenizer.ids["<unk>"] == 3


@pytest.mark.parametrize("name", TRAINED)
def test_a_prompt_goes_on_where_it_ends(trained: dict[str, Tokenizer], name: str) -> None:
    tokenizer = trained[name]
    whole = [i for line in tokenizer.encode([" the lobster \n", " was found \n"]) for i in line]
    assert tokenizer.encode_prompt(" the lobster \n was found \n") == whole
    begun = tokenizer.encode_prompt(" the lobster \n was found")
    assert begun == whole[: len(begun)]
    assert tokenizer.end_of_text != begun[-1], "no line end that nobody typed"
    assert tokenizer.encode_prompt("") == []
    (line,) = tokenizer.encode(["one\rline\u2028only"])
    assert tokenizer.encode_prompt("one\rline\u2028only") == line


def test_a_word_vocabulary_keeps_the_commonest() -> None:
    lines = ["a a a b b c\n"]
    tokenizer = WordTokenizer.train(lines, 6)
    assert tokenizer.words[4:] == ["a", "b"]
    assert tokenizer.encode(lines) == [[4, 4, 4, 5, 5, 3, 2]]


def test_word_ids_are_what_counting_the_file_gives(wikitext) -> None:
    lines = (wikitext / "wiki.valid.tokens").read_bytes().decode().split("\n")[:-1]
    tokenizer = WordTokenizer.train([f"{line}\n" for line in lines], None)
    counts = {}
    for line in lines:
        for word in line.split(" "):
            counts[word] = counts.get(word, 0) + 1
    counts.pop("")
    del counts["<unk>"]
    assert set(tokenizer.words[4:]) == set(counts)
    for one, other in pairwise(tokenizer.words[4:]):
        assert (-counts[one], one) < (-counts[other], other)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "char"}, r"tokenizer.name \(char\) must be one of: bpe, word, byte"),
        ({"name": "byte", "vocab_size": 300}, r"vocab_size \(300\) would be ignored by byte"),
        ({"name": "bpe", "vocab_size": 256}, r"vocab_size \(256\) must be from 257 to .* for bpe"),
        ({"name": "word", "vocab_size": 4}, r"vocab_size \(4\) must be from 5 to .* for word"),
        ({"name": "word", "vocab_size": 0}, r"vocab_size \(0\) must be from 5 to .* for word"),
    ],
)
def test_impossible_sizes_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenizerConfig(**settings)


def test_sizes_that_are_left_open() -> None:
    assert TokenizerConfig("bpe").vocab_size == 8192
    assert TokenizerConfig("word").vocab_size is None
    assert TokenizerConfig("byte").vocab_size is None
    assert TokenizerConfig("bpe", 257).vocab_size == 257
    assert TokenizerConfig("word", 5).vocab_size == 5


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"kind": "char"}',
        '{"kind": "word"}',
        '{"kind": "word", "words": ["a", "a"]}',
        '{"kind": "word", "words": ["<unk>"]}',
        '{"model": {"type": "BPE"}}',
        '{"model": {"type": "WordPiece"}}',
    ],
)
def test_other_files_are_no_tokenizers(content: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        tokenizer_from_json(content)


@pytest.mark.parametrize(("multiple", "made_up"), [(8, 2), (1, 0), (2, 0), (3, 0), (7, 1)])
def test_words_are_padded_as_fairseq_does(multiple: int, made_up: int) -> None:
    config = TokenizerConfig("word", pad_to_multiple_of=multiple)
    tokenizer = config.train(["a b a\n"])
    assert tokenizer.words[4:] == ["a", "b", *(f"madeupword{n:04d}" for n in range(made_up))]
    assert tokenizer_from_json(tokenizer.to_json()).sha256 == tokenizer.sha256
    assert tokenizer.encode(["a b c\n"]) == [[4, 5, 3, 2]]


def test_a_made_up_word_that_the_text_has_is_left_out() -> None:
    tokenizer = TokenizerConfig("word", pad_to_multiple_of=4).train(["madeupword0001 a a\n"])
    assert tokenizer.words[4:] == ["a", "madeupword0001", "madeupword0000", "madeupword0002"]


def test_without_padding_a_tokenizer_is_what_it_was() -> None:
    config = TokenizerConfig("word")
    assert config.key == {"name": "word", "vocab_size": None}
    assert config.train(["a b a\n"]).to_json() == WordTokenizer.train(["a b a\n"], None).to_json()
    assert TokenizerConfig("word", pad_to_multiple_of=8).key != config.key


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "bpe", "pad_to_multiple_of": 8}, r"tokenizer.pad_to_multiple_of \(8\) would be ignored by bpe"),
        ({"name": "byte", "pad_to_multiple_of": 8}, r"would be ignored by byte"),
        ({"name": "word", "pad_to_multiple_of": 0}, r"tokenizer.pad_to_multiple_of \(0\) must be from 1 to"),
    ],
)
def test_padding_that_cannot_be_is_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenizerConfig(**values)
