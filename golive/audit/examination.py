"""What can be said of a journal: whether its chain holds, fits what others saw of it, and is signed as far as its runs are over."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from golive.audit.hosts import Kept
from golive.audit.key import signed
from golive.engine.anchor import message
from golive.engine.chain import EMPTY, Head, wrong
from golive.engine.fold import FORGOTTEN
from golive.engine.ports import Signature

__all__ = ["Examination", "examine"]


@dataclass
class Examination:
    """What was found. Only a journal of which nothing is wrong and everything is known passes."""

    records: int = 0
    head: Head = EMPTY
    journal: str = ""
    wrong: list[str] = field(default_factory=list)
    """Somebody changed something, as sentences."""
    unknown: list[str] = field(default_factory=list)
    """What would have to be known for a pass."""
    notes: list[str] = field(default_factory=list)
    anchors: dict[str, int] = field(default_factory=dict)
    """By place, the newest record that was seen there."""
    signed_to: int = 0
    """The last record that a good signature covers; 0 for none."""
    key: str = ""

    @property
    def passed(self) -> bool:
        return not self.wrong and not self.unknown


def examine(
    env: str,
    rows: Sequence[Any],
    *,
    keys: Collection[str],
    hosts: Mapping[str, Kept | str] | None = None,
    heads: Mapping[str, Head] | None = None,
    end: tuple[bytes, Signature] | None = None,
    superseded: Iterable[str] = (),
) -> Examination:
    """What can be said of ``rows``.

    Args:
        env: whose journal it is.
        rows: the records as they are kept (``data`` as text), in the order of their numbers.
        keys: public halves that are trusted, of the key that signs now and of earlier ones; without any, the one that all hosts pinned.
        hosts: what hosts keep, or why that is not known; None when they were not asked.
        heads: by place, heads of this journal that were seen elsewhere.
        end: a signature of the last record that is kept outside of the records, and what it has to be of.
        superseded: beginnings of the identities of earlier journals of ``env`` that were given up on purpose.
    """
    last = rows[-1] if rows else None
    found = Examination(len(rows), Head(last.seq, last.hash) if last else EMPTY, rows[0].hash if rows else "")
    found.wrong += [f"record {row.seq} is one of environment {row.env}" for row in rows if row.env != env]
    found.wrong += wrong(rows, ())
    by_seq = {row.seq: row.hash for row in rows}
    for place, head in (heads or {}).items():
        found.anchors[place] = head.seq
        found.wrong += _compared(by_seq, found.head.seq, [(head.seq, head.hash, place)])
    if hosts is not None:
        _with_hosts(found, by_seq, rows, hosts, tuple(superseded))
    if not found.anchors:
        found.unknown.append("nothing that was seen of this journal elsewhere could be read, so a cut or a copy made anew would not show")
    pinned = {one.key for one in (hosts or {}).values() if isinstance(one, Kept) and one.key}
    if not keys and len(pinned) == 1:
        keys = pinned
        found.notes.append("the key is the one that the hosts pinned; this machine has none of its own to compare with")
    strange = [name for name, one in (hosts or {}).items() if isinstance(one, Kept) and one.key and one.key not in keys]
    if strange:
        found.wrong.append(f"{', '.join(strange)} pinned another key than the one that is trusted (an earlier one is named with --key)")
    _with_signatures(found, env, rows, by_seq, keys, end)
    return found


def _compared(by_seq: Mapping[int, str], end: int, seen: Iterable[tuple[int, str, str]]) -> list[str]:
    """Sentences about heads ``(seq, hash, where)`` that do not fit; those of many places as one."""
    said: dict[str, list[str]] = {}
    for seq, digest, where in seen:
        if seq > end:
            said.setdefault(f"the journal was cut: it ends with record {end}, but record {seq} was seen", []).append(where)
        elif by_seq.get(seq, digest) != digest:
            said.setdefault(f"record {seq} is not the one that was seen when it was written", []).append(where)
    return [f"{what} ({', '.join(sorted(set(places)))})" for what, places in said.items()]


def _with_hosts(
    found: Examination, by_seq: Mapping[int, str], rows: Sequence[Any], hosts: Mapping[str, Kept | str], superseded: tuple[str, ...]
) -> None:
    seen: list[tuple[int, str, str]] = []
    others: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, one in hosts.items():
        if isinstance(one, str):
            found.notes.append(f"{name} was not read: {one}")
            continue
        mine = [(head["seq"], head["hash"], f"{name}, {head['at']}") for head in one.heads if head["journal"] == found.journal]
        seen += mine
        if mine:
            found.anchors[name] = max(seq for seq, _, _ in mine)
        for head in one.heads:
            if head["journal"] != found.journal and not (superseded and head["journal"].startswith(superseded)):
                others.setdefault(head["journal"], {})[name] = head
        if one.damaged:
            found.notes.append(f"{name} holds {one.damaged} heads that cannot be read")
    found.wrong += _compared(by_seq, found.head.seq, seen)
    for journal, places in others.items():
        head = max(places.values(), key=lambda one: int(one["seq"]))
        found.wrong.append(
            f"{', '.join(sorted(places))}: another journal of this environment was seen ({journal[:12]}, up to record {head['seq']} on "
            f"{head['at']}); this one took its place. If that was meant: --superseded {journal[:12]}"
        )
    read = sum(isinstance(one, Kept) for one in hosts.values())
    if not any(name in hosts for name in found.anchors):
        why = "no host holds a head of this journal" if read else "no host could be asked for the heads that it holds"
        found.unknown.append(why)
    _left(found, rows, hosts)


def _left(found: Examination, rows: Sequence[Any], hosts: Mapping[str, Kept | str]) -> None:
    """A head that the journal says hosts took is still on them."""
    last: dict[str, Any] = {}
    for row in rows:
        if row.kind == FORGOTTEN:
            last = {}  # those hosts are gone
        elif row.kind == "journal.anchored":
            last = _data(row) if _data(row).get("hosts") else last
    if not last:
        return
    answered = [name for name in last["hosts"] if isinstance(hosts.get(name), Kept)]
    lost = [name for name in answered if found.anchors.get(name, 0) < int(last["seq"])]
    if lost and len(lost) == len(answered):
        found.wrong.append(f"the head of record {last['seq']} was left on {', '.join(answered)}, and none of them holds it any more")
    elif lost:
        found.notes.append(f"{', '.join(lost)} took the head of record {last['seq']} and no longer holds it: made anew since, or cleared")


def _with_signatures(
    found: Examination, env: str, rows: Sequence[Any], by_seq: Mapping[int, str], keys: Collection[str], end: tuple[bytes, Signature] | None
) -> None:
    claims = [(found.head, end[0], end[1], "the end")] if end is not None else []
    for row in rows:
        data = _data(row) if row.kind == "journal.signed" else {}
        if data:
            seq = data.get("seq")
            head = Head(seq if isinstance(seq, int) else 0, str(data.get("hash", "")))
            claim = Signature(str(data.get("key", "")), str(data.get("signature", "")))
            claims.append((head, message(env, found.journal, head), claim, f"record {row.seq}"))
    over = next((row for row in reversed(rows) if row.kind == "run.finished"), None)
    if not keys:
        if claims or over is not None:
            found.unknown.append(
                "the key that signs this journal is not known here, so its signatures cannot be checked; name it with --key"
            )
        return
    for head, text, claim, where in claims:
        if by_seq.get(head.seq) != head.hash:
            found.wrong.append(f"the signature of {where} is one of a record {head.seq} that is not in this journal")
        elif claim.key not in keys:
            found.wrong.append(f"the signature of {where} is by another key than the one that is trusted")
        elif not signed(text, claim.text, claim.key):
            found.wrong.append(f"the signature of {where} does not fit record {head.seq}")
        else:
            found.signed_to, found.key = max(found.signed_to, head.seq), claim.key
    if over is not None and found.signed_to < over.seq:
        found.unknown.append(f"run {over.run} is over and not signed: `./inv journal.anchor` signs it")


def _data(row: Any) -> dict[str, Any]:
    try:
        data = json.loads(row.data)
    except (ValueError, TypeError):
        return {}
    return data if isinstance(data, dict) else {}
