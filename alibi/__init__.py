"""A laboratory for length extrapolation, and ALiBi for your own training loop.

from alibi import ALiBiConfig, ALiBiTransformer
model = ALiBiTransformer(ALiBiConfig())
model(torch.randn(2, 512, 256)).shape  # (2, 512, 256)
"""

from alibi.environment import lend_home
from alibi.evaluation.text_perplexity import perplexity
from alibi.generation import generate
from alibi.model import ALiBiConfig, ALiBiTransformer, LanguageModel, ModelConfig, adapt
from alibi.runs import load_model, load_tokenizer

__version__ = "0.1.0"
__all__ = [
    "ALiBiConfig",
    "ALiBiTransformer",
    "LanguageModel",
    "ModelConfig",
    "adapt",
    "generate",
    "load_model",
    "load_tokenizer",
    "perplexity",
]

lend_home()  # before the libraries that look for one are imported
