"""``inv board``: a web page on which people watch a run. Reads only."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from golive import actions, runbook
from golive.engine import JournalReader
from golive.environment import ROOT, Environment
from golive.errors import BadInput, GoliveError
from golive.fleet.inventory import read_fleet
from golive.gates.spec import GatePolicy, GateSpec, both, parse_policy, parse_spec
from golive.runbook import Runbook
from golive.runbook.duration import format_offset
from golive.verbs.result import Result
from golive.views.board import PORT, Book, PlannedStage, PlannedStep, Sources, served, token_in
from golive.views.looks import LOOKS

__all__ = ["board", "sources"]

_BOOKS = ("golive", "rollback", "return")


def board(env: Environment, *, host: str = "127.0.0.1", port: str = "", token_file: str = "", quiet: bool = False) -> Result:
    """Serves the board of ``env`` until it is interrupted, which is its ordinary end.

    Raises BadInput when it cannot listen there, or others could reach it and there is no token.
    """
    if port and not port.isdecimal():
        raise BadInput(f"--port takes a number from 0 to 65535, not {port!r}.")
    token = token_in(Path(token_file).expanduser()) if token_file else None

    def ready(url: str) -> None:
        asks = ", which asks for the token" if token else ""
        print(f"The board of {env.name} is at {url}{asks}. Ctrl-C ends it.", file=sys.stderr if quiet else sys.stdout, flush=True)

    url = served(sources(env), host=host, port=int(port or PORT), token=token, ready=ready)
    return Result({"schema": 1, "env": env.name, "url": url}, "")


def sources(env: Environment) -> Sources:
    """What the board of ``env`` reads."""
    reader = JournalReader(env)
    return Sources(
        env=env.name,
        look=reader.look,
        readiness=env.state / "readiness.json",
        looks=env.state / LOOKS,
        books=lambda: _books(env),
        hosts=lambda: _hosts(env),
    )


def _hosts(env: Environment) -> Sequence[Mapping[str, Any]]:
    return [host.model_dump(include={"name", "site", "role", "gateway", "load"}) for host in read_fleet(env).hosts]


def _books(env: Environment) -> Sequence[Book]:
    actions.load_all()
    known = actions.registered()
    policy = parse_policy(env.policy, f"policies/{env.settings.policy}.yaml")
    return [_book(runbook.load(ROOT / f"runbooks/{name}.yaml", known), policy) for name in _BOOKS]


def _book(book: Runbook, policy: GatePolicy) -> Book:
    stages = []
    for stage in book.stages:
        steps = [PlannedStep(step.id, step.uses, _release(step.params), _limits(step.uses, step.params, policy)) for step in stage.steps]
        stages.append(PlannedStage(stage.name, format_offset(stage.at), stage.owner, stage.title or "", steps))
    return Book(book.name, book.digest, stages)


def _release(params: Mapping[str, Any]) -> str:
    return str(params.get("release") or "")


def _limits(uses: str, params: Mapping[str, Any], policy: GatePolicy) -> Mapping[str, dict[str, Any]]:
    """What a gate allows here, by metric."""
    if uses != "gate.metrics":
        return {}
    try:
        spec: GateSpec = parse_spec(params)
    except GoliveError:
        return {}
    found = {}
    for metric in ("error_rate", "latency_p99"):
        stated, limit = getattr(spec, metric), policy.limit(spec, metric)
        if stated is not None and limit is not None:
            found[metric] = {"value": limit.value, "text": both(stated, limit)}
    if spec.degradation is not None:
        found["degradation"] = {"value": spec.degradation.value, "text": f"{spec.degradation.text} slower than the {spec.against}"}
    return found
