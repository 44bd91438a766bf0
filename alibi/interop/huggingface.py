"""Models of transformers as guests of the evaluation: `runs=hf:PATH_OR_ID`.

`transformers` is not a requirement of the project: only the files of guests and exports need it. No code from a
model's folder is run, pickles are read weights-only, and weights are held in float32, as ours are.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alibi.files import one_line
from alibi.interop import guest_folder
from alibi.interop.guest_scorer import GuestScorer, position_table, stated_length
from alibi.interop.guest_tokenizer import GuestTokenizer
from alibi.runs import Guest, OpenModel

PREFIX = "hf:"


@dataclass(frozen=True)
class HuggingFaceModel(Guest):
    """
    Attributes:
        run: <outputs>/hf-<name>-<8 hex of weights, configuration and tokenizer>.
        source: path or id, as given.
        folder: where its files are.
        sha256: of weights and configuration.
        config: as transformers read it.
    """

    run: Path
    source: str
    folder: Path
    sha256: str
    config: Any
    tokenizer: GuestTokenizer

    def load_tokenizer(self) -> GuestTokenizer:
        return self.tokenizer

    def open(self, device: torch.device, precision: str) -> OpenModel:
        """
        Raises:
            ValueError: weights that do not fit, settings that transformers ignores, or a model that is not causal.
        """
        import transformers

        with _named(self.source):
            model = self._load(device)
            words = model.get_input_embeddings().weight.shape[0]
            if (ids := self.tokenizer.vocab_size) > words:
                raise ValueError(f"its tokenizer has {ids} ids and the model {words}: they do not belong together.")
            scorer = GuestScorer(model, precision)
        first = f"token {self.tokenizer.tokenizer.id_to_token(self.tokenizer.first_input)}"
        about, versions = self._about(model), {"transformers": transformers.__version__}
        return OpenModel(scorer.nats, about, scorer.why_not, first, versions)

    def _load(self, device: torch.device) -> nn.Module:
        from transformers import AutoModelForCausalLM

        safe = guest_folder.weight_files(self.folder)[0].suffix == ".safetensors"
        how = {"use_safetensors": safe, "weights_only": True, "output_loading_info": True, "dtype": torch.float32}
        model, report = _loaded(AutoModelForCausalLM, self.folder, "cannot load it", **how)
        name = type(model).__name__
        if lacking := sorted(report["missing_keys"]) or sorted(map(str, report["mismatched_keys"])):
            which = f"{lacking[0]} is missing or of another shape, and would be random numbers"
            raise ValueError(f"its weights are not those of a {name}: {which}.")
        ignored = guest_folder.ignored_settings(self.folder, model)
        _check_all_used(ignored + guest_folder.ignored_weights(report["unexpected_keys"]), name)
        return model.to(device).eval().requires_grad_(False)

    def _about(self, model: nn.Module) -> dict:
        seq_len, stated_by = stated_length(self.config)
        table, rows = position_table(model)
        if seq_len and rows:
            seq_len = min(seq_len, rows)
        position = sum(p.numel() for name, p in model.named_parameters() if name == f"{table}.weight")
        ends = filter(None, (model.get_input_embeddings(), model.get_output_embeddings()))
        embedding = sum(p.numel() for p in {p for module in ends for p in module.parameters()})
        total = model.num_parameters()
        name = {"path": self.run.name, "run": self.run.name, "sha256": self.sha256, "step": 0, "seed": None}
        parts = {"position": position, "embedding": embedding, "rest": total - position - embedding}
        shape = {"model": self.config.model_type, "seq_len": seq_len, "parameters": total, "parameters_in": parts}
        return {**name, **shape, "settings": {"hf.name": short_name(self.source), "hf.length_stated_by": stated_by}}


def open_guest(name: str, outputs: Path) -> HuggingFaceModel:
    """A model by its name in `runs=`, hf:PATH_OR_ID; its weights are not loaded yet.

    Raises:
        FileNotFoundError, ConnectionError: as `model_folder`.
        ValueError: transformers is not installed; the configuration is not a causal language model's; files with
            weights would be ignored; or the tokenizer cannot be used.
    """
    quiet_transformers(f"runs={name}")
    from transformers import AutoConfig, AutoTokenizer

    source = name.removeprefix(PREFIX)
    folder = guest_folder.model_folder(source)
    with _named(source):
        _check_all_used(guest_folder.unread_files(folder), "transformers")
        config = _loaded(AutoConfig, folder, "knows no such model")
        if config.is_encoder_decoder or getattr(config, "add_cross_attention", False):
            kind = f"{config.model_type} that reads an encoder's states, so its decoder alone is no language model"
            raise ValueError(f"it is a {kind}; give a decoder-only model.")
        tokenizer = GuestTokenizer(_loaded(AutoTokenizer, folder, "cannot load its tokenizer"))
    sha256 = guest_folder.model_sha256(folder)
    # The same weights give other numbers with another tokenizer, or with another token around documents.
    parts = (sha256, tokenizer.sha256, tokenizer.first_input, tokenizer.end_of_text)
    identity = hashlib.sha256("".join(f"{part}\n" for part in parts).encode()).hexdigest()
    run = outputs / f"hf-{short_name(source)}-{identity[:8]}"
    return HuggingFaceModel(run, source, folder, sha256, config, tokenizer)


def _check_all_used(unused: list[str], reader: str) -> None:
    if unused:
        more = f" and {len(unused) - 4} more" if len(unused) > 4 else ""
        rule = f"which {reader} does not use, so another model would be scored"
        remedy = "Merge an adapter, convert the model to a class that has these parts, or remove what does nothing."
        raise ValueError(f"it has {', '.join(unused[:4])}{more}, {rule}. {remedy}")


def short_name(source: str) -> str:
    """The hub id, or the name of the folder (which may be moved), in characters that a file name may have."""
    name = Path(source).resolve().name if Path(source).exists() else source
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


@contextmanager
def _named(source: str) -> Iterator[None]:
    """A ValueError says which guest it is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"hf:{source}: {error}") from error


def _loaded(kind: type, folder: Path, failing: str, **how: object) -> Any:
    """transformers raises as many kinds of error as there are models; all become a ValueError."""
    try:
        return kind.from_pretrained(folder, trust_remote_code=False, **how)
    except Exception as error:
        raise ValueError(f"transformers {failing} without code from its folder ({one_line(error)}).") from error


def quiet_transformers(user: str) -> None:
    """No progress bars and warnings of transformers; what is wrong is found by our own checks.

    Raises:
        ValueError: `user` needs transformers, which is not installed.
    """
    try:
        from transformers import logging
    except ImportError as error:
        raise ValueError(f"{user} needs transformers ({error}); pip install transformers.") from error
    logging.set_verbosity_error()
    logging.disable_progress_bar()
