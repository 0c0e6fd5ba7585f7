"""The whole journal of an environment as one file, to be kept and checked where its database is not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from golive.engine.chain import EMPTY, FIELDS, Head, canonical
from golive.engine.ports import Signature
from golive.errors import BadInput, GoliveError

__all__ = ["Exported", "exported", "opened", "words"]

_COLUMNS = (*FIELDS, "hash")
_KIND = "dwcp-journal"


@dataclass
class Exported:
    """What a file says, and what is wrong with how it says it."""

    env: str = ""
    journal: str = ""
    rows: list[Any] = field(default_factory=list)
    head: Head = EMPTY
    at: str = ""
    """When it was exported, RFC 3339; signed as well."""
    signature: Signature | None = None
    wrong: list[str] = field(default_factory=list)


def words(env: str, journal: str, head: Head, at: str) -> bytes:
    """What is signed of an export: other words than a run's end is signed with, so that no such signature makes a cut file look whole."""
    return canonical({"env": env, "journal": journal, "seq": head.seq, "hash": head.hash, "exported": at}).encode()


def exported(path: Path, env: str, rows: Iterable[Any], at: str, sign: Callable[[bytes], Signature]) -> tuple[Head, str]:
    """``path`` holds all ``rows``, the head, and a signature of it when the key is at hand; returns the head and why it is not signed.

    Line by line JSON: what it is, the records with ``data`` as the text that was hashed, the end. Raises BadInput when that cannot be
    written.
    """
    every = list(rows)
    if not every:
        raise BadInput(f"The journal of {env} has no records; there is nothing to export.")
    head, journal = Head(every[-1].seq, every[-1].hash), every[0].hash
    unsigned, signature = "", None
    try:
        signature = sign(words(env, journal, head, at))
    except GoliveError as error:
        unsigned = str(error)
    lines = [canonical({"schema": 1, "kind": _KIND, "env": env, "journal": journal})]
    lines += [canonical({name: getattr(row, name) for name in _COLUMNS}) for row in every]
    told = {"key": signature.key, "signature": signature.text} if signature else None
    lines.append(canonical({"end": True, "records": len(every), "head": {"seq": head.seq, "hash": head.hash}, "at": at, "signature": told}))
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise BadInput(f"{path} cannot be written: {error.strerror}.") from None
    return head, unsigned


def opened(path: Path) -> Exported:
    """What the file at ``path`` says. Whatever is not exactly as it is written is said in ``wrong``. Raises BadInput for another file."""
    try:
        text = path.read_bytes().decode("ascii")
        lines = text.split("\n")
        first = _parsed(lines[0])
        if first["kind"] != _KIND or first["schema"] != 1 or set(first) != {"schema", "kind", "env", "journal"}:
            raise ValueError
        found = Exported(str(first["env"]), str(first["journal"]))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{path} is not a journal that this version of `./inv journal.export` wrote.") from None
    if lines[-1] != "":
        found.wrong.append("the file was cut within its last line")
    ended = False
    for number, line in enumerate(lines[1:-1] if lines[-1] == "" else lines[1:], 2):
        if ended:
            found.wrong.append(f"line {number} stands after the end")
            break
        try:
            ended = _take(found, _parsed(line))
        except (ValueError, KeyError, TypeError):
            found.wrong.append(f"line {number} is not as it was written")
    if not ended:
        found.wrong.append("the file was cut: its end is missing")
    return found


def _parsed(line: str) -> dict[str, Any]:
    data = json.loads(line)
    if not isinstance(data, dict) or canonical(data) != line:
        raise ValueError
    return data


def _take(found: Exported, data: dict[str, Any]) -> bool:
    """Takes one line; whether it is the end."""
    if "end" not in data:
        if set(data) != set(_COLUMNS):
            raise ValueError
        found.rows.append(SimpleNamespace(**data))
        return False
    if set(data) != {"end", "records", "head", "at", "signature"} or data["end"] is not True:
        raise ValueError
    found.head = Head(int(data["head"]["seq"]), str(data["head"]["hash"]))
    found.at = str(data["at"])
    if data["signature"] is not None:
        found.signature = Signature(str(data["signature"]["key"]), str(data["signature"]["signature"]))
    last = Head(found.rows[-1].seq, found.rows[-1].hash) if found.rows else EMPTY
    if data["records"] != len(found.rows) or last != found.head:
        found.wrong.append("the end is not that of the records: some were taken out or added")
    return True
