"""Perplexity of a text, for people without Hydra: the windows and sums of evaluate.py, without its files."""

from pathlib import Path

import numpy as np

from alibi.data import TokenFile, Tokenizer
from alibi.evaluation.score import fast_batch_tokens, model_scorer, score
from alibi.evaluation.sums import NatsSum
from alibi.evaluation.sums import perplexity as perplexity_of
from alibi.model import LanguageModel


def perplexity(model: LanguageModel, tokenizer: Tokenizer, text: str, length: int, stride: int | None = None) -> float:
    """Perplexity per token of a text, in fp32; every token is scored once, the first one after an end-of-text token.

    Args:
        model: dropout is off, whatever its mode.
        length: the most tokens that a prediction sees.
        stride: targets scored in a pass; None: the length (nonoverlapping).

    Raises:
        ValueError: an empty text, or a length or stride out of range.
        OverflowError: it is above the largest float, or not a number.
    """
    ids = np.array(tokenizer.encode_prompt(text))
    if not len(ids):
        raise ValueError("the text is empty; give at least one token.")
    if length < 1:
        raise ValueError(f"length ({length}) must be at least 1.")
    stride = length if stride is None else stride
    if not 1 <= stride <= length:
        raise ValueError(f"stride ({stride}) must be from 1 to length ({length}).")
    tokens = TokenFile(Path(), {}, {}, tokenizer.first_input, 0, 0, 0, ids)
    total, batch_tokens, training = NatsSum(), fast_batch_tokens(model.device), model.training
    try:
        scorer = model_scorer(model.eval())
        for _ in score(tokens, length, stride, scorer, [total], model.device, batch_tokens):
            pass
    finally:
        model.train(training)
    return perplexity_of(total.nats, total.tokens)
