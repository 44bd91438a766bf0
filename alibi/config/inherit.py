"""The settings of a run that starts from another's weights: what it inherits, and which of its own settings win.

Of model, tokenizer and data everything is inherited but what the command sets: settings typed on the command line,
the YAMLs of typed groups (`size=`, `data=`), and those of an experiment. train, optimizer and the rest are the
command's. A typed `model=` of the origin's own method changes nothing by itself, since its YAML would refill settings
that the origin has its own values of; one of another method replaces all that belongs to a method.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from alibi.config.known import CONFIGS, groups, package_of, setting_keys
from alibi.data import Tokenizer
from alibi.data.tasks import Task
from alibi.interop import HF_PREFIX
from alibi.model import ModelConfig
from alibi.model.model_config import LayerSettings, method_name
from alibi.paths import expanded
from alibi.pointers import LATEST, follow
from alibi.runs import Checkpoint, Origin, checkpoint_of

OF_A_METHOD = ("name", "pattern", "layer_types", *(one.name for one in fields(LayerSettings)))
# What the weights are not tied to.
MAY_CHANGE = {*OF_A_METHOD, "size", "dropout", "attention_dropout", "activation_dropout", "adaptive_dropout"}


@dataclass
class Explicit:
    """What a command sets of model, tokenizer and data.

    Attributes:
        names: full names of settings, of their YAMLs and typed; those of a model YAML are not among them.
        sections: data, tokenizer: those whose group was chosen, so that nothing else of them is inherited.
        model: the model YAML that was chosen, if one was.
    """

    names: list[str] = field(default_factory=list)
    sections: set[str] = field(default_factory=set)
    model: str | None = None

    @classmethod
    def of(cls, overrides: Sequence[str]) -> "Explicit":
        found, typed = cls(), OverridesParser.create().parse_overrides(list(overrides))
        # Typed settings win over an experiment's, and settings over groups.
        for one in sorted(typed, key=lambda one: one.key_or_group != "experiment"):
            if one.is_delete() or one.value() is None:
                continue
            if one.key_or_group in groups("train"):
                found._choose(one.key_or_group, str(one.value()))
        found.names += [one.key_or_group for one in typed if not one.is_delete()]
        return found

    def _choose(self, group: str, choice: str) -> None:
        path = Path(CONFIGS, group, f"{choice}.yaml")
        if not path.is_file():
            raise ValueError(
                f"{group}={choice} is not in {path.parent}, and with train.init_from its settings cannot be told from "
                "those of the origin; type its settings on the command line, or put the YAML there."
            )
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text) or {}
        for default in (one for one in content.pop("defaults", []) if one != "_self_"):
            for name, chosen in ({group: default} if isinstance(default, str) else default).items():
                self._choose(name.removeprefix("override ").lstrip("/"), chosen)
        if group == "model":
            self.model = choice
            return
        if group in ("data", "tokenizer"):
            self.sections.add(group)
        place = package_of(group, text)
        self.names += setting_keys(content, "" if place == "_global_" else f"{place}.")


def inherited(composed: dict, overrides: Sequence[str]) -> dict:
    """The settings of a run with `train.init_from`: those of the origin, with the command's own in their place.

    Args:
        composed: plain settings, as Hydra composed them.
        overrides: of the command line.

    Raises:
        ValueError: a Hugging Face model, an origin of another task, shape or tokenizer, or a second adaptation.
        FileNotFoundError, DamagedCheckpoint: there is no sound checkpoint.
    """
    checkpoint, explicit = origin_of(composed["train"]["init_from"]), Explicit.of(overrides)
    stored = checkpoint.config
    settings = composed | {"origin": asdict(Origin.of(checkpoint))}
    settings["train"] = composed["train"] | {
        "init_from": str(Path(expanded(composed["train"]["init_from"])).absolute())
    }
    for section in ("data", "tokenizer"):
        if section not in explicit.sections:
            settings[section] = stored[section] | _set_of(composed[section], section, explicit.names)
    check_task(settings["data"]["name"], stored["data"]["name"], checkpoint.path)
    check_tokenizer(settings["tokenizer"], stored["tokenizer"], checkpoint.load_tokenizer(), checkpoint.path)
    settings["tokenizer"] = stored["tokenizer"]
    settings["model"] = inherited_model(composed["model"], stored["model"], explicit)
    adapt(settings["model"], stored["model"], stored["train"]["seq_len"])
    check_shape(settings["model"], checkpoint)
    return settings


def origin_of(init_from: str) -> Checkpoint:
    """The checkpoint that `train.init_from` names."""
    if init_from.startswith(HF_PREFIX):
        raise ValueError(
            f"train.init_from={init_from} is a Hugging Face model, which is scored but not trained here; give a run "
            "folder or a checkpoint of this project. scripts/import_fairseq.py makes a run folder of a checkpoint of "
            "the ALiBi authors."
        )
    path = Path(expanded(init_from))
    if path.name == LATEST and (run := follow(path)) != path:
        raise ValueError(
            f"train.init_from={init_from} will be the new run itself as soon as that begins, and the same command "
            f"would not go on with it; write train.init_from={run}."
        )
    if not path.exists():
        raise FileNotFoundError(
            f"train.init_from={init_from} does not exist; give a run folder or a checkpoint. A run "
            "that began from it needs it too, to be found again."
        )
    try:
        return Checkpoint(checkpoint_of(path))
    except FileNotFoundError as error:
        why = str(error).partition(";")[0]
        raise FileNotFoundError(f"train.init_from: {why}; give a run with a checkpoint, or a checkpoint.") from error


def _set_of(composed: dict, section: str, names: Iterable[str]) -> dict:
    """The settings of a section that are set by name."""
    keys = [name.removeprefix(f"{section}.").partition(".")[0] for name in names if name.startswith(f"{section}.")]
    return {key: composed[key] for key in keys}


def inherited_model(composed: dict, stored: dict, explicit: Explicit) -> dict:
    """The settings of the model: the origin's, those of another method, and what is set by name."""
    model = {**asdict(ModelConfig()), **stored}
    names = [name.removeprefix("model.") for name in explicit.names if name.startswith("model.")]
    chosen = yaml.safe_load(Path(CONFIGS, "model", f"{explicit.model}.yaml").read_text()) if explicit.model else None
    if chosen and method_name({"position": {}} | chosen) != method_name(stored):
        model |= {key: composed[key] for key in OF_A_METHOD}
    renamed = composed["position"].get("name")
    if not explicit.model and "position.name" in names and renamed != stored["position"].get("name"):
        model["position"] = {}  # another method has other settings
    for name in names:
        _copy(composed, model, name.split("."))
    return model


