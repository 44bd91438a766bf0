"""The model: everything around a position method. Imports `positions`, never `data`."""

from alibi.model.adaptation import Adaptation, adapt, same_weights
from alibi.model.adaptation_parts import TRUNCATION, masked, shift_invariant
from alibi.model.alibi_transformer import ALiBiConfig, ALiBiTransformer
from alibi.model.cache import KeyValueCache
from alibi.model.language_model import LanguageModel, ParameterCount
from alibi.model.model_config import ModelConfig, nearest_divisor
from alibi.model.output import IGNORED
