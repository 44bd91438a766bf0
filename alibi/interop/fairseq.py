"""The ALiBi authors' checkpoints, from their fork of fairseq, as our model.

A checkpoint is a pickle. It is read weights-only: tensors, plain values and the `argparse.Namespace` of its settings;
anything that would run code is refused. Tensors are mapped, not read at once. Each is used, or checked to be a copy of
one that is, or known to hold no weight.

The file does not say how positions enter. The authors' code is ALiBi, so that is assumed.

Source: github.com/ofirpress/attention_with_linear_biases; its `transformer_lm_wiki103` for WikiText-103.
"""

import argparse
import pickle
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from alibi.data.text import read_lines
from alibi.faults import one_line
from alibi.interop.weight_names import FAIRSEQ_NO_WEIGHTS, fairseq_names
from alibi.model import LanguageModel, ModelConfig

ARCHITECTURE = "transformer_lm"
# Settings of the architecture that our model can have in one way only; what is off or 0 may be missing in the file.
ON = (
    "adaptive_input", "tie_adaptive_weights", "tie_adaptive_proj", "decoder_normalize_before", "no_decoder_final_norm",
)  # fmt: skip
OFF = (
    "decoder_learned_pos", "share_decoder_input_output_embed", "character_embeddings", "no_scale_embedding",
    "layernorm_embedding", "base_layers", "quant_noise_pq", "quant_noise_scalar",
)  # fmt: skip
WANTED = {"activation_fn": "relu", **dict.fromkeys(ON, True), **dict.fromkeys(OFF, False)}
SAME = [
    ("adaptive_softmax_cutoff", "adaptive_input_cutoff"),
    ("adaptive_softmax_factor", "adaptive_input_factor"),
    ("decoder_input_dim", "decoder_embed_dim"),
    ("decoder_output_dim", "decoder_embed_dim"),
]
RATES = ("dropout", "attention_dropout", "activation_dropout")


