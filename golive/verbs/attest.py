"""``inv attest``: a person signs that an item is so, that it is not, or that the release may go without it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from golive.approvals import approvers_of
from golive.environment import Environment
from golive.errors import BadInput, Unprepared
from golive.evidence import Subject, record, release_subject
from golive.evidence.signing import opened, said, sealed, word_of
from golive.runbook import parse_duration
from golive.verbs.readiness import where
from golive.verbs.result import Result

__all__ = ["attest"]


def attest(
    env: Environment, id_: str, *, role: str, key: str, comment: str, deny: bool = False, waive: bool = False, until: str = ""
) -> Result:
    """Signs with ``key``, checks that the signature counts, and keeps it as evidence.

    Args:
        id_: the item.
        role: for which the person signs; the item names who has to, a waiver is anybody's whose policy lets them.
        key: the person's own SSH key.
        comment: what the person saw, or why it may be left out.
        deny: it is not so.
        waive: it is not shown, and the release may go all the same, for as long as ``until``.
        until: how long it holds, as 14d; the item's or the policy's longest when empty.

    Raises BadInput, Refused; nothing is kept then.
    """
    at = where(env)
    item = at.checklist.item(id_)
    if deny and waive:
        raise BadInput("--deny and --waive contradict each other.")
    if at.release is None:
        raise Unprepared(f"Release {env.settings.release} is not built yet, and what you sign is about one.")
    if not waive and item.attest is None:
        raise BadInput(f"{item.id} is shown by machines, not signed for; `./inv explain {item.id} --env {env.name}` says how.")
    if not waive and item.attest is not None and role != item.attest.role:
        raise BadInput(f"{item.id} is for role {item.attest.role} to sign, not for {role or 'nobody'}.")
    if not Path(key).expanduser().is_file():
        raise BadInput(f"--key {key!r} does not exist; name your SSH key.")
    longest = at.policy.waivers.longest if waive or item.attest is None else item.attest.valid
    lasts = _lasts(until, longest)
    if waive and any(fnmatchcase(item.id, pattern) for pattern in at.policy.waivers.never):
        raise BadInput(f"{item.id} cannot be waived: policies/{env.settings.policy}.yaml says never.")
    approvers, now = approvers_of(env), datetime.now(UTC).replace(microsecond=0)
    fields: dict[str, Any] = {"env": env.name, "item": item.id, "says": said(item), "release": at.release.digest, "role": role}
    fields |= {"decision": "waive" if waive else "deny" if deny else "attest", "comment": comment, "issued": now, "expires": now + lasts}
    envelope = sealed(word_of(fields), Path(key).expanduser())
    _, person = opened(envelope, approvers, now)
    told = "waived it" if waive else "says it is not so" if deny else "signed it"
    kept = record(
        check=f"{'waive' if waive else 'attest'}.{item.id}",
        env=env.name,
        subjects=[Subject.of(f"item:{item.id}", said(item)), release_subject(at.release)],
        command=f"ssh-keygen -Y sign, by {person} as {role}",
        result="FAIL" if deny else "PASS",
        summary=f"{person} ({role}) {told} until {now + lasts:%Y-%m-%d}: {comment}",
        facts={"person": person, "role": role},
        output=envelope,
        started=now,
        valid_for=lasts,
    )
    data = {"schema": 1, "env": env.name, "item": item.id, "decision": fields["decision"], "person": person, "evidence": kept.digest}
    return Result(data | {"until": (now + lasts).isoformat()}, kept.statement.predicate.summary)


def _lasts(until: str, longest: timedelta) -> timedelta:
    try:
        lasts = parse_duration(until) if until else longest
    except ValueError as error:
        raise BadInput(f"--until: {error}.") from None
    if not timedelta(0) < lasts <= longest:
        raise BadInput(f"--until {until} is longer than this may hold ({longest.days} days).")
    return lasts
