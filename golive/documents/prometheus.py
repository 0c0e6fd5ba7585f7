"""What Prometheus remembers of the days after T-0, asked once and kept as evidence, answers and all."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from golive.documents.health import MEASURES, STEP_S, Asked
from golive.environment import Environment
from golive.errors import GoliveError
from golive.evidence import Kept, record, release_subject
from golive.gates.adapters import Prometheus, operator_tls
from golive.gates.window import NoData, Reason
from golive.releases import find_id

__all__ = ["CHECK", "answers", "asked_of"]

CHECK = "query.health"
_HELD = timedelta(days=1)
Ask = Callable[[str, float, float, float], "list[tuple[float, float]] | NoData"]


def asked_of(env: Environment, release: str, start: datetime, end: datetime, kept: dict[str, Kept]) -> Asked:
    """Prometheus' answers about ``release`` from ``start`` to ``end``; the statement that keeps them is put into ``kept``.

    Never raises for what does not answer: then there is no data, and why.
    """
    if env.is_sim:
        return Asked("", {}, "The hosts are simulated; there is no Prometheus to ask.")
    from golive.fleet.inventory import read_fleet
    from golive.fleet.tunnel import proxy

    began = datetime.now(UTC)
    try:
        fleet = read_fleet(env)
        prometheus = Prometheus(fleet.ops.address, operator_tls(env.state / "pki"), proxy=proxy(env, fleet))
    except GoliveError as error:
        return Asked("", {}, error.message)
    try:
        found = answers(prometheus.over, release, start, end)
    finally:
        prometheus.close()
    return _recorded(env, release, start, end, found, began, kept)


def answers(ask: Ask, release: str, start: datetime, end: datetime) -> dict[str, Any]:
    """Points by measure; a sentence where there are none. Who did not answer at all is not asked the rest."""
    found: dict[str, Any] = {}
    silent = ""
    for measure in MEASURES:
        if silent:
            found[measure.name] = silent
            continue
        query = measure.query.replace("%s", f"release={json.dumps(release)}")
        points = ask(query, start.timestamp(), end.timestamp(), STEP_S)
        found[measure.name] = str(points) if isinstance(points, NoData) else points
        if isinstance(points, NoData) and points.reason in (Reason.UNREACHABLE, Reason.TIMEOUT):
            silent = str(points)
    return found


def _recorded(
    env: Environment, release: str, start: datetime, end: datetime, found: dict[str, Any], began: datetime, kept: dict[str, Kept]
) -> Asked:
    points = {name: answer for name, answer in found.items() if isinstance(answer, list) and answer}
    silent = [
        f"{name}: {answer if isinstance(answer, str) else 'it answered nothing'}" for name, answer in found.items() if name not in points
    ]
    if not points:
        return Asked("", {}, f"It was asked and gave nothing ({silent[0]}).")
    try:
        one = record(
            check=CHECK,
            env=env.name,
            subjects=[release_subject(find_id(release))],
            command=f"./inv document health --env {env.name}",
            result="PASS" if not silent else "UNKNOWN",
            summary=f"{len(points)} of {len(found)} questions have answers, {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}",
            facts={"from": start.isoformat(), "to": end.isoformat(), "step_s": STEP_S, "silent": silent},
            output=json.dumps(found).encode(),
            started=began,
            valid_for=_HELD,
        )
    except GoliveError as error:
        return Asked("", {}, f"What it answered could not be kept as evidence: {error.message}")
    kept[one.digest] = one
    return Asked(one.digest, points)
