"""Decoding: a prompt is continued token by token, greedily or by sampling, with a key/value cache.

There is no maximum length: positions go on past the training length. Shorter prompts of a batch are padded on the
left; positions count from each row's first real token, so that a row gives the same as it would alone.

Legend: B batch, N tokens of the prompt, V vocabulary.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from alibi.model import KeyValueCache, LanguageModel


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn from the logits.

    Attributes:
        temperature: divides the logits; 0 takes the likeliest token (greedy), the first one among equals.
        top_k: draw from this many of the likeliest tokens only.
        top_p: of these, draw from the fewest likeliest whose probabilities sum to at least this.
        generator: CPU generator of the draws; None means torch's global one.

    Raises:
        ValueError: a value out of range, or one that greedy decoding would ignore.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature ({self.temperature}) must be finite and at least 0; 0 is greedy.")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k ({self.top_k}) must be at least 1; leave it out to draw from every token.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p ({self.top_p}) must be above 0 and at most 1; leave it out for all tokens.")
        for name in ("top_k", "top_p", "generator"):
            if self.temperature == 0 and getattr(self, name) is not None:
                raise ValueError(f"{name} would be ignored: temperature is 0, which is greedy; leave {name} out.")

    def draw(self, logits_BV: Tensor) -> Tensor:
        """(B,) ids.

        Raises:
            ValueError: logits that are not finite.
        """
        if not logits_BV.isfinite().all():
            raise ValueError("the model's logits are not finite; its weights or the precision are at fault.")
        if self.temperature == 0:
            return logits_BV.argmax(dim=-1)
        drawn_B1 = torch.multinomial(self.probabilities(logits_BV).cpu(), 1, generator=self.generator)
        return drawn_B1[:, 0].to(logits_BV.device)

    def probabilities(self, logits_BV: Tensor) -> Tensor:
        """(B, V) in float64, of a temperature above 0."""
        logits_BV = logits_BV.double()
        # Subtract the row maximum first, so that a small temperature cannot overflow.
        logits_BV = (logits_BV - logits_BV.amax(dim=-1, keepdim=True)) / self.temperature
        if self.top_k is None and self.top_p is None:
            return logits_BV.softmax(dim=-1)
        falling, order = logits_BV.sort(dim=-1, descending=True, stable=True)
        if self.top_k is not None:
            falling[:, self.top_k :] = -math.inf
        falling = falling.softmax(dim=-1)
        if self.top_p is not None:
            # A token stays if those before it do not reach top_p; the first always does.
            before = falling.cumsum(dim=-1) - falling
            falling = falling.masked_fill(before >= self.top_p, 0.0)
        kept = torch.zeros_like(falling).scatter(-1, order, falling)
        return kept / kept.sum(dim=-1, keepdim=True)


@torch.no_grad()
def generate(
    model: LanguageModel,
    prompt_ids: Tensor,
    num_tokens: int,
    padding_mask: Tensor | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    stop_id: int | None = None,
    use_cache: bool = True,
) -> Tensor:
    """Continue prompts by `num_tokens` tokens.

    Args:
        model: dropout is off, whatever its mode.
        prompt_ids: (B, N) integers.
        padding_mask: (B, N) bool, True where a token is padding, which stands on the left.
        temperature, top_k, top_p, generator: see Sampling.
        stop_id: a row that draws it is finished, and is filled with it.
        use_cache: False computes everything again for each token: the same result, slower.

    Returns:
        (B, N + num_tokens) ids, prompts included.

    Raises:
        ValueError: an empty prompt, ids or settings out of range, padding that is not on the left.
    """
    sampling = Sampling(temperature, top_k, top_p, generator)
    if num_tokens < 0:
        raise ValueError(f"num_tokens ({num_tokens}) must be at least 0.")
    _check_ids(prompt_ids, stop_id, top_k, model.vocab_size)
    N = prompt_ids.shape[1]
    _check_padding(padding_mask, tuple(prompt_ids.shape))
    ids = torch.full((len(prompt_ids), N + num_tokens), stop_id or 0, dtype=torch.long, device=model.device)
    ids[:, :N] = prompt_ids
    finished = torch.zeros(len(ids), dtype=torch.bool, device=model.device)
    cache = KeyValueCache() if use_cache else None
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        for width in range(N, N + num_tokens):
            drawn = sampling.draw(_next_logits(model, ids[:, :width], padding_mask, cache))
            if stop_id is not None:
                drawn = drawn.masked_fill(finished, stop_id)
                finished |= drawn == stop_id
            ids[:, width] = drawn
            if finished.all():
                break
    finally:
        for module in training:
            module.training = True
    return ids


def _next_logits(model: LanguageModel, ids: Tensor, padding: Tensor | None, cache: KeyValueCache | None) -> Tensor:
    """Logits (B, V) of the token after `ids`; a cache holds all of them but the new ones."""
    if cache is not None and len(cache):
        return model(ids[:, len(cache) :], cache=cache)[:, -1]
    positions = None
    if padding is not None:
        padding = torch.nn.functional.pad(padding.to(ids.device), (0, ids.shape[1] - padding.shape[1]))
        positions = ((~padding).cumsum(dim=1) - 1).clamp(min=0)
    return model(ids, positions=positions, padding_mask=padding, cache=cache, first_query=ids.shape[1] - 1)[:, -1]


def _check_ids(prompt_ids: Tensor, stop_id: int | None, top_k: int | None, vocab_size: int) -> None:
    if not isinstance(prompt_ids, Tensor):
        raise ValueError(
            f"prompt_ids are a {type(prompt_ids).__name__}; they must be a tensor: torch.tensor([[5, 7]])."
        )
    shape = tuple(prompt_ids.shape)
    if len(shape) != 2 or 0 in shape or prompt_ids.dtype not in (torch.int32, torch.int64):
        rule = "they must be integers of shape (batch, seq), at least one token: ids[None] is a batch of one"
        raise ValueError(f"prompt_ids are {prompt_ids.dtype} {shape}; {rule}.")
    if wrong := prompt_ids[(prompt_ids < 0) | (prompt_ids >= vocab_size)].tolist():
        raise ValueError(f"prompt_ids hold {wrong[0]}; ids must be at least 0 and below {vocab_size}.")
    if top_k is not None and top_k > vocab_size:
        raise ValueError(f"top_k ({top_k}) must be at most the {vocab_size} ids; leave it out for all.")
    if stop_id is not None and not 0 <= stop_id < vocab_size:
        raise ValueError(f"stop_id ({stop_id}) must be at least 0 and below {vocab_size}.")


def _check_padding(padding_mask: Tensor | None, shape: tuple[int, ...]) -> None:
    if padding_mask is None:
        return
    if padding_mask.dtype != torch.bool or padding_mask.shape != shape:
        raise ValueError(f"padding_mask is {padding_mask.dtype}; it must be bool {shape}, True for padding.")
    if padding_mask[:, -1].any() or (padding_mask[:, 1:] & ~padding_mask[:, :-1]).any():
        raise ValueError("padding_mask has padding after a token, or a row of padding alone; pad on the left.")
