"""A stack with ALiBi, decoder or encoder, for use with your own embeddings."""

from dataclasses import dataclass

from torch import Tensor, nn

from alibi.model.initialise import draw_seed, initialise
from alibi.model.model_config import ModelConfig
from alibi.model.transformer import Transformer
from alibi.settings import check_kinds


@dataclass
class ALiBiConfig:
    """
    Attributes:
        num_layers: number of blocks.
        d_model: width of input and output.
        num_heads: attention heads; any number that divides d_model.
        max_len: the intended training length; not a limit, longer input works.
        dropout: on what each sub-layer adds to the residual stream, and on the input.
        causal: a decoder; False makes an encoder with the symmetric bias.
        expansion_factor: width of the feed-forward layer over d_model.
    """

    num_layers: int = 6
    d_model: int = 256
    num_heads: int = 8
    max_len: int = 256
    dropout: float = 0.1
    causal: bool = True
    expansion_factor: int = 1

    def __post_init__(self) -> None:
        check_kinds(self)
        for name in ("max_len", "expansion_factor"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least 1.")


class ALiBiTransformer(nn.Module):
    """Pre-norm transformer with ALiBi and a final norm.

    Raises:
        ValueError: sizes below 1, heads that do not divide d_model, dropout outside [0, 1).
    """

    def __init__(self, config: ALiBiConfig) -> None:
        super().__init__()
        if not isinstance(config, ALiBiConfig):
            raise ValueError(f"config ({config!r}) must be an ALiBiConfig; LanguageModel takes a ModelConfig.")
        self.config = config
        shape = ModelConfig(
            position={"name": "alibi"},
            num_layers=config.num_layers,
            d_model=config.d_model,
            num_heads=config.num_heads,
            d_ff=config.expansion_factor * config.d_model,
            causal=config.causal,
            dropout=config.dropout,
        )
        self.transformer = Transformer(shape)
        initialise(self, draw_seed(), config.num_layers)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """
        Args:
            x: (batch, seq, d_model), any seq from 1 up.
            padding_mask: (batch, seq) bool, True where a token is padding; no other token sees it.

        Returns:
            (batch, seq, d_model).

        Raises:
            ValueError: wrong width, no tokens, or a mask of another shape or type.
        """
        return self.transformer(x, padding_mask=padding_mask)
