"""Evidence made where it is missing or no longer holds: what takes seconds to minutes. What takes longer is asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from golive import engine
from golive.collect import hosts, runs, tests, tools
from golive.environment import Environment
from golive.errors import GoliveError
from golive.evidence.checklist import Item, Proof, Query, Rollback, Run, Tests, Tool, Verify
from golive.releases import Release

__all__ = ["collected"]


def collected(env: Environment, release: Release | None, wanted: Sequence[tuple[Item, Proof]], verified: Callable[[], object]) -> list[str]:
    """Makes evidence for ``wanted``, and says what could not be made, one sentence each.

    ``verified`` checks the hosts and keeps what it saw.
    """
    told: list[str] = []

    def tried(what: str, work: Callable[[], Any]) -> None:
        print(f"readiness: {what}", file=sys.stderr, flush=True)
        try:
            work()
        except GoliveError as error:
            told.append(f"{what}: {error.message}")

    def those(kind: type[Any] | tuple[type[Any], ...]) -> list[Item]:
        return list({item.id: item for item, proof in wanted if isinstance(proof, kind)}.values())

    names = sorted({proof.tool for _, proof in wanted if isinstance(proof, Tool)})
    for name in names:
        tried(f"tool {name}", lambda name=name: tools.recorded(name))  # type: ignore[misc]
    if items := those(Tests):
        tried(f"tests of {len(items)} items", lambda: tests.recorded(items))
    if release is None:
        return told
    if those((Run, Rollback)):
        tried("runs in the journal", lambda: runs.recorded(env, release))
    if those(Verify) and not env.is_sim and _live(env) == release.id:
        tried("checks of the hosts", verified)
    if (questions := those(Query)) and not env.is_sim and engine.has_journal(env):
        tried(f"questions of {len(questions)} items to Prometheus", lambda: hosts.asked(env, release, questions))
    return told


def _live(env: Environment) -> str | None:
    live = engine.live(env) if engine.has_journal(env) else None
    return live.release if live is not None else None