def _copy(source: Any, target: dict, path: list[str]) -> None:
    """Set in `target` what `source` has at a path; parts that the target shares with others are copied first."""
    for key in path[:-1]:
        source = source[key]
        target[key] = dict(target.get(key) or {})
        target = target[key]
    if path[-1] in source:
        target[path[-1]] = source[path[-1]]


def adapt(model: dict, stored: dict, seq_len: int) -> None:
    """Let a new frequency adaptation, `scaling` of a position, refer to the origin's length.

    Args:
        model: of the new run; a missing `length` is filled in.
        stored: of the origin.
        seq_len: the origin's training length.

    Raises:
        ValueError: the origin has an adaptation already, and another one is set.
    """
    before = dict(_layers(stored))
    for key, layer in _layers(model):
        scaling = layer["position"].get("scaling")
        then = before.get(key, {}).get("position", {}).get("scaling")
        if not scaling or scaling == then:
            continue
        if then:
            raise ValueError(
                f"{key}.position.scaling ({scaling}) would be a second frequency adaptation on top of the origin's "
                f"({then}); leave it out, or start from the run before that adaptation."
            )
        scaling = scaling if isinstance(scaling, dict) else {"name": scaling}
        if scaling.get("length") is None:
            layer["position"] = layer["position"] | {"scaling": scaling | {"length": seq_len}}


def _layers(model: dict) -> list[tuple[str, dict]]:
    """The settings of the layers that have a position, by their full name."""
    types = {f"model.layer_types.{kind}": layer for kind, layer in (model.get("layer_types") or {}).items()}
    return [(key, layer) for key, layer in {"model": model, **types}.items() if isinstance(layer.get("position"), dict)]


def check_task(name: str, stored: str, where: Path) -> None:
    """
    Raises:
        ValueError: a task follows a text or another task, or a text follows a task.
    """
    if name != stored and {name, stored} & Task.registry.keys():
        raise ValueError(
            f"data.name is {name} here and {stored} in {where}: a task has symbols of its own, which no other weights "
            "know; leave it out (and an experiment that sets it), or train without train.init_from."
        )


def check_tokenizer(settings: dict, stored: dict, tokenizer: Tokenizer, where: Path) -> None:
    """
    Args:
        settings: of the tokenizer, as the command sets them.
        stored: the origin's.
        tokenizer: the origin's.

    Raises:
        ValueError: they ask for another tokenizer than the origin's.
    """
    size = tokenizer.vocab_size
    for name, value in settings.items():
        have = size if name == "vocab_size" else stored.get(name)
        if name == "path" and value and Path(expanded(value)).exists():  # else an id on the hub
            value = str(Path(expanded(value)).absolute())
        padded = name == "pad_to_multiple_of" and value and size % value == 0
        if value is not None and value != have and not padded and value != stored.get(name):
            raise ValueError(
                f"tokenizer.{name} is {value} here and {have} in {where}, whose embeddings belong to its tokenizer; "
                "leave it out (and an experiment that sets it), and the new run has the origin's."
            )


def check_shape(settings: dict, checkpoint: Checkpoint) -> None:
    """
    Raises:
        ValueError: the weights of the checkpoint have another shape than these settings ask for.
    """
    then, filled = asdict(checkpoint.model_config), dict(settings)
    if filled.get("d_ff") is None:
        filled["d_ff"] = 4 * filled["d_model"]
    for name in sorted(then.keys() - MAY_CHANGE):
        if (now := filled.get(name)) != then[name] and not (name == "adaptive_factor" and now is None):
            raise ValueError(
                f"model.{name} is {now} here and {then[name]} in {checkpoint.path}, whose weights have that shape; "
                f"leave model.{name} out (and size=, or an experiment that sets it), or train without train.init_from."
            )
