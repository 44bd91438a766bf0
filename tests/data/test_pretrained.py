"""tokenizer=pretrained: a tokenizer.json of somebody else, line by line, with its end-of-text token found or named."""

import json

import pytest
import tokenizers as hf
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from alibi.data import TokenizerConfig, tokenizer_from_json
from alibi.data.pretrained import load_pretrained

LINES = ["a few words\n", " and then some more, naïve 🦞\n", "\n", "without a line end"]


@pytest.fixture
def folder(tmp_path):
    """A byte-level tokenizer that puts a space and a begin token before a text, as many do."""

    def make(end: str = "<|endoftext|>", stated: object = None):
        tokenizer = hf.Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<first>", end], initial_alphabet=alphabet)
        tokenizer.train_from_iterator(LINES * 3, trainer)
        tokenizer.post_processor = processors.TemplateProcessing(single="<first> $A", special_tokens=[("<first>", 0)])
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        if stated is not None:
            (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": stated}))
        return tmp_path

    return make


def test_lines_are_encoded_as_in_the_middle_of_a_text(folder):
    tokenizer = load_pretrained(str(folder()), None)
    ids = tokenizer.encode(LINES)
    assert [tokenizer.decode(line) for line in ids] == LINES
    assert all(0 not in line for line in ids), "no begin token"
    theirs = hf.Tokenizer.from_file(str(folder() / "tokenizer.json"))
    assert theirs.encode(LINES[0]).ids != ids[0], "a whole text has a space and a token before it"
    assert tokenizer.uncovered_bytes(LINES) == 0


@pytest.mark.parametrize("where", ["", "tokenizer.json"])
def test_a_folder_or_its_file_is_the_same_and_survives_json(where, folder):
    tokenizer = load_pretrained(str(folder() / where), None)
    again = tokenizer_from_json(tokenizer.to_json())
    assert (again.sha256, again.end_of_text, again.vocab_size) == (tokenizer.sha256, 1, 300)
    assert again.encode(LINES) == tokenizer.encode(LINES)


@pytest.mark.parametrize(
    ("end", "stated", "named"),
    [
        ("<|endoftext|>", None, None),  # a usual name
        ("</s>", None, None),
        ("<done>", "<done>", None),  # stated by its own settings, in either form
        ("<done>", {"content": "<done>"}, None),
        ("<done>", None, "<done>"),  # named by the user
    ],
)
def test_the_end_of_text_is_found_or_named(end, stated, named, folder):
    tokenizer = load_pretrained(str(folder(end, stated)), named)
    assert (tokenizer.end_of_text, tokenizer.first_input) == (1, 1)


def test_what_cannot_be_used_is_refused_by_name(folder, tmp_path):
    path = str(folder("<done>"))
    with pytest.raises(
        ValueError, match=r"its files name none; name one of its tokens by tokenizer\.end_of_text=TOKEN"
    ):
        load_pretrained(path, None)
    with pytest.raises(ValueError, match=r"and <end> is not in its vocabulary; name one of its tokens"):
        load_pretrained(path, "<end>")
    with pytest.raises(FileNotFoundError, match=r"\(/no/such/file\) is no file or folder here, and no hub id"):
        load_pretrained("/no/such/file", None)
    settings = tmp_path / "tokenizer_config.json"
    settings.write_text("{broken")
    with pytest.raises(ValueError, match=r"tokenizer_config\.json is not JSON"):
        load_pretrained(path, None)
    settings.write_text("[1, 2]")
    with pytest.raises(ValueError, match="its files name none"):
        load_pretrained(path, None)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json is no tokenizer"):
        load_pretrained(path, None)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer\.json; tokenizer\.save_pretrained"):
        load_pretrained(path, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "pretrained"}, r"needs tokenizer\.path"),
        ({"name": "pretrained", "path": ""}, r"needs tokenizer\.path"),
        ({"name": "pretrained", "path": "gpt2", "end_of_text": ""}, r"tokenizer\.end_of_text \(\) must be one of"),
        ({"name": "bpe", "path": "gpt2"}, r"tokenizer\.path \(gpt2\) would be ignored by bpe"),
        ({"name": "word", "end_of_text": "</s>"}, r"tokenizer\.end_of_text \(</s>\) would be ignored by word"),
        ({"name": "pretrained", "path": "gpt2", "vocab_size": 500}, r"tokenizer\.vocab_size \(500\) would be ignored"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TokenizerConfig(**settings)


def test_what_was_trained_before_keeps_its_place_in_the_cache():
    assert TokenizerConfig("bpe", 512).key == {"name": "bpe", "vocab_size": 512}
