"""The command itself: arguments in, one JSON object on stdout or one sentence on stderr, and an exit code."""

from __future__ import annotations

import argparse
import errno
import importlib
import json
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import golive.onhost as package
from golive.onhost import fence
from golive.onhost.command import Call, Verb, registered, verb
from golive.onhost.failures import BadInput, HostFailure
from golive.onhost.places import Places

__all__ = ["main"]

_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_HOST_SAYS_NO = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""Errors of the host, not of this program: disk full, read-only, broken."""
_FRAME = frozenset({"verb", "root", "token", "run", "wait"})


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb. Returns the exit code of the docs: 0 done, 1 bug, 2 bad input, 4 refused."""
    for module in pkgutil.iter_modules(package.__path__):
        if module.name not in ("main", "build"):
            importlib.import_module(f"{package.__name__}.{module.name}")
    options = _parser().parse_args(argv)
    os.umask(0o022)
    chosen: Verb = options.verb
    places = Places(Path(options.root))
    try:
        result = _change(chosen, places, options) if chosen.changes else chosen.run(Call(places, options, None))
    except HostFailure as failure:
        print(failure, file=sys.stderr)
        return failure.exit_code
    except OSError as error:
        print(f"dwcp-host {chosen.name} failed on this host: {error}; run it again when that is mended.", file=sys.stderr)
        return 4 if error.errno in _HOST_SAYS_NO else 1
    except Exception:
        traceback.print_exc()
        return 1
    print(json.dumps(result, sort_keys=True))
    return 0


@verb("fence", help="record the token; waits for whatever runs", changes=True)
def _fence(call: Call) -> dict[str, Any]:
    # Admission did the work; only the record of it is compared here.
    return {"token": call.options.token, "owner": call.options.run}


def _change(chosen: Verb, places: Places, options: argparse.Namespace) -> dict[str, Any]:
    if options.token < 1:
        raise BadInput(f"--token must be a positive number, not {options.token}.")
    if not _RUN.fullmatch(options.run):
        raise BadInput(f"--run must be letters, digits and ._:- (at most 128), not {options.run!r}.")
    args = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items() if name not in _FRAME}
    with fence.locked(places, options.wait) as lock:
        fresh = fence.admit(places, options.token, options.run)
        try:
            result = chosen.run(Call(places, options, lock))
        except Exception as error:
            fence.record_effect(places, options.token, options.run, chosen.name, args, {"error": str(error)})
            raise
        result.setdefault("changed", fresh)
        if chosen.recorded:
            fence.record_effect(places, options.token, options.run, chosen.name, args, result)
        return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dwcp-host", description="Every effect on this host, under one lock and a fencing token.")
    parser.add_argument("--root", default="/", help=argparse.SUPPRESS)
    top = parser.add_subparsers(metavar="VERB", required=True)
    groups: dict[str, Any] = {}
    for name, chosen in sorted(registered().items()):
        first, _, second = name.partition(" ")
        if second:
            if first not in groups:
                groups[first] = top.add_parser(first).add_subparsers(metavar="VERB", required=True)
            sub = groups[first].add_parser(second, help=chosen.help)
        else:
            sub = top.add_parser(first, help=chosen.help)
        if chosen.changes:
            sub.add_argument("--token", type=int, required=True, help="fencing token of the controller's lease")
            sub.add_argument("--run", required=True, help="the run that asks")
            sub.add_argument("--wait", type=float, default=120.0, help="seconds to wait for the lock (default 120)")
        if chosen.arguments:
            chosen.arguments(sub)
        sub.set_defaults(verb=chosen)
    return parser
