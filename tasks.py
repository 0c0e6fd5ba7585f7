"""The operator's verbs: parse, call golive, render, exit code. `./inv --list` names them."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

from invoke import Context, task

from golive import environment
from golive.errors import BadInput, GoliveError
from golive.verbs.result import Result

_COMMON = {"json": "one JSON object on stdout", "debug": "show tracebacks"}


def finish(work: Callable[[], Result], *, as_json: bool = False, debug: bool = False) -> None:
    """Prints a verb's result (one JSON object with ``--json``) and ends with its exit code; an error is one sentence on stderr."""
    try:
        result = work()
    except GoliveError as error:
        if debug:
            traceback.print_exc()
        if as_json:
            print(json.dumps({"schema": 1, "error": {"type": type(error).__name__, "message": error.message}}))
        print(error.message, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("Interrupted; run the same command again to go on.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(f"Unexpected {type(error).__name__}: {error}. This is a bug; run it again with --debug for the details.", file=sys.stderr)
        sys.exit(1)
    print(json.dumps(result.data) if as_json else result.text)
    sys.exit(result.exit_code)


def lazily(verb: str, env: str, **options: Any) -> Callable[[], Result]:
    """The verb ``golive.verbs.<verb>`` on environment ``env``; imported when called, so that `--list` stays fast."""

    def work() -> Result:
        from importlib import import_module

        if not env:
            raise BadInput(f"Say which environment: --env with one of {', '.join(environment.known())}.")
        result: Result = getattr(import_module(f"golive.verbs.{verb}"), verb)(environment.load(env), **options)
        return result

    return work


@task(help={"env": "environment to provision", **_COMMON})
def provision(_: Context, env: str = "", json: bool = False, debug: bool = False) -> None:
    """Make or adopt the environment's hosts; run again, it changes nothing."""
    finish(lazily("provision", env), as_json=json, debug=debug)


@task(help={"env": "environment to look at", **_COMMON})
def drift(_: Context, env: str = "", json: bool = False, debug: bool = False) -> None:
    """Name what differs from the declaration; exit 6 when something does."""
    finish(lazily("drift", env), as_json=json, debug=debug)


@task(help={"env": "environment to remove", "image": "the lab's host image too", **_COMMON})
def destroy(_: Context, env: str = "", image: bool = False, json: bool = False, debug: bool = False) -> None:
    """Remove the lab from this machine; forget an environment whose hosts are yours."""
    finish(lazily("destroy", env, with_image=image), as_json=json, debug=debug)
