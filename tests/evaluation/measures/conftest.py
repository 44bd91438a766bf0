from pathlib import Path

import pytest

from alibi.data import DataConfig, TokenFile, TokenizerConfig, open_text, prepare_tokenizer, prepare_tokens


@pytest.fixture
def articles(tmp_path):
    """The token file of a folder of documents, each a list of words on one line, and its tokenizer."""

    def make(*documents: list[str], name: str = "articles") -> tuple[TokenFile, object]:
        folder: Path = tmp_path / name
        folder.mkdir()
        for number, words in enumerate(documents):
            (folder / f"{number:04}.txt").write_text(" ".join(words) + "\n")
        text = open_text(DataConfig("text", str(folder)), "all", words=True)
        tokenizer = prepare_tokenizer(TokenizerConfig("word"), text, tmp_path / "cache", quiet=True)
        return prepare_tokens(text, tokenizer, tmp_path / "cache", quiet=True), tokenizer

    return make
