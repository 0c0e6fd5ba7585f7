"""Heads of the controller's journal, kept where its owner cannot reach: a journal that was changed or cut no longer fits them.

    anchor set   appends one head; refuses to go back within a journal
    anchor get   says every head that was left here, and the pinned key

One line a head in ``anchors.jsonl``, never taken out. A journal is known by the hash of its first record: an environment that begins a
new one leaves the old one's lines standing, for whoever asks why. The first key that signs an environment's journal is pinned here.
"""

from __future__ import annotations

import json
import re

from golive.onhost import durable, fence
from golive.onhost.command import Call, verb
from golive.onhost.failures import BadInput, Refused
from golive.onhost.places import Places

# Not from typing: that module alone would take a short call as long as its work.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

__all__ = ["heads"]

_HASH = re.compile(r"[0-9a-f]{64}")
_ENV = re.compile(r"[a-z][a-z0-9-]{0,31}")
_KEY = re.compile(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/=]{20,2000}")


def heads(places: Places, env: str) -> tuple[list[dict[str, Any]], int]:
    """What was left here of ``env``, oldest first, and how many lines of the file say nothing. Raises Refused when it cannot be read."""
    try:
        lines = places.anchors.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise Refused(f"{places.anchors} cannot be read ({error.strerror}), so no head can be compared; look at it first.") from None
    found, damaged = [], 0
    for line in lines:
        try:
            data = json.loads(line)
            sound = isinstance(data["seq"], int) and all(isinstance(data[name], str) for name in ("env", "journal", "hash", "run", "at"))
        except (ValueError, KeyError, TypeError):
            sound = False
        if not sound:
            damaged += 1  # torn by a crash while it was written, or by somebody
        elif data["env"] == env:
            found.append(data)
    return found, damaged


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--env", required=True, help="the environment whose journal it is")
    parser.add_argument("--journal", required=True, help="hash of the journal's first record")
    parser.add_argument("--seq", type=int, required=True, help="number of the last record")
    parser.add_argument("--hash", required=True, help="its hash")
    parser.add_argument("--key", default="", help="public half of the key that signs the journal")


@verb("anchor set", help="keep the head of a journal", changes=True, recorded=False, arguments=_arguments)
def _set(call: Call) -> dict[str, Any]:
    options = call.options
    for name, pattern in (("env", _ENV), ("journal", _HASH), ("hash", _HASH), ("key", _KEY)):
        value = getattr(options, name)
        if not pattern.fullmatch(value) and not (name == "key" and not value):
            raise BadInput(f"--{name} is not one: {value!r}.")
    if options.seq < 1:
        raise BadInput(f"--seq must be a positive number, not {options.seq}.")
    known, _ = heads(call.places, options.env)
    same = [head for head in known if head["journal"] == options.journal]
    last = max(same, key=lambda head: int(head["seq"]), default=None)
    fresh = last is None or options.seq > last["seq"]
    if last is not None and options.seq < last["seq"]:
        raise Refused(
            f"Record {last['seq']} of this journal of {options.env} was seen here on {last['at']}; one that ends with record {options.seq} "
            "was cut."
        )
    if last is not None and options.seq == last["seq"] and options.hash != last["hash"]:
        raise Refused(
            f"Record {last['seq']} of this journal of {options.env} was seen here with another hash on {last['at']}: it was changed."
        )
    if fresh:
        head = {"env": options.env, "journal": options.journal, "seq": options.seq, "hash": options.hash, "run": options.run}
        durable.append_line(call.places.anchors, {**head, "token": options.token, "at": fence.now()})
    others = sorted({head["journal"] for head in known} - {options.journal})
    return {"changed": fresh, "seq": options.seq, "key": _pinned(call.places, options.env, options.key), "others": others}


@verb(
    "anchor get",
    help="say the heads that were kept",
    changes=False,
    arguments=lambda parser: parser.add_argument("--env", required=True, help="the environment whose journal it is"),
)
def _get(call: Call) -> dict[str, Any]:
    found, damaged = heads(call.places, call.options.env)
    return {"heads": found, "damaged": damaged, "key": _keys(call.places).get(call.options.env, "")}


def _keys(places: Places) -> dict[str, Any]:
    try:
        data = json.loads(places.journal_keys.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Refused(f"{places.journal_keys} cannot be read ({error}), so no key can be compared; look at it first.") from None
    if not isinstance(data, dict):
        raise Refused(f"{places.journal_keys} holds no keys, so none can be compared; look at it first.")
    return data


def _pinned(places: Places, env: str, key: str) -> str:
    """``none``, ``pinned`` (now, the first), ``known`` or ``other``: another key than the pinned one is said, and not taken."""
    if not key:
        return "none"
    keys = _keys(places)
    if env in keys:
        return "known" if keys[env] == key else "other"
    durable.write_json(places.journal_keys, {**keys, env: key})
    return "pinned"
