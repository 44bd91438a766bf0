"""A checkpoint in the form of the ALiBi authors', written from a model of ours, for tests without the fixture."""

import argparse
from pathlib import Path

import torch

from alibi.interop.fairseq import fairseq_names
from alibi.model import LanguageModel, ModelConfig

WORDS = ["the", ",", "of", "and", "in", "to", "a", "=", "was", "on"]
SETTINGS = {
    "arch": "transformer_lm_wiki103",
    "decoder_layers": 2,
    "decoder_embed_dim": 16,
    "decoder_input_dim": 16,
    "decoder_output_dim": 16,
    "decoder_ffn_embed_dim": 24,
    "decoder_attention_heads": 2,
    "adaptive_input": True,
    "adaptive_input_cutoff": "5,9",
    "adaptive_softmax_cutoff": "5,9",
    "adaptive_input_factor": 2,
    "adaptive_softmax_factor": 2,
    "adaptive_softmax_dropout": 0.2,
    "tie_adaptive_weights": True,
    "tie_adaptive_proj": True,
    "activation_fn": "relu",
    "decoder_normalize_before": True,
    "no_decoder_final_norm": True,
    "dropout": 0.3,
    "attention_dropout": 0.1,
    "activation_dropout": 0.1,
    "tokens_per_sample": 8,
    "seed": 1,
    "data": "data-bin/wikitext-103",
}


def model() -> LanguageModel:
    config = ModelConfig(
        position={"name": "alibi"},
        num_layers=2,
        d_model=16,
        num_heads=2,
        d_ff=24,
        activation="relu",
        bias=True,
        final_norm=False,
        adaptive_cutoffs=[5, 9],
        adaptive_factor=2,
    )
    ours = LanguageModel(config, len(WORDS) + 4, seed=3).eval()
    with torch.no_grad():
        for number, parameter in enumerate(ours.parameters()):  # biases and norms too are of values of their own
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    return ours


def content(settings: dict | None = None) -> dict:
    """What torch.save gets."""
    ours = model()
    names = fairseq_names(ours.config)
    tensors = {theirs: p.detach().clone() for ours, p in ours.named_parameters() for theirs in names[ours]}
    tensors |= {"decoder.version": torch.zeros(1), "decoder.embed_positions._float_tensor": torch.zeros(1)}
    return {
        "args": None,
        "cfg": {"model": argparse.Namespace(**(SETTINGS | (settings or {})))},
        "model": tensors,
        "optimizer_history": [{"num_updates": 12, "optimizer_name": "FairseqNAG"}],
        "extra_state": {"epoch": 1},
        "last_optimizer_state": {"state": {0: torch.ones(4)}},
    }


def write(folder: Path, saved: dict | None = None, words=WORDS) -> tuple[Path, Path]:
    """Checkpoint and dictionary."""
    checkpoint, dictionary = folder / "checkpoint_best.pt", folder / "dict.txt"
    torch.save(saved or content(), checkpoint)
    dictionary.write_text("".join(f"{word} {len(words) - i}\n" for i, word in enumerate(words)), encoding="utf-8")
    return checkpoint, dictionary
