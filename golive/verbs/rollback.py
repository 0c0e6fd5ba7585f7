"""``inv rollback``: everything back on the incumbent; or, after a sign-off, an earlier release live again."""

from __future__ import annotations

from golive import engine, releases
from golive.engine import Standing
from golive.environment import Environment
from golive.errors import BadInput, Unprepared
from golive.runbook import Pace, Runbook
from golive.verbs._ports import ports_of
from golive.verbs._run import ended, return_book, shown, signed, way_back
from golive.verbs.result import Result
from golive.views.view import version_of

__all__ = ["rollback"]


def rollback(
    env: Environment, *, reason: str, to: str = "incumbent", pace: str | None = None, take_over: bool = False, quiet: bool = False
) -> Result:
    """Everything back on the incumbent, here or by the process that holds the run; ``to`` an earlier release once a run was signed off.

    Raises BadInput for an empty reason, a release that the run cannot go back to, or one that was never live.
    """
    if not reason.strip():
        known = "; ".join(f"{word}: {what}" for word, what in engine.REASONS.items())
        raise BadInput(f"A rollback needs a reason: ./inv rollback --env {env.name} --reason outage (words it knows: {known}).")
    back, speed = way_back(env, pace)
    standing = engine.standing(env)
    last = standing.last
    if last.open and not _names(to, last.incumbent) and to != "incumbent":
        if last.runbook == "return" and _names(to, last.release) and not last.rolling_back:
            return _returned(env, standing, last.release or "", back, reason, pace, quiet=quiet)
        raise BadInput(
            f"Run {last.run} is not over: it goes back to its incumbent {version_of(last.incumbent)} and to nothing else. "
            f"Say --to incumbent; when that is done, `./inv rollback --env {env.name} --to {to}` takes an earlier release live."
        )
    if not last.open and to != "incumbent":
        return _returned(env, standing, _earlier(env, standing, to), back, reason, pace, quiet=quiet)
    if not last.open and standing.earlier:
        raise BadInput(
            f"There is nothing to roll back in environment {env.name}: the last run ({last.run}) ended as {last.outcome}. "
            f"To take an earlier release live again: `./inv rollback --env {env.name} --to {version_of(standing.earlier[0])} --reason ...`."
        )
    with shown(env, quiet=quiet) as tell:
        state = engine.rollback(env, back, reason=signed(reason), pace=speed, ports=ports_of(env), take_over=take_over, tell=tell)
    return ended(env, state)


def _names(to: str, release: str | None) -> bool:
    return release is not None and to in (release, version_of(release))


def _earlier(env: Environment, standing: Standing, to: str) -> str:
    """The release called ``to`` among those that were, or are, live here."""
    live = [entry for entry in (standing.incumbent, *standing.earlier) if entry is not None]
    for release in live:
        if _names(to, release):
            return release
    known = ", ".join(str(version_of(entry)) for entry in live) or "none"
    raise BadInput(
        f"{to} was never live in {env.name}, so there is no going back to it; known are {known}. A new one goes by `./inv golive`."
    )


def _returned(env: Environment, standing: Standing, release: str, back: Runbook, reason: str, pace: str | None, *, quiet: bool) -> Result:
    """``release``, which was live here, live again: a run of its own, to be continued like any other."""
    if not standing.last.open and release == standing.incumbent:
        said = {"schema": 1, "env": env.name, "run": standing.last.run, "outcome": standing.last.outcome, "release": version_of(release)}
        return Result(said, f"{version_of(release)} is live in {env.name} already; nothing was changed.")
    found = releases.verified(env, release)
    load = standing.last.load if standing.last.load else (live.load if (live := engine.live(env)) is not None else None)
    if not load:
        raise Unprepared(f"The journal of {env.name} names no load client, so nothing would measure {found.version}; see `./inv status`.")
    with shown(env, quiet=quiet) as tell:
        state = engine.run(
            env,
            return_book(),
            back,
            candidate=found.id,
            incumbent=standing.last.incumbent if standing.last.open else standing.incumbent,
            load=load,
            pace=Pace.named(pace or env.settings.pace, env.policy),
            ports=ports_of(env),
            reason=signed(reason),
            tell=tell,
        )
    return ended(env, state)
