"""The command itself: arguments in, one JSON object on stdout or one sentence on stderr, and an exit code."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from golive.onhost import fence
from golive.onhost.command import Call, Verb, registered, verb
from golive.onhost.failures import BadInput, HostFailure
from golive.onhost.places import Places

# Not from typing: that module alone would take a short call as long as its work.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

__all__ = ["MODULES", "main", "perform"]

MODULES = {
    "activate": "activate",
    "anchor": "anchor",
    "certificates": "certificates",
    "backup": "backup",
    "cores": "cores",
    "cache": "cache",
    "deactivate": "activate",
    "fence": "main",
    "guard": "guard",
    "install": "install",
    "lease": "gateway",
    "load-start": "activate",
    "load-stop": "activate",
    "play": "play",
    "prune": "installed",
    "slot": "gateway",
    "status": "installed",
    "targets": "targets",
    "weight": "gateway",
}
"""Which module has the verbs that begin with a word. A call imports that one: the controller beats every two seconds."""

_parsers: dict[str | None, argparse.ArgumentParser] = {}
"""Kept for whoever performs more than one call in a process: simulated hosts."""
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_HOST_SAYS_NO = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""Errors of the host, not of this program: disk full, read-only, broken."""
_FRAME = frozenset({"verb", "root", "token", "run", "wait"})


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb. Returns the exit code of the docs: 0 done, 1 bug, 2 bad input, 4 refused."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    os.umask(0o022)
    code, said = perform(arguments)
    print(said, file=sys.stderr if code else sys.stdout)
    return code


def perform(arguments: Sequence[str], stdin: IO[str] | None = None) -> tuple[int, str]:
    """Runs one verb: the exit code and what goes to stdout (0) or stderr. Raises SystemExit for words that are no verb."""
    first = _load(arguments)
    if first not in _parsers:
        _parsers[first] = _parser(first)
    options = _parsers[first].parse_args(list(arguments))
    chosen: Verb = options.verb
    places = Places(Path(options.root))
    try:
        if chosen.changes:
            result = _change(chosen, places, options, stdin)
        else:
            call = Call(places, options, None)
            call.input = stdin
            result = chosen.run(call)
    except HostFailure as failure:
        return failure.exit_code, str(failure)
    except OSError as error:
        said = f"dwcp-host {chosen.name} failed on this host: {error}; run it again when that is mended."
        return (4 if error.errno in _HOST_SAYS_NO else 1), said
    except Exception:
        import traceback

        return 1, traceback.format_exc().rstrip()
    return 0, json.dumps(result, sort_keys=True)


@verb("fence", help="record the token; waits for whatever runs", changes=True)
def _fence(call: Call) -> dict[str, Any]:
    # Admission did the work; only the record of it is compared here.
    return {"token": call.options.token, "owner": call.options.run}


def _change(chosen: Verb, places: Places, options: argparse.Namespace, stdin: IO[str] | None) -> dict[str, Any]:
    if options.token < 1:
        raise BadInput(f"--token must be a positive number, not {options.token}.")
    if not _RUN.fullmatch(options.run):
        raise BadInput(f"--run must be letters, digits and ._:- (at most 128), not {options.run!r}.")
    args = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items() if name not in _FRAME}
    with fence.locked(places, options.wait) as lock:
        fresh = fence.admit(places, options.token, options.run)
        try:
            call = Call(places, options, lock)
            call.input = stdin
            result = chosen.run(call)
        except Exception as error:
            fence.record_effect(places, options.token, options.run, chosen.name, args, {"error": str(error)})
            raise
        result.setdefault("changed", fresh)
        if chosen.recorded:
            fence.record_effect(places, options.token, options.run, chosen.name, args, result)
        return result


def _load(arguments: Sequence[str]) -> str | None:
    """Imports the modules that ``arguments`` need; returns the first word of the verb when only its own verbs are needed."""
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        if word == "--root" and rest:
            rest.pop(0)
        elif not word.startswith("--root="):
            rest.clear()
    first = rest[0] if rest and rest[0] in MODULES else None
    for module in sorted(set(MODULES.values())) if first is None else (MODULES[first],):
        # What __import__ returns is the package; the module is imported for the verbs that it registers.
        __import__(f"golive.onhost.{module}")
    return first


def _parser(first: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dwcp-host", description="Every effect on this host, under one lock and a fencing token.")
    parser.add_argument("--root", default="/", help=argparse.SUPPRESS)
    top = parser.add_subparsers(metavar="VERB", required=True)
    groups: dict[str, Any] = {}
    for name, chosen in sorted(registered().items()):
        one, _, two = name.partition(" ")
        if first not in (None, one):
            continue
        if two:
            if one not in groups:
                words = ", ".join(sorted(each.partition(" ")[2] for each in registered() if each.startswith(one + " ")))
                groups[one] = top.add_parser(one, help=words).add_subparsers(metavar="VERB", required=True)
            sub = groups[one].add_parser(two, help=chosen.help)
        else:
            sub = top.add_parser(one, help=chosen.help)
        if chosen.changes:
            sub.add_argument("--token", type=int, required=True, help="fencing token of the controller's lease")
            sub.add_argument("--run", required=True, help="the run that asks")
            sub.add_argument("--wait", type=float, default=120.0, help="seconds to wait for the lock (default 120)")
        if chosen.arguments:
            chosen.arguments(sub)
        sub.set_defaults(verb=chosen)
    return parser
