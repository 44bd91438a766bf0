"""A tokenizer of transformers as one of ours: line by line, with the tokens that begin and end a text."""

import json

from alibi.data.pretrained import LineTokenizer


class GuestTokenizer(LineTokenizer):
    """
    Args:
        tokenizer: as transformers loaded it.

    Attributes:
        first_input: begins the stream: the begin-of-text token, else the one that the tokenizer puts before a text,
            else the end-of-text token.
        end_of_text: closes a document: the same two, in the other order.

    Raises:
        ValueError: it has neither token, or is not one of the `tokenizers` library.
    """

    def __init__(self, tokenizer) -> None:
        if not tokenizer.is_fast:
            raise ValueError(f"its tokenizer ({type(tokenizer).__name__}) is a slow one; save it as a tokenizer.json.")
        begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
        if begin is None:
            letter = tokenizer("a", return_special_tokens_mask=True)
            begin = letter["input_ids"][0] if letter["special_tokens_mask"][:1] == [1] else end
        if begin is None:
            raise ValueError("its tokenizer has neither a bos nor an eos token; name one in tokenizer_config.json.")
        content = json.loads(tokenizer.backend_tokenizer.to_str())
        super().__init__(content, begin, begin if end is None else end)
        # A word tokenizer reads WikiText's `.tokens`, as ours does.
        self.name = "word" if content["model"]["type"] == "WordLevel" else "hf"
