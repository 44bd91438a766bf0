"""Our ALiBi models as transformers' `MptForCausalLM`, an implementation of ALiBi by other hands.

MPT is pre-norm, without biases, with an exact GELU of four times the width. It adds m * j to the
scores, in rows of `max_seq_len` numbers; the softmax makes that -m * (i - j), but float32 loses
digits as j grows (2e-5 on a logit of unit size at 2,048).

`transformers` is not among the project's requirements: only what is here needs it.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from alibi.model import LanguageModel
from alibi.positions import LinearBias, Position

if TYPE_CHECKING:
    from transformers import MptForCausalLM


def to_mpt(model: LanguageModel, max_length: int) -> "MptForCausalLM":
    """An MPT with the weights of `model`, in evaluation mode, on its device and in its dtype.

    Input and output embeddings are two matrices there, also where ours are one: ours are multiplied
    by sqrt(d_model) when read, which MPT's must hold.

    Args:
        max_length: the longest input it will take; only its memory depends on it.

    Raises:
        ValueError: a part of the model that MPT does not have, by name; max_length below 1.
        ImportError: transformers is not installed.
    """
    try:
        from transformers import MptConfig, MptForCausalLM
        from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor
    except ImportError as error:
        raise ImportError(f"to_mpt needs transformers ({error}); pip install transformers.") from error
    if max_length < 1:
        raise ValueError(f"max_length ({max_length}) must be at least 1.")
    shape = model.config
    _check(model, -build_mpt_alibi_tensor(shape.num_heads, 2)[:, 0, 0])
    config = MptConfig(
        d_model=shape.d_model,
        n_heads=shape.num_heads,
        n_layers=shape.num_layers,
        max_seq_len=max_length,
        vocab_size=model.vocab_size,
        tie_word_embeddings=False,
        layer_norm_epsilon=model.transformer.final_norm.eps,
    )
    mpt = MptForCausalLM(config).to(model.device, model.embedding.weight.dtype).eval()
    mpt.load_state_dict(mpt_weights(model), strict=True)
    return mpt.requires_grad_(False)


@torch.no_grad()
def mpt_weights(model: LanguageModel) -> dict[str, Tensor]:
    """Our weights by MPT's names."""
    weights = {
        "transformer.wte.weight": model.embedding.weight * model.config.d_model**0.5,
        "transformer.norm_f.weight": model.transformer.final_norm.weight,
        "lm_head.weight": model.output.weight,
    }
    for number, block in enumerate(model.transformer.blocks):
        attention, feed = block.attention, block.feed_forward
        own = {
            "norm_1.weight": block.attention_norm.weight,
            "attn.Wqkv.weight": torch.cat([attention.query.weight, attention.key.weight, attention.value.weight]),
            "attn.out_proj.weight": attention.output.weight,
            "norm_2.weight": block.feed_forward_norm.weight,
            "ffn.up_proj.weight": feed.up.weight,
            "ffn.down_proj.weight": feed.down.weight,
        }
        weights |= {f"transformer.blocks.{number}.{name}": weight for name, weight in own.items()}
    return weights


def _check(model: LanguageModel, slopes: Tensor) -> None:
    """Refuse what MPT cannot hold.

    Args:
        slopes: (H,) that MPT builds for so many heads.
    """
    shape, position = model.config, model.transformer.position
    bias = position.distance_bias()
    hooks = ("embed", "rotate", "bias")
    other = [hook for hook in hooks if getattr(type(position), hook) is not getattr(Position, hook)]
    if other or not isinstance(bias, LinearBias):
        raise ValueError(
            f"model.position.name ({position.name}) is not what MPT does: a linear bias and no more. No other "
            "architecture of transformers is a model of ours, so runs of this method cannot be written for it."
        )
    if not torch.allclose(torch.tensor(bias.slopes), slopes.cpu(), rtol=1e-6, atol=0):
        raise ValueError(f"the slopes of {position.name} ({bias.slopes}) are not MPT's ({slopes.tolist()}).")
    wanted = {"activation": "gelu", "bias": False, "final_norm": True, "d_ff": 4 * shape.d_model}
    wanted |= {"adaptive_cutoffs": None}
    for name, value in wanted.items():
        if getattr(shape, name) != value:
            raise ValueError(f"model.{name} ({getattr(shape, name)}) must be {value} for MPT, which has no other.")
