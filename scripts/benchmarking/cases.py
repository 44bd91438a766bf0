"""What the benchmark times: one call of a case is one training step, one attention, or one evaluation pass.

Legend: B batch, L length, T tokens, H heads, K head_dim, C queries in a block.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from alibi.config.known import choices
from alibi.config.typed import run_of
from alibi.environment import autocast
from alibi.evaluation import EvaluationSettings, open_evaluation_text
from alibi.model import LanguageModel, ModelConfig
from alibi.model.attention import attend
from alibi.model.layer_position import LayerPosition
from alibi.model.mask import Pass
from alibi.paths import PathsConfig
from alibi.runs import Checkpoint, load_model, resolve_runs
from alibi.training.optimizer import OptimizerConfig, build_optimizer
from benchmarking.peers import PEERS

CPU = torch.device("cpu")
LIMIT = "matrix products alone"
TORCH = "torch's causal attention"
DENSE = " (all keys)"
TRAINED_AT = 512  # what settings that stand for a length are filled from
Work = Callable[[], None]


@dataclass(frozen=True)
class Shape:
    """Of models and of a step: `tokens` in sequences of `length`, one sequence where the length is above it."""

    layers: int
    d_model: int
    heads: int
    vocab_size: int
    tokens: int
    length: int
    precision: str = "fp32"

    @property
    def batch(self) -> int:
        return max(1, self.tokens // self.length)

    @property
    def step_tokens(self) -> int:
        return self.batch * self.length

    def config(self, method: str) -> ModelConfig:
        """The model of this shape with a method or pattern of configs/model, as if it was trained at length 512."""
        sizes = {"num_layers": self.layers, "d_model": self.d_model, "num_heads": self.heads}
        settings = [f"model.{name}={value}" for name, value in sizes.items()]
        return run_of([f"model={method}", f"train.seq_len={TRAINED_AT}", "data=stdlib", *settings]).model

    def ids(self) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(self.vocab_size, (self.batch, self.length + 1), generator=generator)
        return ids[:, :-1], ids[:, 1:]


def build_model(name: str, shape: Shape, run: str | None = None) -> nn.Module:
    """Ours by the name of its method, its weights those of `run` where one is given; or another project's."""
    method = name.removesuffix(DENSE)
    if method in PEERS:
        return PEERS[method](shape.layers, shape.d_model, shape.heads, shape.vocab_size, shape.length)
    model = load_model(run) if run else LanguageModel(shape.config(method), shape.vocab_size, seed=0)
    model.transformer.skip_far_keys = not name.endswith(DENSE)
    return model


def train_step(name: str, shape: Shape) -> Work:
    """Forward, backward, clip and AdamW of `shape.step_tokens` tokens."""
    if name == LIMIT:
        return matrix_products(shape)
    model = build_model(name, shape).train()
    if isinstance(model, LanguageModel):
        optimizer = build_optimizer(OptimizerConfig(), model)
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    input_ids, target_ids = shape.ids()

    def step() -> None:
        with autocast(CPU, shape.precision):
            nats = model.total_nats(input_ids, target_ids)
        (nats / shape.step_tokens).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def evaluation_pass(name: str, shape: Shape, run: str | None = None) -> Work:
    """Nats of `shape.step_tokens` targets, in windows of the length."""
    model = build_model(name, shape, run).eval()
    input_ids, target_ids = shape.ids()
    if run is not None:  # a trained model on its own text, not on random ids
        input_ids, target_ids = text_of(run, shape)

    @torch.inference_mode()
    def score() -> None:
        with autocast(CPU, shape.precision):
            model.nll(input_ids, target_ids)

    return score


def text_of(run: str, shape: Shape) -> tuple[torch.Tensor, torch.Tensor]:
    """The first windows of the validation split of a run."""
    checkpoint = Checkpoint(resolve_runs(run, Path("outputs"))[0])
    text = open_evaluation_text(checkpoint, checkpoint.data_config, EvaluationSettings(), Path(PathsConfig().cache))
    if shape.step_tokens > len(text.tokens):
        raise ValueError(f"--lengths has {shape.length}, above the {len(text.tokens)} validation tokens of {run}.")
    parts = text.tokens.inputs(0, shape.step_tokens), text.tokens.targets(0, shape.step_tokens)
    return tuple(torch.from_numpy(part).view(shape.batch, shape.length) for part in parts)


