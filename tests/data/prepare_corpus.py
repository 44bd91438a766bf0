"""Prepare the generated corpus in a cache, and look into the cache."""

from pathlib import Path

from alibi.data import DataConfig, TokenFile, TokenizerConfig, open_text, prepare_tokenizer, prepare_tokens
from alibi.data.text import Text


def validation(corpus: Path) -> Text:
    return open_text(DataConfig("wikitext2", str(corpus)), "validation", False)


def prepared(corpus: Path, cache: Path, config: TokenizerConfig | None = None) -> TokenFile:
    text = validation(corpus)
    tokenizer = prepare_tokenizer(config or TokenizerConfig("byte"), text, cache, quiet=True)
    return prepare_tokens(text, tokenizer, cache, quiet=True)


def entries(cache: Path, kind: str = "tokens") -> list[Path]:
    """Everything in the cache that is no lock: finished entries and what is not finished."""
    return sorted(p for p in (cache / kind).iterdir() if p.suffix != ".lock")
