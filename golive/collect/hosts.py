"""Evidence from the environment's hosts: the checks of ``inv verify``, and questions to Prometheus."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Protocol

from golive.environment import Environment
from golive.errors import GoliveError
from golive.evidence import Kept, Subject, host_subject, record, release_subject
from golive.evidence.checklist import Item, Query
from golive.evidence.judging import VALID
from golive.fleet.inventory import read_fleet
from golive.gates.adapters import Prometheus, operator_tls
from golive.gates.window import NoData
from golive.releases import Release, find_id

__all__ = ["asked", "verified"]


class Checks(Protocol):
    """What the checks of the hosts found."""

    @property
    def ok(self) -> bool: ...
    @property
    def ran(self) -> int: ...
    @property
    def output(self) -> str: ...
    @property
    def outcomes(self) -> dict[str, str]: ...


def verified(env: Environment, release: str, checks: Checks, started: datetime) -> Kept:
    """Keeps what ``checks`` found of the hosts while ``release`` (its id) was live."""
    live = find_id(release)
    counted = len(checks.outcomes)
    wrong = [name for name, outcome in checks.outcomes.items() if outcome != "passed"]
    return record(
        check="verify",
        env=env.name,
        subjects=[release_subject(live), *_hosts(env)],
        command=f"./inv verify --env {env.name}",
        result="PASS" if checks.ok else "FAIL",
        summary=f"{checks.ran} checks of {counted} kinds, {len(wrong)} not passed",
        facts={"checks": checks.outcomes, "release": release},
        output=checks.output.encode(),
        started=started,
        valid_for=VALID["verify"],
    )


def asked(env: Environment, release: Release, items: Iterable[Item]) -> list[Kept]:
    """Asks Prometheus what ``items`` ask, and records each answer; one that cannot be had is recorded as that."""
    from golive.fleet.tunnel import proxy

    questions = [(item, number, proof) for item in items for number, proof in enumerate(item.proofs, 1) if isinstance(proof, Query)]
    if not questions:
        return []
    fleet = read_fleet(env)
    subjects = [release_subject(release), *_hosts(env)]
    prometheus = Prometheus(fleet.ops.address, operator_tls(env.state / "pki"), proxy=proxy(env, fleet))
    try:
        return [_answer(env, prometheus, item, number, proof, subjects) for item, number, proof in questions]
    finally:
        prometheus.close()


def _answer(env: Environment, prometheus: Prometheus, item: Item, number: int, proof: Query, subjects: list[Subject]) -> Kept:
    started = datetime.now(UTC)
    answer = prometheus.instant(proof.query)
    value, why = _value(answer)
    unmet = proof.need.unmet({"value": value})
    return record(
        check=f"query.{item.id}.{number}",
        env=env.name,
        subjects=subjects,
        command=f"Prometheus of {env.name}: {proof.query}",
        result="UNKNOWN" if value is None else "FAIL" if unmet else "PASS",
        summary=f"{proof.query}: {why or value} ({proof.need} is asked)",
        facts={"query": proof.query, "value": value, "why": why},
        output=json.dumps({"nothing": str(answer)} if isinstance(answer, NoData) else answer).encode(),
        started=started,
        valid_for=VALID["query"],
    )


def _value(answer: Any) -> tuple[float | None, str]:
    """The one number that a query has to give; none, or several, are no answer."""
    if isinstance(answer, NoData):
        return None, str(answer)
    if len(answer) != 1:
        return None, f"it gives {len(answer)} series where one is asked"
    try:
        value = float(answer[0]["value"][1])
    except (KeyError, IndexError, TypeError, ValueError):
        return None, "it gives no number"
    return (value, "") if math.isfinite(value) else (None, f"it gives {value}")


def _hosts(env: Environment) -> list[Subject]:
    try:
        return [host_subject(host.name, host.host_key) for host in read_fleet(env).hosts]
    except GoliveError:
        return []
