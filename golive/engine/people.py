"""What verbs call for people: leave a decision, see what was left, tell them what is due."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from golive.engine import api, requests
from golive.engine.holding import has_journal, held, store_of
from golive.engine.ports import Ports
from golive.engine.requests import Request
from golive.environment import Environment
from golive.runbook import Clock, Pace, RealClock

__all__ = ["left", "page", "request"]


def request(environment: Environment, kind: str, reason: str, data: Mapping[str, Any], *, clock: Clock | None = None) -> int:
    """Leaves a decision for the environment's unfinished run; without a process, the next one to continue the run takes it."""
    store = store_of(environment)
    try:
        return requests.ask(store, environment.name, kind, reason, clock or RealClock(), data)
    finally:
        store.close()


def left(environment: Environment) -> list[Request]:
    """What was left and no process has taken yet. Only reads."""
    if not has_journal(environment):
        return []
    store = store_of(environment)
    try:
        return requests.pending(store, environment.name)
    finally:
        store.close()


def page(environment: Environment, ports: Ports) -> int:
    """People are told what is due about the last run, when no process works on it; returns how many notices that were.

    Raises Occupied while one does: it tells them itself.
    """
    if not api.standing(environment).last.open:
        return 0
    with held(environment, ports, take_over=False) as (store, lease, journal):
        last = api._known(environment, journal).last
        live = api._continued(environment, store, lease, journal, last, ports, Pace(), api._silent, "")
        return live.paging.settle() if last.open else 0
