"""Language models of other projects, of the shape that a benchmark asks for, to time ours against.

Each is built by its own project's code with random weights, no dropout, the fastest attention that it
offers for the method, and is given the same ids; its logits go into the same cross entropy.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F


class Peer(nn.Module):
    """Logits of another project's model, and what our models are asked for."""

    def __init__(self, model: nn.Module, logits: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self._logits = model, logits

    def nll(self, input_ids: Tensor, target_ids: Tensor) -> Tensor:
        logits = self._logits(self.model, input_ids)
        return F.cross_entropy(logits.flatten(0, 1).float(), target_ids.flatten(), reduction="none")

    def total_nats(self, input_ids: Tensor, target_ids: Tensor) -> Tensor:
        return self.nll(input_ids, target_ids).sum()


def _of_transformers(model: nn.Module) -> Peer:
    return Peer(model, lambda model, ids: model(input_ids=ids, use_cache=False).logits)


def _mpt(layers: int, d_model: int, heads: int, vocab_size: int, length: int) -> Peer:
    from transformers import MptConfig, MptForCausalLM

    config = MptConfig(d_model=d_model, n_heads=heads, n_layers=layers, max_seq_len=length, vocab_size=vocab_size)
    return _of_transformers(MptForCausalLM(config))


def _bloom(layers: int, d_model: int, heads: int, vocab_size: int, length: int) -> Peer:
    from transformers import BloomConfig, BloomForCausalLM

    shape = {"hidden_size": d_model, "n_layer": layers, "n_head": heads, "vocab_size": vocab_size}
    return _of_transformers(BloomForCausalLM(BloomConfig(**shape, hidden_dropout=0.0, attention_dropout=0.0)))


def _gpt_neox(layers: int, d_model: int, heads: int, vocab_size: int, length: int) -> Peer:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    config = GPTNeoXConfig(
        hidden_size=d_model,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * d_model,
        vocab_size=vocab_size,
        max_position_embeddings=length,
        rotary_pct=1.0,
    )
    return _of_transformers(GPTNeoXForCausalLM(config))


def _x_transformers(**method) -> Callable[..., Peer]:
    def build(layers: int, d_model: int, heads: int, vocab_size: int, length: int) -> Peer:
        from x_transformers import Decoder, TransformerWrapper

        decoder = Decoder(dim=d_model, depth=layers, heads=heads, attn_dim_head=d_model // heads, **method)
        model = TransformerWrapper(
            num_tokens=vocab_size, max_seq_len=length, attn_layers=decoder, use_abs_pos_emb=False, tie_embedding=True
        )
        return Peer(model, lambda model, ids: model(ids))

    return build


PEERS: dict[str, Callable[..., Peer]] = {
    "MPT (ALiBi)": _mpt,
    "BLOOM (ALiBi)": _bloom,
    "GPT-NeoX (rotary)": _gpt_neox,
    "x-transformers (ALiBi)": _x_transformers(alibi_pos_bias=True),
    "x-transformers (ALiBi, flash)": _x_transformers(alibi_pos_bias=True, attn_flash=True),
    "x-transformers (rotary, flash)": _x_transformers(rotary_pos_emb=True, attn_flash=True),
    "x-transformers (T5)": _x_transformers(rel_pos_bias=True),
    "x-transformers (none, flash)": _x_transformers(attn_flash=True),
}
