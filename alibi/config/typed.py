"""What Hydra composed, turned into the dataclasses of settings, which check it."""

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from alibi.commands import EvaluateCommand
from alibi.config.inherit import inherited
from alibi.config.known import CONFIGS, help_text, refuse_filled_in
from alibi.config.messages import escaped, refused
from alibi.environment import pick_device, resolve_precision
from alibi.interop import HF_PREFIX
from alibi.paths import expanded
from alibi.positions import build_position
from alibi.runs import run_name, settings_text
from alibi.training import RunConfig

T = TypeVar("T")


@cache
def scratch_folder(launcher: str = "", outputs: str = "outputs") -> str:
    """A folder for the files that Hydra writes in a sweep, removed when the process ends.

    With submitit, whose jobs may run on other machines, it is `<outputs>/.sweeps/<date>-<process>`, which all nodes
    see. It stays, because it holds the jobs' output; `runs=` and the report ignore it.
    """
    if "submitit" in launcher:
        folder = Path(expanded(outputs)).absolute() / ".sweeps" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        folder.mkdir(parents=True)
        return str(folder)
    folder = tempfile.mkdtemp(prefix="alibi-hydra-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def divided(length: int, by: int) -> int:
    """A part of a length, at least 1; where the YAML of a method takes a setting from the training length."""
    return max(1, int(length) // by)


def register() -> None:
    """Register the types of the settings with Hydra; call it before @hydra.main."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=RunConfig)
    store.store(name="evaluate_schema", node=EvaluateCommand)
    OmegaConf.register_new_resolver("scratch_folder", scratch_folder, replace=True)
    OmegaConf.register_new_resolver("divided", divided, replace=True)
    OmegaConf.register_new_resolver("help_text", help_text, replace=True)


def typed(schema: type[T], plain: dict) -> T:
    """Composed settings as dataclasses, which check their values; unknown keys are refused.

    A ~ at the start of a text is expanded, whether it comes from the command line, a YAML or the environment.

    Args:
        plain: a container, since a composed node accepts any key added by +key=value.
    """
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), _at_home(plain)))


def _at_home(value: object) -> object:
    """The settings with ~ expanded in all texts, also after `hf:`; escaped, because OmegaConf resolves them again."""
    if isinstance(value, dict):
        return {name: _at_home(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_at_home(one) for one in value]
    if not isinstance(value, str):
        return value
    prefix = HF_PREFIX if value.startswith(HF_PREFIX) else ""
    return escaped(prefix + expanded(value.removeprefix(prefix)))


def run_from(composed: DictConfig, overrides: Sequence[str] = ()) -> tuple[RunConfig, Path]:
    """The settings of a run, with what depends on the machine or its origin filled in, and its folder.

    Args:
        overrides: of the command line; with train.init_from they say what is not inherited.

    Raises:
        ValueError: invalid settings, or an origin that they do not fit.
        FileNotFoundError, DamagedCheckpoint: train.init_from names no sound checkpoint.
    """
    plain = OmegaConf.to_container(composed, resolve=True)
    config = typed(RunConfig, inherited(plain, overrides) if plain["train"]["init_from"] else plain)
    config.precision = resolve_precision(config.precision, pick_device(config.device))
    model, multiplier = config.model, config.optimizer.position_lr_multiplier
    keys = {f"model.layer_types.{kind}" if kind else "model": layer for kind, layer in model.layers()}
    shape = model.d_model, model.num_heads, model.causal
    positions = [build_position(layer.position, *shape, f"{key}.position") for key, layer in keys.items()]
    if multiplier is not None and not any(list(position.parameters()) for position in positions):
        why = f"would be ignored: {model.method} has no parameters of its own"
        raise ValueError(f"optimizer.position_lr_multiplier ({multiplier}) {why}; remove it.")
    if config.data.path is not None:
        config.data.path = str(Path(config.data.path).absolute())
    if config.tokenizer.path and Path(config.tokenizer.path).exists():  # else an id on the hub
        config.tokenizer.path = str(Path(config.tokenizer.path).absolute())
    folder = Path(config.run_dir) if config.run_dir else Path(config.paths.outputs) / run_name(asdict(config))
    if folder.absolute().parent.name == "checkpoints":
        raise ValueError(
            f"run_dir ({folder}) must not lie in a folder named checkpoints, which holds checkpoints and no runs."
        )
    config.run_dir = str(folder)
    settings_text(asdict(config))  # refuse now what no later command could read back
    return config, folder


def run_of(overrides: list[str]) -> RunConfig:
    """The run that train.py would train with these overrides, for scripts; data=text may lack its folder.

    Raises:
        ValueError: invalid settings.
    """
    register()
    refuse_filled_in(overrides)
    try:
        with initialize_config_dir(CONFIGS, version_base="1.3"):
            composed = compose("train", overrides)
        if composed.data.name == "text" and composed.data.path is None:
            composed.data.path = "."
        return run_from(composed, overrides)[0]
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(refused(error, "train", overrides)) from error


def evaluation_from(composed: DictConfig) -> EvaluateCommand:
    """
    Raises:
        ValueError: invalid settings.
    """
    command = typed(EvaluateCommand, OmegaConf.to_container(composed, resolve=True))
    command.precision = resolve_precision(command.precision, pick_device(command.device))
    return command
