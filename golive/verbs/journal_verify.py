"""``inv journal.verify``: whether the journal is what was written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from golive import audit, engine
from golive.audit import Examination
from golive.engine import Head
from golive.engine.journal import Witness
from golive.environment import Environment
from golive.errors import BadInput, GoliveError
from golive.verbs.result import Result

__all__ = ["journal_file_verify", "journal_verify"]

_ANCHORS = ("hosts", "file")


def journal_verify(
    env: Environment,
    *,
    anchors: str = "hosts",
    file: str = "",
    key: str = "",
    anchor: str = "",
    superseded: str = "",
) -> Result:
    """Recomputes the chain of ``env``'s journal, or of an export of it, and compares it with what hosts and this machine saw, and with
    its signatures. Exit 0 only when all of it holds and something seen elsewhere could be read.

    Raises BadInput when there is no journal or an option is none, Held when the database does not answer.
    """
    if anchors not in _ANCHORS:
        raise BadInput(f"--anchors is one of {', '.join(_ANCHORS)}, not {anchors!r}.")
    keys = [*_given(key), *_own(env)]
    heads = _named(anchor)
    witness = Witness(env.state / "journal.head").read()
    given = tuple(filter(None, superseded.split(",")))
    if any(not re.fullmatch(r"[0-9a-f]{8,64}", one) for one in given):
        raise BadInput(
            "--superseded is the beginning of another journal's identity, as `./inv journal.verify` says it (8 characters at least)."
        )
    if file:
        return _of_file(Path(file), keys, heads, env.name)
    if not engine.has_journal(env):
        raise BadInput(f"No run was ever started in {env.name}; there is no journal to check.")
    journal = engine.open_journal(env)
    if witness is not None:
        heads["journal.head"] = witness
    hosts = audit.kept(env) if anchors == "hosts" else None
    found = audit.examine(env.name, journal.rows(), keys=keys, hosts=hosts, heads=heads, superseded=given)
    return _result(found, env.name, f"The journal of {env.name}", hosts)


def journal_file_verify(*, file: str, key: str = "", anchor: str = "") -> Result:
    """Checks an export alone, on a machine that knows nothing of its environment."""
    return _of_file(Path(file), _given(key), _named(anchor), "")


def _of_file(path: Path, keys: list[str], heads: dict[str, Head], env: str) -> Result:
    opened = audit.opened(path)
    end = None
    if opened.signature is not None:
        end = (audit.words(opened.env, opened.journal, opened.head, opened.at), opened.signature)
    found = audit.examine(env or opened.env, opened.rows, keys=keys, heads=heads, end=end)
    found.wrong = opened.wrong + found.wrong
    if opened.journal != found.journal:
        found.wrong.append("the file names another first record than the one that it holds")
    if found.signed_to == found.head.seq and found.records:
        # A signature of the very end leaves nothing to cut; without one, only a head that was seen elsewhere shows a cut.
        found.unknown = [line for line in found.unknown if not line.startswith("nothing that was seen")]
        found.notes.append(f"it says how the journal stood on {opened.at}; what came later, and a head of it, is asked of the environment")
    return _result(found, opened.env, str(path), None)


def _result(found: Examination, env: str, what: str, hosts: Mapping[str, Any] | None) -> Result:
    state = "broken" if found.wrong else "unknown" if found.unknown else "intact"
    data = {
        "schema": 1,
        "env": env,
        "state": state,
        "journal": found.journal,
        "records": found.records,
        "head": {"seq": found.head.seq, "hash": found.head.hash},
        "signed_to": found.signed_to,
        "key": found.key,
        "anchors": found.anchors,
        "wrong": found.wrong,
        "unknown": found.unknown,
        "notes": found.notes,
    }
    said = {"broken": "was CHANGED", "unknown": "cannot be called intact", "intact": "is intact"}[state]
    lines = [
        f"{what} {said}: {found.records} records, head {found.head.seq} {found.head.hash[:16]}, signed up to record {found.signed_to}."
    ]
    places = [f"{place} {seq}" for place, seq in sorted(found.anchors.items())]
    lines.append(f"Seen elsewhere: {', '.join(places) or 'nothing'}." + (f" Hosts asked: {len(hosts)}." if hosts is not None else ""))
    lines += [f"  WRONG    {line}" for line in found.wrong]
    lines += [f"  UNKNOWN  {line}" for line in found.unknown]
    lines += [f"  note     {line}" for line in found.notes]
    return Result(data, "\n".join(lines), 0 if found.passed else 4)


def _own(env: Environment) -> list[str]:
    try:
        return [audit.public_key(env)]
    except GoliveError:
        return []


def _given(key: str) -> list[str]:
    """The public keys of a file, one a line."""
    if not key:
        return []
    try:
        lines = Path(key).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"--key {key} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    keys = [" ".join(line.split()[:2]) for line in lines if re.match(r"(ssh|ecdsa|sk)-\S+ [A-Za-z0-9+/=]+", line)]
    if not keys:
        raise BadInput(f"--key {key} holds no public key; give the .pub file of the key that signs the journal.")
    return keys


def _named(anchor: str) -> dict[str, Head]:
    """``SEQ:HASH,...`` as somebody noted them."""
    heads = {}
    for part in filter(None, anchor.split(",")):
        seq, _, digest = part.strip().partition(":")
        if not seq.isdecimal() or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise BadInput(f"--anchor is SEQ:HASH as `./inv journal.show` prints them, not {part!r}.")
        heads[f"--anchor {seq}"] = Head(int(seq), digest)
    return heads
