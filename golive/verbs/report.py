"""``inv report``: what happened in a run, as Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from golive import engine, releases
from golive.environment import Environment
from golive.errors import BadInput, GoliveError
from golive.fleet.inventory import read_fleet
from golive.verbs.result import Result
from golive.views.report import Facts, written
from golive.views.view import RunView, run_view

__all__ = ["report"]


def report(env: Environment, *, run: str | None = None) -> Result:
    """Writes ``report.md`` and ``report.html`` of a run (the last one by default) below its directory, and says where.

    Raises BadInput when there is no such run. A journal whose chain is broken is reported all the same, and called that.
    """
    if not engine.has_journal(env):
        raise BadInput(f"No run was ever started in {env.name}; `./inv golive --env {env.name}` starts one.")
    journal = engine.open_journal(env)
    every = journal.read()
    runs = list(dict.fromkeys(record.run for record in every if record.kind == "run.started"))
    if not runs or (run is not None and run not in runs):
        raise BadInput(f"There is no run {run or ''} in {env.name}; known are {', '.join(runs[-5:]) or 'none'}.")
    chosen = run or runs[-1]
    view = run_view(record for record in every if record.run == chosen)
    wrong = journal.verify()
    told = {"records": len(every), "head": journal.head().hash, "wrong": wrong}
    facts = Facts(hosts=_hosts(env), digests=_digests(view), journal=told)
    text, page = written(view, facts, env.state / "runs" / chosen)
    data: dict[str, Any] = {
        "schema": 1,
        "env": env.name,
        "run": chosen,
        "outcome": view.state.outcome,
        "markdown": str(text),
        "html": str(page),
        "journal_intact": not wrong,
    }
    return Result(data, f"Run {chosen} ({view.state.outcome}): {text} and {page}")


def _hosts(env: Environment) -> list[Mapping[str, Any]]:
    try:
        return [host.model_dump(include={"name", "site", "address", "role", "gateway", "load"}) for host in read_fleet(env).hosts]
    except GoliveError:
        return []


def _digests(view: RunView) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for release in (view.state.release, view.state.incumbent, view.state.load):
        if release:
            try:
                found[release] = releases.find_id(release).digest
            except GoliveError:
                found[release] = None
    return found
