"""The entries around Hydra: a user's mistake is one message and exit code 1; HYDRA_FULL_ERROR=1 shows the traceback."""

import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

import hydra
from hydra._internal import utils
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from alibi.config.known import CONFIGS, groups, refuse_filled_in, setting_names
from alibi.config.messages import did_you_mean, refused
from alibi.config.typed import register
from alibi.files import explained
from alibi.processes import one_message


def entry(name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """As `@hydra.main`, with this project's messages.

    Args:
        name: train or evaluate, the YAML of its settings.
    """
    register()

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[[], None]:
        failed: list[Exception] = []
        process = os.getpid()

        @functools.wraps(task)
        def job(composed: DictConfig) -> Any:
            try:
                with one_message(), plain_errors(name, HydraConfig.get().overrides.task):
                    return task(composed)
            except CompactHydraException as error:
                if _full_error() or os.getpid() != process:  # Hydra raises it again, from a launcher's process too
                    raise
                told, now = str(error), HydraConfig.get()
                if now.mode == RunMode.MULTIRUN:
                    told = f"job {now.job.num} ({now.job.override_dirname}) failed: {told}"
                print(told, file=sys.stderr, flush=True)  # at once: the other jobs of a sweep may go on for days
                failed.append(error)

        def command() -> None:
            overrides: list[str] = []
            failed.clear()
            run = hydra.main(config_path=CONFIGS, config_name=name, version_base="1.3")(job)
            if _full_error():
                return run()
            with patch.object(utils, "run_and_report", lambda work: work()):  # else Hydra adds lines of its own
                try:
                    overrides = _arguments(name)
                    run()
                except (HydraException, OmegaConfBaseException, ValueError, OSError) as error:
                    with suppress(Exception), one_message():
                        raise error  # all but the first process of torchrun exit here
                    print(refused(error, name, overrides), file=sys.stderr, flush=True)
                    failed.append(error)
            if failed:
                sys.exit(1)

        return command

    return decorate


@contextmanager
def plain_errors(entry: str, overrides: Sequence[str]) -> Iterator[None]:
    """Turn errors that a user can cause into a CompactHydraException with the message."""
    try:
        yield
    except OmegaConfBaseException as error:
        raise CompactHydraException(refused(error, entry, overrides)) from error
    except OSError as error:
        raise CompactHydraException(explained(error)) from error
    except (ValueError, MemoryError) as error:
        raise CompactHydraException(f"{type(error).__name__}: {error}") from error
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        why = str(error).splitlines()[0]
        raise CompactHydraException(f"torch.compile failed ({why}); leave train.compile=true out.") from error
    except KeyboardInterrupt as stop:  # of Ctrl-C, or with the number of another signal
        print("interrupted; finished work is kept, and the same command continues", file=sys.stderr)
        raise SystemExit(128 + (stop.args[0] if stop.args else signal.SIGINT)) from None


def _full_error() -> bool:
    return os.environ.get("HYDRA_FULL_ERROR") == "1"


def _arguments(entry: str) -> list[str]:
    """The overrides on the command line.

    Raises:
        ValueError: a flag that Hydra does not have, or a list for a group, of which Hydra would take the last.
    """
    parser = utils.get_args_parser()
    options, unknown = parser.parse_known_args()
    for flag in unknown:
        name, _, value = flag.lstrip("-").partition("=")
        if name in setting_names(entry) or name in groups(entry):
            raise ValueError(f"{flag} is not a flag; settings have no dashes: {name}={value or 'VALUE'}.")
        known = [one for action in parser._actions for one in action.option_strings if one.startswith("--")]
        raise ValueError(f"{flag} is not a flag of {entry}.py{did_you_mean(flag.partition('=')[0], known)}")
    refuse_filled_in(options.overrides)
    for name, _, value in (text.partition("=") for text in options.overrides):
        if name in groups(entry) and value.startswith("["):
            several = f"{name}={value.strip('[]').replace(' ', '')}"
            raise ValueError(f"{name}={value} is a list; for several runs: python {entry}.py -m {several}")
    return options.overrides
