"""Models of transformers with random weights and a small tokenizer, in a folder; and their nats, computed directly."""

from pathlib import Path

import tokenizers as hf
import torch
from evaluations import evaluate_checkpoint
from tokenizers import decoders, models, pre_tokenizers, trainers
from torch.nn import functional as F
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BloomConfig,
    FalconConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    MptConfig,
    PreTrainedTokenizerFast,
)

from alibi.commands.evaluate_command import EvaluateCommand, OtherText, wanted_models, wanted_texts
from alibi.evaluation import EvaluationSettings, open_evaluation_text
from alibi.paths import PathsConfig
from alibi.results import Result, load_results
from alibi.tracking import TrackingConfig

VOCAB = 300
END = "<|endoftext|>"
WIDTH = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def mpt(heads: int) -> MptConfig:
    return MptConfig(d_model=8 * heads, n_heads=heads, n_layers=2, max_seq_len=32, vocab_size=VOCAB)


CONFIGS = {
    "bloom": BloomConfig(hidden_size=48, n_layer=2, n_head=4, vocab_size=VOCAB),
    "mpt-8": mpt(8),
    "mpt-12": mpt(12),
    "gpt_neox": GPTNeoXConfig(**WIDTH, intermediate_size=96, vocab_size=VOCAB, max_position_embeddings=32),
    "gpt2": GPT2Config(n_embd=48, n_layer=2, n_head=4, n_positions=64, vocab_size=VOCAB),
    "falcon": FalconConfig(**WIDTH, alibi=True, vocab_size=VOCAB),
    "llama": LlamaConfig(**WIDTH, intermediate_size=96, vocab_size=VOCAB, max_position_embeddings=32),
    "mamba": MambaConfig(hidden_size=48, num_hidden_layers=2, state_size=4, vocab_size=VOCAB),
}


def make_tokenizer(lines) -> PreTrainedTokenizerFast:
    tokenizer = hf.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END)


def save_guest(folder, config, tokenizer, **how):
    """A model of larger random weights than it begins with, which says more of each part."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "conv" not in name:
                parameter.normal_(std=0.3 if "embed" not in name and "wte" not in name else 1.0)
    model.save_pretrained(folder, **how)
    if tokenizer:
        tokenizer.save_pretrained(folder)
    return folder


def direct_nats(folder, lines, length, max_seq_len=None) -> float:
    """Nats of a text in blocks of `length`, by transformers alone."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    if max_seq_len:
        model.config.max_seq_len = max_seq_len
    ids = [tokenizer.bos_token_id, *(i for line in lines for i in tokenizer(line)["input_ids"])]
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(ids) - 1, length):
            block = torch.tensor([ids[start : start + length + 1]])
            logits = model(block[:, :-1]).logits[0]
            total += F.cross_entropy(logits.double(), block[0, 1:], reduction="sum").item()
    return total


def evaluated(runs, outputs, cache, text=None, precision="fp32", **settings) -> list[Result]:
    """What evaluate.py does, up to the result files."""
    asked = EvaluationSettings(**settings)
    paths = PathsConfig(str(outputs), str(cache))
    command = EvaluateCommand(runs, asked, text or OtherText(), TrackingConfig("disabled"), paths, "cpu", precision)
    models, files = wanted_models(command), []
    for model, data in zip(models, wanted_texts(command, models), strict=True):
        text = open_evaluation_text(model, data, asked, Path(cache))
        print(*text.notes, sep="\n")
        files += evaluate_checkpoint(model, text, asked, precision)
    return load_results(files)
