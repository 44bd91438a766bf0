"""From text to integers: corpora, tokenizers, token files, training order, evaluation windows.

Imports leaves only. The model sees nothing from here but ids.
"""

from alibi.data.corpora import DataConfig, open_text
from alibi.data.documents import TooFewDocuments
from alibi.data.order import Cursor, TrainingOrder
from alibi.data.prepare import prepare_tokenizer, prepare_tokens
from alibi.data.token_file import TokenFile
from alibi.data.tokenizer_config import LATER_SETTINGS, TokenizerConfig, tokenizer_from_json
from alibi.data.tokenizers import Tokenizer
from alibi.data.windows import Window, read_windows, window_batches
