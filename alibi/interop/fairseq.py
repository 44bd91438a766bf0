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
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from alibi.data.text import read_lines
from alibi.files import one_line
from alibi.model import LanguageModel, ModelConfig

ARCHITECTURE = "transformer_lm"
# Settings that no tensor shows; whatever else is not our architecture has other tensors.
WANTED = {"activation_fn": "relu", "decoder_normalize_before": True, "no_scale_embedding": False}
RATES = ("dropout", "attention_dropout", "activation_dropout")
LAYER = {
    "attention_norm": "self_attn_layer_norm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.out_proj",
    "feed_forward_norm": "final_layer_norm",
    "feed_forward.up": "fc1",
    "feed_forward.down": "fc2",
}
# One number each, by which fairseq knows a device or a version.
NO_WEIGHT = re.compile(r"\.(version|_float_tensor)$")


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
        name = str(settings.get("arch") or settings.get("_name"))
        if not name.startswith(ARCHITECTURE):
            raise self._other(f"its architecture is {name}, and not {ARCHITECTURE}...")
        for key, wanted in WANTED.items():
            if (value := settings.get(key, False)) != wanted:
                raise self._other(f"{key} is {value}, and must be {wanted}")
        cutoffs = str(settings.get("adaptive_input_cutoff"))
        if not re.fullmatch(r"\d+(,\d+)*", cutoffs):
            raise self._other(f"adaptive_input_cutoff is {cutoffs}")
        return ModelConfig(
            position={"name": "alibi"},
            num_layers=number("decoder_layers"),
            d_model=number("decoder_embed_dim"),
            num_heads=number("decoder_attention_heads"),
            d_ff=number("decoder_ffn_embed_dim"),
            activation="relu",
            bias=True,
            final_norm=False,
            adaptive_cutoffs=[int(cutoff) for cutoff in cutoffs.split(",")],
            adaptive_factor=number("adaptive_input_factor"),
            adaptive_dropout=float(settings.get("adaptive_softmax_dropout") or 0.0),
            **{rate: float(settings.get(rate) or 0.0) for rate in RATES},
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
        names, weights = fairseq_names(config), {}
        used = {name for copies in names.values() for name in copies}
        if lacking := sorted(used - self.tensors.keys()):
            raise self._other(f"it lacks {lacking[0]}, which this architecture needs")
        if unused := sorted(name for name in self.tensors.keys() - used if not NO_WEIGHT.search(name)):
            raise self._other(f"it has {unused[0]}, which this architecture does not use")
        for ours, parameter in model.named_parameters():
            name, *copies = names[ours]
            weights[ours] = weight = self.tensors[name].to(torch.float32).contiguous()
            if weight.shape != parameter.shape:
                raise self._other(f"{name} is {tuple(weight.shape)}, and {tuple(parameter.shape)} by its settings")
            if not weight.isfinite().all():
                raise ValueError(f"{self.path}: {name} holds numbers that are not finite; fetch the checkpoint again.")
            if any(not torch.equal(self.tensors[copy], self.tensors[name]) for copy in copies):
                raise ValueError(f"{self.path}: {copies[0]} is not the copy of {name} that tied weights are.")
        model.load_state_dict(weights, strict=False, assign=True)  # what is tied has a second name
        return model.eval()

    def _number(self, name: str) -> int:
        value = self.settings.get(name, "not set")
        if type(value) is not int or value < 1:
            raise self._other(f"{name} is {value}")
        return value

    def _other(self, why: str) -> ValueError:
        return ValueError(f"{self.path}: {why}. Give a checkpoint of the ALiBi authors, as docs/paper.md says.")


def fairseq_names(config: ModelConfig) -> dict[str, list[str]]:
    """Names in fairseq of each of our parameters: fairseq stores a tied tensor twice, for input and output."""
    names = {"output.classes.weight": ["decoder.adaptive_softmax.head.class_proj.weight"]}
    for band in range(len(config.adaptive_cutoffs) + 1):
        embedding, tail = f"decoder.embed_tokens.embeddings.{band}", f"decoder.adaptive_softmax.tail.{band - 1}"
        words = f"{tail}.2.weight" if band else "decoder.adaptive_softmax.head.word_proj.weight"
        names[f"embedding.words.{band}.weight"] = [f"{embedding}.0.weight", words]
        names[f"embedding.projections.{band}.weight"] = [f"{embedding}.1.weight"]
        if band:
            names[f"embedding.projections.{band}.weight"].append(f"{tail}.0.weight")
    for number in range(config.num_layers):
        for ours, theirs in LAYER.items():
            for leaf in ("weight", "bias"):
                names[f"transformer.blocks.{number}.{ours}.{leaf}"] = [f"decoder.layers.{number}.{theirs}.{leaf}"]
    return names


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
        rule = "only tensors, plain values and argparse.Namespace, since anything else might run code"
        raise ValueError(f"{path} holds {named[1] if named else 'something else'}; it may hold {rule}.") from error
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
        needed = "`cfg` or `args`, `model`, and num_updates in its optimizer_history"
        raise ValueError(f"{path} is no checkpoint of fairseq, which has {needed} ({one_line(error)}).") from error


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