def attention(name: str, shape: Shape) -> Work:
    """Forward and backward of the attention of one block, projections not included."""
    B, L, H = shape.batch, shape.length, shape.heads
    K, dtype = shape.d_model // H, torch.bfloat16 if shape.precision == "bf16" else torch.float32
    generator = torch.Generator().manual_seed(0)
    q, k, v, grad = (torch.randn(B, L, H, K, generator=generator).to(dtype).transpose(1, 2) for _ in range(4))
    leaves, own = [t.requires_grad_() for t in (q, k, v)], []
    skip = not name.endswith(DENSE)
    if name != TORCH:
        stack = build_model(name, replace(shape, vocab_size=2)).transformer
        method, layer = stack.method_of(0), stack.blocks[0].layer
        own = list(method.parameters())
    x = torch.randn(B, L, shape.d_model, generator=generator)
    of = Pass(torch.arange(L), torch.arange(L), skip_far_keys=skip)

    def step() -> None:
        if name == TORCH:
            out = scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            position = LayerPosition(method, layer, of)
            out = attend(*position.turned(q, k), v, position.scores(x, 0, None, 0), K**-0.5)
        out.backward(grad)
        for leaf in leaves + own:
            leaf.grad = None

    return step


def matrix_products(shape: Shape) -> Work:
    """The products of a training step and nothing else, into memory that is there already.

    Three for each linear layer, and six for attention (two forward, four backward) over the keys that a
    causal block of 256 queries sees, in the blocks that our attention uses.
    """
    T, D, C = shape.step_tokens, shape.d_model, 256
    dtype = torch.bfloat16 if shape.precision == "bf16" else torch.float32
    linear = [(D, D)] * 4 + [(D, 4 * D), (4 * D, D)]
    rows = min(T, 512)  # of the output layer at once
    layers = [_three_products(T, *size, dtype) for size in linear]
    output = _three_products(rows, D, shape.vocab_size, dtype)
    N, K, L = shape.batch * shape.heads, D // shape.heads, shape.length
    q, k, v = (torch.randn(N, L, K, dtype=dtype) for _ in range(3))
    blocks = [(start, min(start + C, L)) for start in range(0, L, C)]
    weights = torch.empty(N * C * L, dtype=dtype)

    def attention_products() -> None:
        for start, stop in blocks:
            rows, keys, values = q[:, start:stop], k[:, :stop], v[:, :stop]
            scores = weights[: N * (stop - start) * stop].view(N, stop - start, stop)
            for _ in range(2):  # q k^T and the gradient of the weights; weights v and the gradient of q
                torch.bmm(rows, keys.transpose(1, 2), out=scores)
                torch.bmm(scores, values)
            for _ in range(2):  # the gradients of k and of v
                torch.bmm(scores.transpose(1, 2), rows)

    def step() -> None:
        for _ in range(shape.layers):
            for products in layers:
                products()
            attention_products()
        for _ in range(T // rows):
            output()

    return step


def _three_products(rows: int, inputs: int, outputs: int, dtype: torch.dtype) -> Work:
    x, weight, grad = (torch.randn(*size, dtype=dtype) for size in ((rows, inputs), (outputs, inputs), (rows, outputs)))
    y, dx, dweight = torch.empty_like(grad), torch.empty_like(x), torch.empty_like(weight)

    def products() -> None:
        torch.mm(x, weight.T, out=y)
        torch.mm(grad, weight, out=dx)
        torch.mm(grad.T, x, out=dweight)

    return products


SECTIONS: dict[str, Callable[..., Work]] = {
    "attention": attention,
    "train": train_step,
    "evaluation": evaluation_pass,
}


def known_names() -> list[str]:
    return [*choices("model"), *PEERS, LIMIT, TORCH]
