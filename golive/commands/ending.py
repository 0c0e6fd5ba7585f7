"""How every verb ends: its result printed, or one sentence; and the exit code."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from golive import environment
from golive.errors import BadInput, GoliveError
from golive.verbs.result import Result

__all__ = ["COMMON", "TAKE_OVER", "finish", "lazily"]

COMMON = {"json": "one JSON object on stdout", "debug": "show tracebacks"}
TAKE_OVER = "replace a holder on another machine that is dead for certain: it has to stay silent for its whole ttl"
_SIMULATED = {
    *(
        "abort",
        "approve",
        "board",
        "chaos",
        "destroy",
        "document",
        "dry_run",
        "golive",
        "journal_export",
        "journal_show",
        "journal_verify",
        "pause",
        "provision",
    ),
    *(
        "attest",
        "evidence_export",
        "evidence_take",
        "evidence_verify",
        "explain",
        "readiness",
        "reject",
        "report",
        "resume",
        "rollback",
        "skip",
        "status",
        "waive",
    ),
}
"""Verbs that simulated hosts can do."""


def finish(work: Callable[[], Result], *, as_json: bool = False, debug: bool = False) -> None:
    """Prints a verb's result (one JSON object with ``--json``) and ends with its exit code; an error is one sentence on stderr."""
    try:
        result = work()
    except GoliveError as error:
        _failed(error, error.message, error.exit_code, as_json=as_json, debug=debug)
    except KeyboardInterrupt as error:
        _failed(error, "Interrupted; run the same command again to go on.", 130, as_json=as_json, debug=debug)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sentence = f"This machine says no: {where}{error.strerror or error}. Mend that, then run the same command again."
        _failed(error, sentence, 2, as_json=as_json, debug=debug)
    except Exception as error:
        sentence = f"Unexpected {type(error).__name__}: {error}. This is a bug; run it again with --debug for the details."
        _failed(error, sentence, 1, as_json=as_json, debug=debug)
    # A verb that says nothing, as a timer's should that has nothing to do, prints no empty line either.
    trouble = _printed(json.dumps(result.data) if as_json else result.text) if as_json or result.text else ""
    if trouble:
        print(f"The work is done (exit code {result.exit_code}), but what it says could not be printed: {trouble}.", file=sys.stderr)
    # How the work ended stands, printed or not; but nobody has been told of a success.
    sys.exit(result.exit_code or (2 if trouble else 0))


def _failed(error: BaseException, sentence: str, code: int, *, as_json: bool, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exception(error)
    if as_json:
        _printed(json.dumps({"schema": 1, "error": {"type": type(error).__name__, "message": sentence}}))
    print(sentence, file=sys.stderr)
    sys.exit(code)


def _printed(text: str) -> str:
    """Prints ``text``; says why when stdout takes nothing any more."""
    try:
        print(text, flush=True)
    except OSError as error:
        # What is left in the buffer must not change the exit code when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error.strerror or str(error)
    return ""


def lazily(verb: str, env: str, hosts: str = "", **options: Any) -> Callable[[], Result]:
    """The verb ``golive.verbs.<verb>`` on environment ``env``; imported when called, so that `--list` stays fast."""

    def work() -> Result:
        from importlib import import_module

        if not env:
            raise BadInput(f"Say which environment: --env with one of {', '.join(environment.known())}.")
        loaded = environment.load(env, hosts)
        if loaded.is_sim and verb not in _SIMULATED:
            raise BadInput(f"{verb} needs machines, and {loaded.name} has none; what works there: {', '.join(sorted(_SIMULATED))}.")
        result: Result = getattr(import_module(f"golive.verbs.{verb}"), verb)(loaded, **options)
        return result

    return work
