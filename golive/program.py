"""``./inv``: invoke itself, but what was typed wrong ends with 2, as every other bad input, and is JSON where JSON was asked for."""

from __future__ import annotations

import json
import sys

from invoke import __version__
from invoke.exceptions import ParseError
from invoke.program import Program

__all__ = ["Inv", "program"]


_MAY_FOLLOW = {"validate": "--suite"}


class Inv(Program):
    """invoke's program with the exit codes of :mod:`golive.errors`; tasks are found as plain ``invoke`` finds them."""

    def normalize_argv(self, argv: list[str] | None) -> None:
        """invoke knows no word that may be left out: the one after these verbs is what its option says."""
        super().normalize_argv(argv)
        words: list[str] = []
        for word in self.argv:
            if words and (option := _MAY_FOLLOW.get(words[-1])) and not word.startswith("-"):
                words.append(option)
            words.append(word)
        self.argv = words

    def parse_core(self, argv: list[str] | None) -> None:
        try:
            super().parse_core(argv)
        except ParseError as error:
            self._misused(error)

    def parse_tasks(self) -> None:
        try:
            super().parse_tasks()
        except ParseError as error:
            self._misused(error)

    def parse_cleanup(self) -> None:
        try:
            super().parse_cleanup()
        except ParseError as error:
            self._misused(error)

    def _misused(self, error: ParseError) -> None:
        """Says what is wrong with the words of this call, and exits with 2."""
        said = " ".join(str(error).split())
        stop = "" if said.endswith(("!", ".")) else "."
        message = f"{said}{stop} `./inv --list` names the verbs, `./inv VERB --help` what one takes."
        # Words after the faulty one were not parsed, so that "asked for JSON" is what was typed.
        if "--json" in self.argv:
            print(json.dumps({"schema": 1, "error": {"type": "BadInput", "message": message}}))
        print(message, file=sys.stderr)
        sys.exit(2)


program = Inv(name="Invoke", binary="inv[oke]", binary_names=["invoke", "inv"], version=__version__)

if __name__ == "__main__":
    program.run()
