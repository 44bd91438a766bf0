"""Command-line options of scripts, with a suggestion for a misspelt one. A leaf of the standard library only."""

import argparse
from difflib import get_close_matches
from typing import NoReturn


class Options(argparse.ArgumentParser):
    """The parser of a script.

    Args:
        about: the script's docstring, which --help prints unchanged.
    """

    def __init__(self, about: str) -> None:
        super().__init__(description=about, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """One line, and exit code 2."""
        if message.startswith("unrecognized arguments: "):
            known = [name for action in self._actions for name in action.option_strings]
            flag = message.split()[2].partition("=")[0]
            meant = get_close_matches(flag, known, n=1)
            message = f"there is no {flag}{f'; did you mean {meant[0]}?' if meant else '.'}"
        self.exit(2, f"error: {message.rstrip('.')}. {self.prog} --help lists what there is.\n".replace("?.", "?"))
