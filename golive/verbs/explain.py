"""``inv explain ID``: one item, everything that is known of it, and how to see it again oneself."""

from __future__ import annotations

from typing import Any

from golive.environment import Environment
from golive.evidence import Kept, store_here
from golive.verbs.readiness import where
from golive.verbs.result import Result

__all__ = ["explain"]


def explain(env: Environment, id_: str, *, release: str = "") -> Result:
    """What ``id_`` says, its state, the statements it rests on, and what to type to repeat each. Raises BadInput for an unknown id."""
    at = where(env, release)
    item = at.checklist.item(id_)
    judged = at.judged[item.id]
    statements = [_told(at.kept[digest]) for digest in judged.evidence]
    asked = item.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    data: dict[str, Any] = {
        "schema": 1,
        "env": env.name,
        "item": asked,
        "critical": item.id in at.decision.critical,
        "state": judged.state,
        "reason": judged.reason,
        "until": judged.until.isoformat(timespec="seconds") if judged.until else None,
        "again": list(judged.again),
        "evidence": statements,
        "wrong": at.wrong,
    }
    lines = [f"{item.id}  {item.says}", f"  {judged.state}: {judged.reason}"]
    lines.append(f"  section {item.section}, {'critical' if data['critical'] else 'not critical'} in {env.name}")
    for one in statements:
        lines += [
            "",
            f"  {one['check']}  {one['result']}: {one['summary']}",
            f"    made     {one['finished']} by {one['by']}, holds until {one['valid_until']}",
            *(f"    of       {name} {digest[:12]}" for name, digest in one["subjects"].items()),
            f"    by       {one['command']}",
            f"    output   {one['output']}",
            f"    signed   {one['digest']}",
        ]
    lines += [""] + [f"  to see it again: {command}" for command in judged.again]
    lines += [f"  WRONG: {sentence}" for sentence in at.wrong]
    return Result(data, "\n".join(lines).rstrip())


def _told(kept: Kept) -> dict[str, Any]:
    at = kept.statement.predicate
    return {
        "digest": kept.digest,
        "check": at.check,
        "env": at.env,
        "result": at.result,
        "summary": at.summary,
        "facts": at.facts,
        "command": at.command,
        "subjects": dict(kept.statement.digests()),
        "by": at.collector.host,
        "started": at.started.isoformat(timespec="seconds"),
        "finished": at.finished.isoformat(timespec="seconds"),
        "valid_until": at.valid_until.isoformat(timespec="seconds"),
        "output": str(store_here().root / "outputs" / at.output.sha256),
    }
