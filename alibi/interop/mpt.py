"""Our ALiBi models as transformers' `MptForCausalLM`, an independent implementation of ALiBi.

MPT is pre-norm, without biases, with an exact GELU of four times the width. It adds m * j to the scores, in rows of
`max_seq_len` numbers; the softmax makes that -m * (i - j), but float32 loses digits as j grows (2e-5 on a logit of unit
size at 2,048).
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

    Input and output embeddings are two matrices there even if ours are one.

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
    ours = model.config
    _check(model, -build_mpt_alibi_tensor(ours.num_heads, 2)[:, 0, 0])
    config = MptConfig(
        d_model=ours.d_model,
        n_heads=ours.num_heads,
        n_layers=ours.num_layers,
        max_seq_len=max_length,
        vocab_size=model.vocab_size,
        tie_word_embeddings=False,
        layer_norm_epsilon=model.transformer.final_norm.eps,
    )
    mpt = MptForCausalLM(config).to(model.device, model.embedding.weight.dtype).eval()
    mpt.load_state_dict(mpt_weights(model), strict=True)
    return mpt.requires_grad_(False)


def _check(model: LanguageModel, slopes_H: Tensor) -> None:
    """Refuse what MPT cannot hold.

    Args:
        slopes_H: as MPT makes them for this number of heads.
    """
    ours, position = model.config, model.transformer.position
    bias = position.distance_bias()
    own = any(getattr(type(position), hook) is not getattr(Position, hook) for hook in ("embed", "rotate", "bias"))
    if own or not isinstance(bias, LinearBias):
        message = f"model.position.name ({position.name}) is not what MPT does: a linear bias and no more"
        raise ValueError(f"{message}. No other architecture of transformers can be exported to.")
    if not torch.allclose(torch.tensor(bias.slopes), slopes_H.cpu(), rtol=1e-6, atol=0):
        raise ValueError(f"the slopes of {position.name} ({bias.slopes}) are not MPT's ({slopes_H.tolist()}).")
    wanted = {"activation": "gelu", "bias": False, "final_norm": True, "adaptive_cutoffs": None}
    for name, value in {**wanted, "d_ff": 4 * ours.d_model}.items():
        if getattr(ours, name) != value:
            raise ValueError(f"model.{name} ({getattr(ours, name)}) must be {value} for MPT, which has no other.")


@torch.no_grad()
def mpt_weights(model: LanguageModel) -> dict[str, Tensor]:
    """The weights of a model of ours by MPT's names.

    MPT does not scale embeddings when reading them, so the factor sqrt(d_model) goes into the matrix.
    """
    weights = {
        "transformer.wte.weight": model.embedding.weight * model.config.d_model**0.5,
        "transformer.norm_f.weight": model.transformer.final_norm.weight,
        "lm_head.weight": model.output.weight,
    }
    for number, block in enumerate(model.transformer.blocks):
        attention, feed_forward = block.attention, block.feed_forward
        layer = {
            "norm_1": block.attention_norm.weight,
            "attn.Wqkv": torch.cat([attention.query.weight, attention.key.weight, attention.value.weight]),
            "attn.out_proj": attention.output.weight,
            "norm_2": block.feed_forward_norm.weight,
            "ffn.up_proj": feed_forward.up.weight,
            "ffn.down_proj": feed_forward.down.weight,
        }
        weights |= {f"transformer.blocks.{number}.{name}.weight": weight for name, weight in layer.items()}
    return weights
