"""Models of transformers as guests of the evaluation: `runs=hf:PATH_OR_ID`.

`transformers` is not among the project's requirements: only what is here needs it. No code of a
model's folder is run, pickles are read for their numbers only (`weights_only`), and weights are
held in float32, as ours are.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from alibi.interop.guest_folder import model_folder, model_sha256, weight_files
from alibi.interop.guest_scorer import GuestScorer, position_table, stated_length
from alibi.interop.guest_settings import ignored_files, ignored_settings, ignored_weights
from alibi.interop.guest_tokenizer import GuestTokenizer, load_tokenizer
from alibi.runs import Guest, OpenModel

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

PREFIX = "hf:"


@dataclass(frozen=True)
class HuggingFaceModel(Guest):
    """
    Attributes:
        run: <outputs>/hf-<name>-<8 hex of the model>.
        source: path or id, as given.
        folder: where its files are.
        sha256: of weights and configuration.
    """

    run: Path
    source: str
    folder: Path
    sha256: str
    config: "PreTrainedConfig"
    tokenizer: GuestTokenizer

    def load_tokenizer(self) -> GuestTokenizer:
        return self.tokenizer

    def open(self, device: torch.device, precision: str) -> OpenModel:
        """
        Raises:
            ValueError: weights that do not fit, settings that transformers ignores, or a model that sees later tokens.
        """
        import transformers

        model = self._load(device)
        words = model.get_input_embeddings().weight.shape[0]
        if self.tokenizer.vocab_size > words:
            raise ValueError(
                f"hf:{self.source}: its tokenizer has {self.tokenizer.vocab_size} ids and the model {words}: they do "
                "not belong together."
            )
        try:
            scorer = GuestScorer(model, precision)
        except ValueError as error:
            raise ValueError(f"hf:{self.source}: {error}") from error
        first = self.tokenizer.tokenizer.id_to_token(self.tokenizer.first_input)
        versions = {"transformers": transformers.__version__}
        return OpenModel(scorer.nats, self._about(model), scorer.why_not, f"token {first}", versions)

    def _load(self, device: torch.device) -> "PreTrainedModel":
        from transformers import AutoModelForCausalLM

        safe = weight_files(self.folder)[0].suffix == ".safetensors"
        try:
            with quiet_transformers():
                model, told = AutoModelForCausalLM.from_pretrained(
                    self.folder, dtype=torch.float32, trust_remote_code=False, use_safetensors=safe,
                    weights_only=True, output_loading_info=True,
                )  # fmt: skip
        except Exception as error:  # as many kinds as there are models
            raise self._refused("transformers cannot load it without code from its folder", error) from error
        if lacking := sorted(told["missing_keys"]) or sorted(map(str, told["mismatched_keys"])):
            raise ValueError(
                f"hf:{self.source}: its weights are not those of a {type(model).__name__}: {lacking[0]} is missing or "
                f"of another shape ({len(lacking)} such), and would be random numbers."
            )
        unused = [*ignored_settings(self.folder, model), *ignored_weights(told["unexpected_keys"])]
        if unused:
            raise _another_model(self.source, unused, f"{type(model).__name__} of transformers")
        return model.to(device).eval().requires_grad_(False)

    def _refused(self, what: str, error: Exception) -> ValueError:
        reason = str(error).splitlines()[0] if str(error) else ""
        return ValueError(f"hf:{self.source}: {what} ({type(error).__name__}: {reason}).")

    def _about(self, model: "PreTrainedModel") -> dict:
        def count(*modules: nn.Module) -> int:
            return sum(p.numel() for p in {p for module in modules if module for p in module.parameters()})

        seq_len, stated_by = stated_length(self.config)
        table, rows = position_table(model)
        if seq_len and rows:
            seq_len = min(seq_len, rows)
        parts = {
            "position": count(model.get_submodule(table)) if table in dict(model.named_modules()) else 0,
            "embedding": count(model.get_input_embeddings(), model.get_output_embeddings()),
        }
        total = model.num_parameters()
        return {
            "path": self.run.name,
            "sha256": self.sha256,
            "step": 0,
            "model": self.config.model_type,
            "seq_len": seq_len,
            "seed": None,
            "parameters": total,
            "parameters_in": {**parts, "rest": total - sum(parts.values())},
            "run": self.run.name,
            "settings": {"hf.name": short_name(self.source), "hf.length_stated_by": stated_by},
        }


def open_guest(name: str, outputs: Path) -> HuggingFaceModel:
    """A model by its name in `runs=`, hf:PATH_OR_ID; its weights are not loaded yet.

    Raises:
        FileNotFoundError, ConnectionError: as `model_folder`.
        ValueError: transformers is not installed; a configuration that is no causal language model's, files with
            weights that would not be read, or a tokenizer that cannot be used.
    """
    try:
        from transformers import AutoConfig
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
    except ImportError as error:
        raise ValueError(f"runs={name} needs transformers ({error}); pip install transformers.") from error
    source = name.removeprefix(PREFIX)
    folder = model_folder(source)
    if unused := ignored_files(folder):
        raise _another_model(source, unused, "transformers")
    with quiet_transformers():
        try:
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else ""
            raise ValueError(
                f"hf:{source}: transformers knows no such model without code from its folder "
                f"({type(error).__name__}: {reason})."
            ) from error
        if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
            raise ValueError(
                f"hf:{source} is a {config.model_type}, which is no causal language model: nothing in it predicts the "
                "next token. Give a model that AutoModelForCausalLM loads."
            )
        if config.is_encoder_decoder or getattr(config, "add_cross_attention", False):
            raise ValueError(
                f"hf:{source} is a {config.model_type} that reads an encoder's states: it was trained to predict a "
                "text given another, and its decoder alone is no language model. Give a decoder-only model."
            )
        tokenizer = load_tokenizer(folder, source)
    sha256 = model_sha256(folder)
    run = outputs / f"hf-{short_name(source)}-{sha256[:8]}"
    return HuggingFaceModel(run, source, folder, sha256, config, tokenizer)


def _another_model(source: str, unused: list[str], who: str) -> ValueError:
    more = f" and {len(unused) - 4} more" if len(unused) > 4 else ""
    return ValueError(
        f"hf:{source} has {', '.join(unused[:4])}{more}, which {who} does not use, so another model would be scored. "
        "Merge an adapter into its model, convert the model to a class that has these parts, or take out what does "
        "nothing."
    )


def short_name(source: str) -> str:
    """The hub id, or the name of the folder, which may be moved; of characters that a file name may have."""
    name = Path(source).resolve().name if Path(source).exists() else source
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without progress bars and remarks; what is wrong is found by asking."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()
