"""A causal language model of transformers as a scorer: ids and targets in, nats out.

    nats = -log softmax(logits)[target], for as many targets at once as fit

A model is probed before it is used: whether it sees later tokens, and whether its hidden states through its output
layer are its logits; if not, all logits of a window must exist at once. Every pass begins from the same state, so that
a window is scored as if it were the only one: a dynamic rotary table keeps the frequencies of the longest input so far,
longrope switches between two sets in place, other models keep a recurrent state or change their kind of attention.

Legend: B batch, L tokens, S scored tokens, T scored tokens of a batch, D width, V vocabulary.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from alibi.environment import autocast
from alibi.files import one_line
from alibi.model.output import nats_in_chunks, tokens_per_chunk

# Names of the tables that models look positions up in, and of settings that state the length a model is meant for.
POSITION_TABLES = ("wpe", "embed_positions", "position_embeddings", "position_embedding", "pos_emb")
STATED_LENGTHS = ("train_seq_len", "n_positions", "max_position_embeddings", "max_seq_len", "seq_length", "n_ctx")
PROBE_TOKENS = 12
SAME = 1e-4  # of the largest logit


class GuestScorer:
    """
    Args:
        model: a causal language model of transformers, in evaluation mode, on its device.
        precision: fp32 or bf16; as for our models, bf16 is for products, not for weights.

    Raises:
        ValueError: the model sees later tokens.
    """

    @torch.inference_mode()
    def __init__(self, model: nn.Module, precision: str) -> None:
        self.model, self.precision = model, precision
        model.config.use_cache = False
        # MPT makes its bias this wide, and has no other limit.
        self.bias_width = model.config.max_seq_len if model.config.model_type == "mpt" else None
        self.table, self.table_length = position_table(model)
        self.longest = 0  # length known to work
        # Every pass begins from the state after one token, since some models change in their first pass: RWKV divides
        # its weights in it, and BigBird gives up an attention that sees later tokens.
        model(torch.zeros(1, 1, dtype=torch.long, device=model.device))
        self.state = GuestState(model)
        self.splits = self._probe()

    @torch.inference_mode()
    def nats(self, input_ids: Tensor, target_ids: Tensor, first_scored: int) -> Tensor:
        """See `Scorer`; (B, S) nats, float32."""
        with autocast(self.model.device, self.precision):
            if self.splits:
                states, head = self._run(input_ids, hidden=True), self.model.get_output_embeddings()
            else:
                states, head = self._run(input_ids), nn.Identity()
            size = tokens_per_chunk(self.model.get_input_embeddings().weight)
            scored = states[:, first_scored:].flatten(0, 1)
            return nats_in_chunks(scored, target_ids.flatten(), head, size).view_as(target_ids)

    @torch.inference_mode()
    def why_not(self, length: int) -> str | None:
        """Why inputs of this length cannot be scored; None if they can. Found by a pass, whatever is stated."""
        if self.bias_width or length <= self.longest:
            return None
        if self.table_length and length > self.table_length:  # not tried: a wrong index leaves a GPU unusable
            has = f"{self.table}, which has {self.table_length}; {length} are needed"
            return f"too long: the model looks its positions up in {has}"
        # Not the id of padding, which some models give no position.
        word = int(getattr(self.model.config.get_text_config(), "pad_token_id", None) == 0)
        ids = torch.full((1, length), word, device=self.model.device)
        try:
            self.nats(ids, ids[:, -1:], length - 1)
        except (IndexError, RuntimeError, ValueError, MemoryError) as error:
            if isinstance(error, MemoryError) or "memory" in str(error).lower():  # scoring reports it itself
                return None
            return f"too long: with {length:,} tokens the model fails ({one_line(error)})"
        self.longest = length
        return None

    def _run(self, input_ids: Tensor, hidden: bool = False) -> Tensor:
        """Logits, or the hidden states before the output layer, of a model that sees these inputs alone."""
        self.state.restore()
        if self.bias_width:
            self.model.config.max_seq_len = max(self.bias_width, input_ids.shape[1])
        return self.model.base_model(input_ids).last_hidden_state if hidden else self.model(input_ids).logits

    def _probe(self) -> bool:
        """Whether hidden states through the output layer are the logits.

        Raises:
            ValueError: earlier logits change with a later token.
        """
        head = self.model.get_output_embeddings()
        length = min(PROBE_TOKENS, self.table_length or PROBE_TOKENS)
        ids = torch.arange(length, device=self.model.device)[None] % self.model.get_input_embeddings().weight.shape[0]
        other = ids.clone()
        other[:, -1] = 0
        logits = self._run(ids)
        scale = SAME * logits.abs().max().item()
        changed = (self._run(other) - logits)[:, :-1].abs()
        if changed.numel() and changed.max().item() > scale:
            name = type(self.model).__name__
            raise ValueError(f"{name} is no causal language model as configured: predictions change with later tokens.")
        # Some models add a bias to the logits, scale them or cap them after the layer.
        if not isinstance(head, nn.Linear) or self.model.base_model is self.model or not math.isfinite(scale):
            return False
        return (head(self._run(ids, hidden=True)) - logits).abs().max().item() <= scale / 10


class GuestState:
    """The state of a model at the time of construction, which a forward pass may change.

    Which attributes these are depends on architecture and release, so all are reset: attributes, buffers and submodules
    of every module. Weights and configurations stay the same objects.
    """

    def __init__(self, model: nn.Module) -> None:
        self.saved = [(vars(module), _copied(vars(module))) for module in model.modules()]

    def restore(self) -> None:
        """Put the model back into that state."""
        for attributes, saved in self.saved:
            attributes.clear()
            attributes.update(_copied(saved))


def _copied(value: Any) -> Any:
    """A copy of containers and tensors; weights, modules, configurations and anything else as they are."""

    def leaf(inner: Any) -> Any:
        if isinstance(inner, Tensor) and not isinstance(inner, nn.Parameter):
            return inner.clone()
        return inner.copy() if isinstance(inner, set) else inner

    return tree_map(leaf, value)


def stated_length(config: object) -> tuple[int | None, str | None]:
    """The length that a configuration says its model was made for, and the setting that says so."""
    config = config.get_text_config()
    stated = [(getattr(config, name, None), name) for name in STATED_LENGTHS]
    return next(((value, name) for value, name in stated if isinstance(value, int) and value > 0), (None, None))


def position_table(model: nn.Module) -> tuple[str | None, int | None]:
    """Name of the table that positions are looked up in, and its number of positions; None if there is none."""
    modules = {name: module for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    for name, table in {**modules, **dict(model.named_buffers())}.items():
        weight = table if isinstance(table, Tensor) else table.weight
        if name.split(".")[-1] in POSITION_TABLES and weight.dim() == 2:
            # OPT and BART have an offset, RoBERTa and its kin count from after the padding.
            padding = getattr(table, "padding_idx", None)
            return name, len(weight) - getattr(table, "offset", 0 if padding is None else padding + 1)
    return None, None
