"""A script's parser, and its ending: user errors are one message. A leaf beside streams and files."""

import signal
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import contextmanager

from alibi.files import explained
from alibi.streams import keep_streams


def script_parser(about: str) -> ArgumentParser:
    """The parser of a script's options; --help prints `about`, the script's docstring, unchanged."""
    return ArgumentParser(description=about, formatter_class=RawDescriptionHelpFormatter, allow_abbrev=False)


@contextmanager
def script() -> Iterator[None]:
    """One message and exit code 1 instead of a traceback.

    A script's output is its product: a reader that closes early (`| head`) is fine, a full disk is an error.
    """
    keep_streams()
    try:
        yield
        sys.stdout.flush()
        if lost := getattr(getattr(sys.stdout, "buffer", None), "lost", None):
            raise lost
    except OSError as error:
        sys.exit(f"error: {explained(error)}")
    except (ValueError, ImportError, MemoryError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
