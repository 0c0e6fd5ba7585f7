"""Verbs that leave the trace of a playbook on a host: which one, with what, in which run, begun or done.

Nothing else tells a run that goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import re

from golive.onhost import durable, fence
from golive.onhost.command import Call, verb
from golive.onhost.failures import BadInput

# Not from typing: that module alone would take a short call as long as its work.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from golive.onhost.places import Places

__all__ = ["recorded"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,199}")


def recorded(places: Places) -> dict[str, Any]:
    """The trace of every playbook that ever came here, by its name; one that cannot be read is None: nothing is known of it."""
    found: dict[str, Any] = {}
    try:
        paths = sorted(places.plays.glob("[a-z]*.json"))
    except OSError:
        return found
    for path in paths:
        try:
            trace = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            trace = None
        found[path.stem] = trace if isinstance(trace, dict) else None
    return found


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="the playbook, without its ending")
    parser.add_argument("--digest", required=True, help="of the playbook, its roles and its variables")
    parser.add_argument("--step", required=True, help="the step of the run")


@verb("play begin", help="a playbook begins to change this host", changes=True, arguments=_arguments)
def _begin(call: Call) -> dict[str, Any]:
    return _write(call, "begun")


@verb("play done", help="a playbook came to its end on this host", changes=True, arguments=_arguments)
def _done(call: Call) -> dict[str, Any]:
    return _write(call, "done")


def _write(call: Call, state: str) -> dict[str, Any]:
    options = call.options
    if not _NAME.fullmatch(options.name) or not _WORD.fullmatch(options.digest) or not _WORD.fullmatch(options.step):
        raise BadInput("The name of a playbook is [a-z0-9_]+; digest and step are letters, digits and ._:/-.")
    path = call.places.plays / f"{options.name}.json"
    trace = {"state": state, "digest": options.digest, "run": options.run, "step": options.step, "token": options.token, "at": fence.now()}
    durable.write_json(path, trace)
    return {"changed": True, "play": options.name, **trace}
