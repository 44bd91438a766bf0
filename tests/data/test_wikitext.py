"""WikiText as the classic files: which form is taken, what is missing, published counts, where articles begin."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alibi.data import DataConfig, Tokenizer, TokenizerConfig, open_text, prepare_tokenizer, prepare_tokens
from alibi.data.tokenizer_config import TRAINED
from alibi.data.wikitext import FILE_SPLIT, mark_articles


def test_a_folder_with_neither_layout_is_told_both(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        open_text(DataConfig("wikitext2", str(tmp_path)), "validation", False)
    for name in (str(tmp_path), "wiki.valid.raw", "wikitext-2-raw-v1/validation-*.parquet", "wikitext-2-v1/"):
        assert name in str(caught.value)


def test_words_take_the_tokens_form_and_others_the_raw_one(corpus: Path) -> None:
    for split in FILE_SPLIT:
        for words, form in ((True, "tokens"), (False, "raw")):
            text = open_text(DataConfig("wikitext2", str(corpus)), split, words)
            assert text.form == form
            assert text.paths == (corpus / f"wiki.{FILE_SPLIT[split]}.{form}",)


@pytest.mark.parametrize("lacking", FILE_SPLIT.values())
def test_raw_is_taken_only_where_every_split_has_it(corpus: Path, lacking: str) -> None:
    (corpus / f"wiki.{lacking}.raw").unlink()
    forms = {open_text(DataConfig("wikitext2", str(corpus)), split, False).form for split in FILE_SPLIT}
    assert forms == {"tokens"}


def test_a_missing_file_is_named_with_what_is_there(corpus: Path) -> None:
    (corpus / "wiki.valid.tokens").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        open_text(DataConfig("wikitext2", str(corpus)), "validation", True)
    assert f"data.path ({corpus}) has no file for validation of wikitext2; it needs wiki.valid.t" in str(caught.value)
    assert "wiki.test.raw, wiki.test.tokens, wiki.train.raw, wiki.train.tokens, wiki.valid.raw." in str(caught.value)
    # The other form is complete, and not touched by it.
    assert open_text(DataConfig("wikitext2", str(corpus)), "validation", False).form == "raw"
    (corpus / "wiki.test.raw").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"it needs wiki\.valid\.raw or wiki\.valid\.t.*if train, valid and test all"
    ):
        open_text(DataConfig("wikitext2", str(corpus)), "validation", False)


@pytest.mark.parametrize(("split", "words", "documents"), [("validation", 217_646, 60), ("test", 245_569, 60)])
@pytest.mark.parametrize("form", ["raw", "tokens"])
@pytest.mark.parametrize("tokenizer", ["bpe", "word", "byte"])
def test_official_counts(wikitext, tmp_path, raw_lines, split, words, documents, form, tokenizer) -> None:
    for s in FILE_SPLIT.values():  # one text for all splits, so that the form is complete
        os.symlink(wikitext / f"wiki.{FILE_SPLIT[split]}.{form}", tmp_path / f"wiki.{s}.{form}")
    if form == "raw" and tokenizer == "word":
        for s in FILE_SPLIT.values():
            os.symlink(wikitext / f"wiki.{FILE_SPLIT[split]}.raw", tmp_path / f"wiki.{s}.tokens")
    # The counts are the text's: a tokenizer that never saw it will do.
    foreign = TRAINED[tokenizer].train(raw_lines["train"], 300 if tokenizer == "bpe" else None)
    check_counts(tmp_path, "wikitext2", split, foreign, words, documents)


def check_counts(folder: Path, name: str, split: str, tokenizer: Tokenizer, words: int, documents: int) -> None:
    kind, cache = tokenizer.name, folder / "cache"
    text = open_text(DataConfig(name, str(folder)), split, kind == "word")
    tokens = prepare_tokens(text, tokenizer, cache, quiet=True)
    assert tokens.num_words == words
    assert tokens.num_bytes == sum(len(line.encode()) for line, _ in text.lines())
    assert len(np.fromfile(tokens.path / "documents.bin", np.uint32)) == documents
    if kind == "word":
        assert len(tokens) == words
    if kind == "byte":
        assert len(tokens) == tokens.num_bytes


@pytest.mark.parametrize("split", ["validation", "test"])
def test_official_counts_of_wikitext_103s_word_form(wikitext, tmp_path, raw_lines, split: str) -> None:
    for path in (wikitext / "wikitext-103").glob("wiki.*.tokens"):
        os.symlink(path, tmp_path / path.name.replace(".slice", ""))
    foreign = TRAINED["word"].train(raw_lines["train"], None)
    check_counts(tmp_path, "wikitext103", split, foreign, {"validation": 217_646, "test": 245_569}[split], 60)


def test_official_counts_of_wikitext_2_train(wikitext: Path, cache: Path) -> None:
    text = open_text(DataConfig("wikitext2", str(wikitext)), "train", True)
    tokenizer = prepare_tokenizer(TokenizerConfig("word"), text, cache, quiet=True)
    assert tokenizer.vocab_size == 33_280
    tokens = prepare_tokens(text, tokenizer, cache, quiet=True)
    assert len(tokens) == tokens.num_words == 2_088_628
    assert text.share(tokens) is None
    assert replace(text, name="wikitext103").share(tokens).endswith("wikitext103 as published has 1,801,350")
    assert len(np.fromfile(tokens.path / "documents.bin", np.uint32)) == 600
    for split, words in (("validation", 217_646), ("test", 245_569)):
        held_out = open_text(DataConfig("wikitext2", str(wikitext)), split, True)
        encoded = prepare_tokens(held_out, tokenizer, cache, quiet=True)
        assert len(encoded) == encoded.num_words == words
        assert held_out.share(encoded) is None
        # WikiText-2's own vocabulary: nothing of its validation and test is unknown but what the text calls so.
        said = sum(line.split().count("<unk>") for line, _ in held_out.lines())
        assert int((encoded.tokens == tokenizer.ids["<unk>"]).sum()) == said


def test_another_number_of_lines_than_the_published_one_is_told(corpus: Path, cache: Path) -> None:
    text = open_text(DataConfig("wikitext2", str(corpus)), "validation", True)
    tokens = prepare_tokens(text, TRAINED["word"]([]), cache, quiet=True)
    assert text.share(tokens) == f"validation: {tokens.num_lines} lines; wikitext2 as published has 3,760"
    cut = tokens.cut(100)
    assert text.share(cut) == f"validation: {cut.num_lines} lines; wikitext2 as published has 3,760"


def test_published_splits_are_not_put_together(corpus: Path) -> None:
    with pytest.raises(ValueError, match="wikitext2 is scored in its published splits, validation and test"):
        open_text(DataConfig("wikitext2", str(corpus)), "all", False)


def starts(lines: list[str]) -> list[int]:
    return [index for index, (_, begins) in enumerate(mark_articles(lines)) if begins]


def test_articles_begin_at_headings_between_blank_lines() -> None:
    lines = [" \n", " = One = \n", " \n", " text \n", " \n", " = Two = \n", " \n", " = = Part = = \n", " \n"]
    # The first article begins with the text, not with its heading.
    assert starts(lines) == [0, 5]


def test_a_text_that_begins_in_the_middle_of_an_article_begins_there() -> None:
    assert starts([" text \n", " \n", " = One = \n", " \n", " text \n", " \n", " = Two = \n", " \n"]) == [0, 6]


@pytest.mark.parametrize(
    "legend",
    [
        [" text \n", " = Legend = \n", " \n"],
        [" \n", " = Legend = \n", " text \n"],
        [" \n", " = = Section = = \n", " \n"],
        [" \n", " = half a heading \n", " \n"],
    ],
)
def test_what_looks_like_a_heading_begins_no_article(legend: list[str]) -> None:
    first = [" \n", " = One = \n", " \n", " text \n"]
    assert starts(first + legend) == [0]
    assert starts([*first, " \n", " = Two = \n", " \n"]) == [0, 5]


def test_no_line_is_lost_or_added() -> None:
    for lines in ([], [" \n"], [" = One = \n"], [" \n", " = One = \n", " \n"]):
        assert [line for line, _ in mark_articles(lines)] == lines