@dataclass(frozen=True)
class FairseqCheckpoint:
    """
    Attributes:
        settings: of the model and of its training, by fairseq's names.
        tensors: by fairseq's names.
        updates: number done when it was saved.
    """

    path: Path
    settings: dict
    tensors: dict[str, Tensor]
    updates: int

    @property
    def vocab_size(self) -> int:
        """Ids, the four special symbols included."""
        words = re.compile(r"decoder\.embed_tokens\.embeddings\.\d+\.0\.weight")
        return sum(len(tensor) for name, tensor in self.tensors.items() if words.fullmatch(name))

    @property
    def seq_len(self) -> int:
        """Training length."""
        return self._number("tokens_per_sample")

    def model_config(self) -> ModelConfig:
        """
        Raises:
            ValueError: another architecture, naming the setting that differs.
        """
        settings, number = self.settings, self._number
        name = settings.get("arch") or settings.get("_name")
        if not str(name).startswith(ARCHITECTURE):
            raise self._other(f"its architecture is {name}, and not {ARCHITECTURE}...")
        for key, wanted in WANTED.items():
            if (value := settings.get(key, "not set" if wanted else False)) != wanted:
                raise self._other(f"{key} is {value}, and must be {wanted or 'off'}")
        for one, other in SAME:
            if settings.get(one) != settings.get(other):
                raise self._other(f"{one} ({settings.get(one)}) is not {other} ({settings.get(other)})")
        cutoffs = str(settings.get("adaptive_input_cutoff")).split(",")
        if not all(cutoff.isdecimal() for cutoff in cutoffs):
            raise self._other(f"adaptive_input_cutoff is {settings.get('adaptive_input_cutoff')}")
        return ModelConfig(
            position={"name": "alibi"},
            num_layers=number("decoder_layers"),
            d_model=number("decoder_embed_dim"),
            num_heads=number("decoder_attention_heads"),
            d_ff=number("decoder_ffn_embed_dim"),
            activation="relu",
            bias=True,
            final_norm=False,
            adaptive_cutoffs=[int(cutoff) for cutoff in cutoffs],
            adaptive_factor=number("adaptive_input_factor"),
            adaptive_dropout=float(settings.get("adaptive_softmax_dropout") or 0.0),
            **{name: float(settings.get(name) or 0.0) for name in RATES},
        )

    def load_model(self) -> LanguageModel:
        """The model with the checkpoint's weights, in float32.

        Raises:
            ValueError: another architecture, or a tensor that is missing, unused, of another shape, not finite,
                or not the copy it should be.
        """
        config = self.model_config()
        with torch.device("meta"):  # shapes alone: the numbers come from the file
            model = LanguageModel(config, self.vocab_size, seed=0)
        names = fairseq_names(config)
        names = {ours: names[ours] for ours, _ in model.named_parameters()}
        self._check_names({name for theirs in names.values() for name in theirs})
        for ours, (name, *copies) in names.items():
            module, _, leaf = ours.rpartition(".")
            weight = self._weight(name, model.get_parameter(ours).shape)
            setattr(model.get_submodule(module), leaf, nn.Parameter(weight))
            for copy in copies:
                if not torch.equal(self.tensors[copy], self.tensors[name]):
                    raise ValueError(f"{self.path}: {copy} is not the copy of {name} that tied weights are.")
        return model.eval()

    def _check_names(self, wanted: set[str]) -> None:
        if lacking := sorted(wanted - self.tensors.keys()):
            raise self._other(f"it lacks {_first(lacking)}, which this architecture needs")
        if unused := sorted(self.tensors.keys() - wanted - FAIRSEQ_NO_WEIGHTS):
            raise self._other(f"it has {_first(unused)}, which this architecture does not use")

    def _weight(self, name: str, shape: Iterable[int]) -> Tensor:
        tensor = self.tensors[name]
        if tuple(tensor.shape) != tuple(shape):
            raise self._other(f"{name} is {tuple(tensor.shape)} in it, and {tuple(shape)} by its settings")
        weight = tensor.to(torch.float32)
        if not weight.isfinite().all():
            raise ValueError(f"{self.path}: {name} holds numbers that are not finite; fetch the checkpoint again.")
        return weight.contiguous()

    def _number(self, name: str) -> int:
        value = self.settings.get(name, "not set")
        if type(value) is not int or value < 1:
            raise self._other(f"{name} is {value}")
        return value

    def _other(self, why: str) -> ValueError:
        kind = "checkpoint of the ALiBi authors' WikiText-103 models"
        return ValueError(f"{self.path} is not a {kind}: {why}. Give one of theirs, as docs/paper.md says.")


def _first(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def read_fairseq_checkpoint(path: Path) -> FairseqCheckpoint:
    """A checkpoint from its file; no code in it is run, and tensors are mapped, not read.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it holds code, is damaged, or is not fairseq's.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"names {named[1]}, which" if named else "holds something that"
        rule = "is neither a tensor, a plain value nor argparse.Namespace, and might run code"
        raise ValueError(f"{path} is not loaded: it {what} {rule}. Fetch it again from its authors.") from error
    except Exception as error:  # bytes that are no pickle end in any kind
        if getattr(error, "filename", None):  # not there, or not readable
            raise
        raise ValueError(f"{path} is cut short or no checkpoint ({one_line(error)}).") from error
    try:
        settings = content["cfg"]["model"] if content.get("cfg") else content["args"]
        settings = settings if isinstance(settings, dict) else vars(settings)
        updates = content["optimizer_history"][-1]["num_updates"]
        return FairseqCheckpoint(path, settings, content["model"], updates)
    except (LookupError, TypeError, AttributeError) as error:
        needed = "settings under `cfg` or `args`, tensors under `model`, and num_updates in its optimizer_history"
        raise ValueError(f"{path} is no checkpoint of fairseq ({one_line(error)}): it needs {needed}.") from error


def read_fairseq_dictionary(path: Path) -> list[str]:
    """Words of a fairseq dictionary in the order of their ids, which begin after the four special symbols.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a line that is not a word and its count.
    """
    words = []
    for number, line in enumerate(read_lines(path), start=1):
        word, _, count = line.rstrip().rpartition(" ")
        if not word or not count.isdecimal():
            raise ValueError(f"{path}, line {number}, is not a word and its count; give fairseq's dict.txt.")
        words.append(word)
    return words
