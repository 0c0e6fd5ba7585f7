"""``inv readiness``: whether the release may go live, computed from evidence."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from golive import actions, releases
from golive.environment import ROOT, Environment
from golive.errors import BadInput
from golive.evidence.checklist import Checklist, Item
from golive.evidence.decision import counts
from golive.evidence.judging import STATES
from golive.evidence.standing import Standing, standing
from golive.releases import Release
from golive.runbook import load
from golive.verbs.result import Result
from golive.verbs.verify import verify

__all__ = ["readiness", "where"]


def readiness(env: Environment, *, release: str = "", only: str = "", again: bool = False, collect: bool = True) -> Result:
    """Makes evidence where it is missing and quick to make, judges every item, and decides. Exit code 0 only on GO, else 4.

    Args:
        release: a version; the environment's own when empty.
        only: ids or patterns, separated by commas, whose evidence is made; all are judged.
        again: evidence that still holds is made anew too.
        collect: whether any is made.

    Raises BadInput for an unknown version or id, Unprepared when nobody's evidence counts in the environment.
    """
    now = datetime.now(UTC)
    at = where(env, release)
    chosen = _chosen(at.checklist, only)
    troubles: list[str] = []
    if collect:
        from golive.collect.freshly import collected

        wanted = [(item, proof) for item in chosen for proof in (item.proofs if again else at.judge.lacking(item))]
        if wanted:
            troubles = collected(env, at.release, wanted, lambda: verify(env, quiet=True))
            at = where(env, release)
    data = _data(env, at, now, troubles)
    _kept_for_views(env, data)
    return Result(data, _text(env, at, data, chosen if only else None), 0 if at.decision.word == "GO" else 4)


def where(env: Environment, release: str = "") -> Standing:
    """What the evidence says now. Makes nothing. Raises like :func:`readiness`."""
    actions.load_all()
    books = {name: load(ROOT / f"runbooks/{name}.yaml", actions.registered()).digest for name in ("golive", "rollback")}
    return standing(env, books, _release(env, release))


def _release(env: Environment, version: str) -> Release | None:
    """The release that is asked about; none when the environment's own was not built yet."""
    found = releases.find(version or env.settings.release)
    if version and not found:
        raise BadInput(f"There is no release {version} here; `./inv package --env {env.name} --release {version}` builds it.")
    return releases.newest(version or env.settings.release) if found else None


def _chosen(listed: Checklist, only: str) -> list[Item]:
    if not only:
        return list(listed.items)
    patterns = [part.strip().upper() for part in only.split(",") if part.strip()]
    chosen = [item for item in listed.items if any(fnmatchcase(item.id, pattern) for pattern in patterns)]
    unmatched = [p for p in patterns if not any(fnmatchcase(item.id, p) for item in listed.items)]
    if unmatched or not chosen:
        raise BadInput(f"There is no item {(unmatched or [only])[0]!r}; ids look like AMST-007, patterns like SEC-*.")
    return chosen


def _data(env: Environment, at: Standing, now: datetime, troubles: list[str]) -> dict[str, Any]:
    machine = Counter(at.judged[item.id].state for item in at.checklist.items if item.by_machine)
    every = Counter(judged.state for judged in at.judged.values())
    return {
        "schema": 1,
        "env": env.name,
        "decision": at.decision.word,
        "release": at.release.id if at.release is not None else None,
        "at": now.isoformat(timespec="seconds"),
        "totals": {"machine": {s: machine[s] for s in STATES}, "all": {s: every[s] for s in STATES}},
        "counts": counts(at.checklist, at.judged),
        "blockers": list(at.decision.blockers),
        "risks": list(at.decision.risks),
        "critical": list(at.decision.critical),
        "troubles": troubles,
        "foreign": at.foreign,
        "checklist": at.checklist.digest,
        "items": [
            {
                "id": item.id,
                "section": item.section,
                "says": item.says,
                "state": judged.state,
                "evidence": list(judged.evidence),
                "reason": judged.reason,
                "again": list(judged.again),
                "until": judged.until.isoformat(timespec="seconds") if judged.until else None,
            }
            for item in at.checklist.items
            for judged in (at.judged[item.id],)
        ],
    }


def _kept_for_views(env: Environment, data: dict[str, Any]) -> None:
    """The page and the documents read it from here; whole, or as it was."""
    path = env.state / "readiness.json"
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        fresh.write_text(json.dumps(data, indent=1), encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise BadInput(f"{path} cannot be written: {error.strerror}.") from None


def _text(env: Environment, at: Standing, data: dict[str, Any], chosen: list[Item] | None) -> str:
    totals = data["totals"]
    lines = [f"{at.decision.word}: {at.release.id if at.release else f'{env.settings.release}, which is not built'} in {env.name}", ""]
    lines.append(f"{'':16}" + "".join(f"{state:>9}" for state in STATES))
    for section, number in data["counts"].items():
        lines.append(f"{section:16}" + "".join(f"{number[state] or '-':>9}" for state in STATES))
    for name, of in (("machine", "of 156"), ("all", "of 186")):
        lines.append(f"{of:16}" + "".join(f"{totals[name][state] or '-':>9}" for state in STATES))
    if chosen is not None:
        lines += ["", *(f"{item.id:10}{at.judged[item.id].state:9}{item.says}: {at.judged[item.id].reason}" for item in chosen)]
    lines += (
        _listed("in the way", at.decision.blockers, 20)
        + _listed("risks", at.decision.risks, 10)
        + _listed("not made", data["troubles"], 10)
    )
    if at.foreign:
        lines.append(f"\n{at.foreign} statements by keys that do not count in {env.name} were left out.")
    lines.append(f"\n`./inv explain ID --env {env.name}` shows the evidence of an item and how to repeat it.")
    return "\n".join(lines)


def _listed(title: str, sentences: Any, most: int) -> list[str]:
    if not sentences:
        return []
    more = [f"  ... and {len(sentences) - most} more (--json has all)"] if len(sentences) > most else []
    return ["", f"{title}:", *(f"  {sentence}" for sentence in sentences[:most]), *more]
