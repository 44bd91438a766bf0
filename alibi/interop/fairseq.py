"""The ALiBi authors' checkpoints, of their fork of fairseq, as our model.

A checkpoint is a pickle. Only tensors, plain values and `argparse.Namespace`, which holds its settings,
are read from it; whatever would be run on loading is refused. Tensors are read from the file one at a
time. Every one of them is used, checked to be a copy of one that is, or known to hold no weight.

Nothing in such a file says how positions enter: the authors' code is ALiBi, and is taken at its word.

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

from alibi.interop.fairseq_names import NO_WEIGHTS, fairseq_copies, fairseq_name, layers_in
from alibi.model import LanguageModel, ModelConfig

ARCHITECTURE = "transformer_lm"
# What the architecture has that we hold in one way only. What is false or 0 here may be absent there.
WANTED = {
    "adaptive_input": True,
    "tie_adaptive_weights": True,
    "tie_adaptive_proj": True,
    "activation_fn": "relu",
    "decoder_normalize_before": True,
    "no_decoder_final_norm": True,
    "decoder_learned_pos": False,
    "share_decoder_input_output_embed": False,
    "character_embeddings": False,
    "no_scale_embedding": False,
    "layernorm_embedding": False,
    "base_layers": 0,
    "quant_noise_pq": 0,
    "quant_noise_scalar": 0,
}
SAME = [
    ("adaptive_softmax_cutoff", "adaptive_input_cutoff"),
    ("adaptive_softmax_factor", "adaptive_input_factor"),
    ("decoder_input_dim", "decoder_embed_dim"),
    ("decoder_output_dim", "decoder_embed_dim"),
]
SHAPE = {
    "num_layers": "decoder_layers",
    "d_model": "decoder_embed_dim",
    "num_heads": "decoder_attention_heads",
    "d_ff": "decoder_ffn_embed_dim",
    "adaptive_factor": "adaptive_input_factor",
}
RATES = {
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
    "adaptive_dropout": "adaptive_softmax_dropout",
}


@dataclass(frozen=True)
class FairseqCheckpoint:
    """
    Attributes:
        settings: of the model and of its training, by fairseq's names.
        tensors: by fairseq's names; what is not touched stays in the file.
        updates: done when it was saved.
    """

    path: Path
    settings: dict
    tensors: dict[str, Tensor]
    updates: int

    @property
    def vocab_size(self) -> int:
        """Ids, the four special symbols counted."""
        words = re.compile(r"decoder\.embed_tokens\.embeddings\.\d+\.0\.weight")
        return sum(len(tensor) for name, tensor in self.tensors.items() if words.fullmatch(str(name)))

    @property
    def seq_len(self) -> int:
        """Length trained at."""
        return self._number("tokens_per_sample")

    def model_config(self) -> ModelConfig:
        """
        Raises:
            ValueError: another architecture, naming what it has that ours has not.
        """
        told = self.settings
        name = told.get("arch") or told.get("_name")
        if not str(name).startswith(ARCHITECTURE):
            raise self._other(f"its architecture is {name}, and not {ARCHITECTURE}...")
        for key, wanted in WANTED.items():
            if told.get(key, None if wanted else wanted) != wanted:
                raise self._other(f"{key} is {told.get(key, 'not set')}, and must be {wanted}")
        for one, other in SAME:
            if told.get(one) != told.get(other):
                raise self._other(f"{one} ({told.get(one)}) is not {other} ({told.get(other)})")
        try:
            cutoffs = [int(cutoff) for cutoff in str(told.get("adaptive_input_cutoff")).split(",")]
        except ValueError as error:
            raise self._other(f"adaptive_input_cutoff is {told.get('adaptive_input_cutoff')}") from error
        shape = {ours: self._number(theirs) for ours, theirs in SHAPE.items()}
        rates = {ours: float(told.get(theirs) or 0.0) for ours, theirs in RATES.items()}
        return ModelConfig(
            position={"name": "alibi"},
            activation="relu",
            bias=True,
            final_norm=False,
            adaptive_cutoffs=cutoffs,
            **shape,
            **rates,
        )

    def load_model(self) -> LanguageModel:
        """The model with the checkpoint's weights, in float32.

        Raises:
            ValueError: another architecture, or a tensor that is missing, unused, of another shape, not finite,
                or not the copy it should be.
        """
        config = self.model_config()
        if (found := layers_in(self.tensors)) != config.num_layers:
            raise self._other(f"decoder_layers is {config.num_layers}, and it has {found}")
        with torch.device("meta"):  # shapes alone: the numbers come from the file
            model = LanguageModel(config, self.vocab_size, seed=0)
        parameters = dict(model.named_parameters())
        names = {name: fairseq_name(name) for name in parameters}
        copies = {copy: name for name in names.values() for copy in fairseq_copies(name)}
        self._check_names({*names.values(), *copies})
        for ours, parameter in parameters.items():
            weight = self._weight(names[ours], parameter.shape)
            module, _, leaf = ours.rpartition(".")
            setattr(model.get_submodule(module), leaf, nn.Parameter(weight))
        for copy, name in copies.items():
            if not torch.equal(self.tensors[copy], self.tensors[name]):
                raise ValueError(f"{self.path}: {copy} is not the copy of {name} that tied weights are.")
        return model.eval()

    def _check_names(self, wanted: set[str]) -> None:
        for what, names in {
            "lacks": wanted - self.tensors.keys(),
            "has": self.tensors.keys() - wanted - NO_WEIGHTS,
        }.items():
            if names:
                first, more = sorted(names)[0], f" and {len(names) - 1} more" if len(names) > 1 else ""
                known = "which this architecture needs" if what == "lacks" else "which this architecture does not use"
                raise self._other(f"it {what} {first}{more}, {known}")

    def _weight(self, name: str, shape: Iterable[int]) -> Tensor:
        tensor = self.tensors[name]
        if tuple(tensor.shape) != tuple(shape):
            raise self._other(f"{name} is {tuple(tensor.shape)} in it, and {tuple(shape)} by its settings")
        if not tensor.is_floating_point():
            raise self._other(f"{name} holds {tensor.dtype}, which no weights are")
        weight = tensor.to(torch.float32)
        if not weight.isfinite().all():
            raise ValueError(f"{self.path}: {name} holds numbers that are not finite; fetch the checkpoint again.")
        return weight.contiguous()

    def _number(self, name: str) -> int:
        value = self.settings.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self._other(f"{name} is {value if name in self.settings else 'not set'}")
        return value

    def _other(self, why: str) -> ValueError:
        return ValueError(
            f"{self.path} is not a checkpoint of the ALiBi authors' WikiText-103 models: {why}. Give one of theirs, "
            "as the README says."
        )


def read_fairseq_checkpoint(path: Path) -> FairseqCheckpoint:
    """A checkpoint as it lies there; no code in it is run, and tensors are mapped, not read.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it holds code, is damaged, or is no checkpoint of fairseq.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"names {named[1]}, which" if named else "holds something that"
        raise ValueError(
            f"{path} is not loaded: it {what} is neither a tensor, a plain value nor argparse.Namespace, and loading "
            "it might run code. Fetch it again from its authors."
        ) from error
    except Exception as error:  # bytes that are no pickle end in any of them
        if getattr(error, "filename", None):  # not there, or not to be opened
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} is cut short or no checkpoint ({reason}).") from error
    told = content if isinstance(content, dict) else {}
    cfg, tensors, history = told.get("cfg"), told.get("model"), told.get("optimizer_history")
    settings = cfg.get("model") if isinstance(cfg, dict) else told.get("args")
    settings = vars(settings) if isinstance(settings, argparse.Namespace) else settings
    if not isinstance(settings, dict) or not isinstance(tensors, dict) or not tensors:
        raise ValueError(f"{path} is no checkpoint of fairseq: it has no settings, or no tensors under `model`.")
    if not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise ValueError(f"{path} is no checkpoint of fairseq: not all that it has under `model` are tensors.")
    last = history[-1] if isinstance(history, list) and history else {}
    updates = last.get("num_updates") if isinstance(last, dict) else None
    if not isinstance(updates, int) or updates < 0:
        raise ValueError(f"{path} is no checkpoint of fairseq: its optimizer_history has no num_updates.")
    return FairseqCheckpoint(path, settings, tensors, updates)


def read_fairseq_dictionary(path: Path) -> list[str]:
    """Words of a fairseq dictionary in the order of their ids, which begin after the four special symbols.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a line that is not a word and its count.
    """
    words = []
    with open(path, encoding="utf-8", newline="\n") as file:
        try:
            for number, line in enumerate(file, start=1):
                word, _, count = line.rstrip().rpartition(" ")
                if not word or not count.isdecimal():
                    raise ValueError(f"{path}, line {number}, is not a word and its count; give fairseq's dict.txt.")
                words.append(word)
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 ({error.reason}); give fairseq's dict.txt.") from error
    return words
