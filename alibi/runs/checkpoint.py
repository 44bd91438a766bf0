"""A checkpoint: written by a run, verified and read by everything after it.

    step-00001000/model.safetensors, training_state.pt, config.yaml, tokenizer.json, manifest.json

It holds all that is needed to rebuild model, tokenizer and data, and all that a restart needs. It
is read only after its checksums were compared, and with a stranger's hand in mind, who can make
checksums fit: loading runs no code, leads nowhere out of the folder, and takes memory by what the
files hold and not by what they state.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from alibi.data import DataConfig, Tokenizer, TokenizerConfig, tokenizer_from_json
from alibi.files import file_sha256, refuse_links_out
from alibi.foreign import check_file, parse_json, read_text
from alibi.model import LanguageModel, ModelConfig
from alibi.runs.fingerprint import check_fingerprint, difference, fixed_nats, source_sha256
from alibi.runs.layout import (
    CHOOSE,
    CONFIG,
    FILES,
    FORMAT,
    MANIFEST,
    MODEL,
    MOST_BYTES,
    STATE,
    TOKENIZER,
    ChangedModel,
    DamagedCheckpoint,
    manifest_sha256,
)
from alibi.runs.settings import LARGEST, read_settings
from alibi.runs.state_file import read_state
from alibi.runs.weights import check_fit, check_sizes, expected_shapes, load_weights, misfit, read_shapes

# Of a run folder: what is written to, after a checkpoint in it was read.
WRITTEN = (
    *("checkpoints", "checkpoints/*", "evaluation", "evaluation/*", "wandb", "wandb/rows-sent.json"),
    *("metrics.jsonl", "config.yaml", ".lock", ".evaluation.lock"),
)


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint, verified: every file has the checksum its manifest states.

    Raises:
        DamagedCheckpoint: a file is missing, cut short or altered, or the format is unknown.
        ValueError: the run folder holds a link out of it.
    """

    path: Path

    def __post_init__(self) -> None:
        if self.path.parent.name == "checkpoints":
            refuse_links_out(self.run, WRITTEN)
        for name, stated in self.manifest["sha256"].items():
            try:
                check_file(self.path / name)
            except OSError as error:
                raise DamagedCheckpoint(f"{self.path} lacks {name}; {CHOOSE}.") from error
            except ValueError as error:
                raise DamagedCheckpoint(f"{self.path / name} is not read: {error}; {CHOOSE}.") from error
            if (actual := file_sha256(self.path / name)) != stated:
                raise DamagedCheckpoint(
                    f"{self.path / name} is cut short or altered: its sha256 is {actual[:12]}..., the manifest says "
                    f"{stated[:12]}...; {CHOOSE}."
                )

    @cached_property
    def manifest(self) -> dict:
        try:
            manifest = parse_json(read_text(self.path / MANIFEST, MOST_BYTES[MANIFEST]))
            if (found := manifest["format"]) != FORMAT or type(found) is not int:
                raise DamagedCheckpoint(_of_another_format(self.path, found))
            if manifest["manifest_sha256"] != manifest_sha256(manifest):
                raise ValueError("its own checksum differs")
            manifest["sha256"] = {name: str(manifest["sha256"][name]) for name in FILES}
            for name in ("step", "parameters"):
                if type(manifest[name]) is not int or not 0 <= manifest[name] < LARGEST:
                    raise ValueError(f"{name} is {str(manifest[name])[:40]}, and must be a whole number")
            manifest["texts"] = {split: str(manifest["texts"][split]) for split in ("train", "validation")}
            manifest["fingerprint"] = check_fingerprint(manifest.get("fingerprint"))
            return manifest
        except DamagedCheckpoint:
            raise
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DamagedCheckpoint(
                f"{self.path} is no sound checkpoint: {MANIFEST} cannot be trusted ({error}); choose another."
            ) from error

    @property
    def run(self) -> Path:
        return self.path.parent.parent

    @property
    def step(self) -> int:
        return self.manifest["step"]

    @property
    def sha256(self) -> str:
        """Of the weights."""
        return self.manifest["sha256"][MODEL]

    @property
    def texts(self) -> dict[str, str]:
        """sha256 of the text of each split that the run read."""
        return self.manifest["texts"]

    @cached_property
    def config(self) -> dict:
        try:
            return read_settings(self.path / CONFIG)
        except (ValueError, OSError) as error:
            raise self._foreign(CONFIG, error) from error

    @cached_property
    def model_config(self) -> ModelConfig:
        try:
            check_sizes(self.config["model"], read_shapes(self.path))
        except DamagedCheckpoint:
            raise
        except ValueError as error:
            raise self._foreign(CONFIG, error) from error
        return self._typed(ModelConfig, "model")

    @property
    def data_config(self) -> DataConfig:
        return self._typed(DataConfig, "data")

    @property
    def tokenizer_config(self) -> TokenizerConfig:
        return self._typed(TokenizerConfig, "tokenizer")

    def _typed(self, schema: type, part: str):
        try:
            return typed(schema, self.config[part], part)
        except ValueError as error:
            raise self._foreign(CONFIG, error) from error

    def load_tokenizer(self) -> Tokenizer:
        """
        Raises:
            DamagedCheckpoint: it is none of this project's.
        """
        try:
            return tokenizer_from_json(read_text(self.path / TOKENIZER, MOST_BYTES[TOKENIZER]))
        except ValueError as error:
            raise self._foreign(TOKENIZER, error) from error

    def load_model(self, device: str | torch.device = "cpu") -> LanguageModel:
        """The model in evaluation mode.

        Raises:
            DamagedCheckpoint: the weights do not fit the configuration; nothing was made of its size then.
            ChangedModel: the code was edited, and these weights were not trained for what it computes now.
        """
        config, vocab_size = self.model_config, self.load_tokenizer().vocab_size
        try:
            wanted = expected_shapes(config, vocab_size)
        except ValueError as error:
            raise self._foreign(CONFIG, error) from error
        stored, shapes = self.manifest["fingerprint"], read_shapes(self.path)
        if stored and (how := misfit(shapes, wanted)):
            raise self._changed(how)
        check_fit(self.path, shapes, wanted)
        model = LanguageModel(config, vocab_size, seed=0)
        load_weights(model, self.path)
        model = model.to(device).eval()
        if stored and (how := difference(stored, fixed_nats(model, self.config["train"]["seq_len"]))):
            edited = "was edited" if self.source_changed(model) else "is as it was, so other code or a library changed"
            raise self._changed(f"{how}. The source of the position method {edited}")
        return model

    def source_changed(self, model: LanguageModel) -> bool:
        """Whether the position method was edited since, as far as that is known."""
        then, now = (self.manifest["fingerprint"] or {}).get("source_sha256"), source_sha256(model)
        return None not in (then, now) and then != now

    @property
    def beside(self) -> str:
        """The setting that trains the same command anew, beside this run."""
        return f"run_dir={self.run}-2"

    def _changed(self, how: str) -> ChangedModel:
        return ChangedModel(
            f"{self.path} was trained by code that computes something else than it does now: {how}. To train what it "
            f"is now, give the command that trained this run with {self.beside}; to use these weights, put the code "
            "back as it was."
        )

    def load_state(self) -> dict:
        """What the run needs to go on.

        Raises:
            DamagedCheckpoint: it holds more than numbers, strings, tensors and containers of them.
        """
        try:
            return read_state(self.path / STATE)
        except (ValueError, OSError) as error:
            raise self._foreign(STATE, error) from error

    def _foreign(self, name: str, error: Exception) -> DamagedCheckpoint:
        return DamagedCheckpoint(
            f"{self.path / name} cannot be used: {error}. This version of the project did not write it so; {CHOOSE}."
        )


def _of_another_format(path: Path, found: object) -> str:
    told = f"{path} has checkpoint format {str(found)[:40]}; this version reads format {FORMAT}"
    if type(found) is int and found > FORMAT:
        return f"{told}. A newer version wrote it: update the code, or {CHOOSE}."
    if type(found) is int:
        return f"{told}. An older version wrote it: evaluate it with the code of its time, or train it anew."
    return f"{told}. No version wrote that; {CHOOSE}."


def typed(schema: type, values: dict, where: str):
    """Values from YAML as a dataclass, unknown and mistyped ones refused.

    Raises:
        ValueError: naming `where` the value stands.
    """
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values))
    except OmegaConfBaseException as error:
        raise ValueError(f"{where}: {str(error).splitlines()[0]}") from error
