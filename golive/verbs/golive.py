"""``inv golive``, ``inv stage``: a run from here to its end."""

from __future__ import annotations

from datetime import UTC, datetime

from golive import actions, engine, releases, runbook
from golive.environment import ROOT, Environment
from golive.errors import BadInput, Occupied
from golive.fleet.port import stand_in
from golive.fleet.waves import budget_of, policy_of
from golive.gates.spec import parse_policy
from golive.lab import keys
from golive.runbook import Pace, Runbook
from golive.verbs._people import people_ready
from golive.verbs._ports import ports_of
from golive.verbs._run import ended, return_book, shown
from golive.verbs.result import Result

__all__ = ["golive", "runbooks"]


def runbooks() -> tuple[Runbook, Runbook]:
    """The way forward and the way back, checked against the actions there are. Raises BadInput with file and line."""
    actions.load_all()
    known = actions.registered()
    return runbook.load(ROOT / "runbooks/golive.yaml", known), runbook.load(ROOT / "runbooks/rollback.yaml", known)


def golive(
    env: Environment,
    *,
    release: str | None = None,
    pace: str | None = None,
    from_stage: str | None = None,
    until_stage: str | None = None,
    going_on: bool = False,
    take_over: bool = False,
    quiet: bool = False,
) -> Result:
    """Takes ``release`` (a version; the environment's own by default) to 100 %, or goes on with the run that is not over.

    ``going_on`` is for timers: goes on with a run that is due and does nothing else, quietly.
    """
    standing = engine.standing(env)
    last = standing.last
    if going_on:
        if release or from_stage or until_stage:
            raise BadInput("--continue goes on with the run as it is: it takes no --release, --from or --until.")
        due = engine.due(standing, datetime.now(UTC), asked=engine.unanswered(env))
        if not due.now:
            told = _told(env) if last.open else 0
            return Result({"schema": 1, "env": env.name, "run": last.run, "continued": False, "why": due.why, "notices": told})
    forward, back = runbooks()
    if last.open and last.runbook == "return":
        forward = return_book()  # an unfinished return to an earlier release is continued as what it is
    # A run keeps the pace that it began with: its times were counted by it.
    speed = Pace.named(pace or (last.pace if last.open else None) or env.settings.pace, env.policy)
    where = f"policies/{env.settings.policy}.yaml"
    parse_policy(env.policy, where)
    policy_of(env.policy, where)
    budget_of(env.policy, where)
    engine.known_stages(forward, from_stage, until_stage)
    if env.is_lab:
        # The lab signs what it builds: its first go-live comes before anything was provisioned.
        keys.ensure(env)
    candidate, incumbent, load = _ids(env, release)
    people_ready(env, forward, candidate, incumbent)
    with shown(env, quiet=quiet) as tell:
        try:
            state = engine.run(
                env,
                forward,
                back,
                candidate=candidate,
                incumbent=incumbent,
                load=load,
                pace=speed,
                ports=ports_of(env),
                from_stage=from_stage,
                until_stage=until_stage,
                start=not going_on,
                take_over=take_over,
                tell=tell,
            )
        except Occupied as error:
            if not going_on:
                raise
            return Result({"schema": 1, "env": env.name, "run": last.run, "continued": False, "why": str(error)})
    return ended(env, state)


def _told(env: Environment) -> int:
    """Whoever is to be called about a run that stands still is called by the timer, too; how many notices that were."""
    try:
        return engine.page(env, ports_of(env))
    except Occupied:
        return 0  # a process works on it: it calls them itself


def _ids(env: Environment, version: str | None) -> tuple[str, str | None, str]:
    """Candidate, incumbent and load client, as release ids. An unfinished run keeps the ones it began with."""
    standing = engine.standing(env)
    last = standing.last
    if last.open and last.release and last.load and (version is None or releases.find_id(last.release).version == version):
        return last.release, last.incumbent, last.load
    settings = env.settings
    if standing.incumbent is None and settings.first_incumbent is None:
        raise BadInput(
            f"Nothing is live in {env.name} yet, so {version or settings.release} has nothing to be compared with: name the release that "
            f"serves there as first_incumbent in inventories/{env.name}/environment.yaml."
        )
    candidate = _release(env, version or settings.release, "agent")
    incumbent = standing.incumbent or _release(env, settings.first_incumbent or "", "agent")
    return candidate, incumbent, _release(env, settings.load_release, "load")


def _release(env: Environment, version: str, kind: str) -> str:
    """The lab builds and signs what it lacks; everywhere else releases come signed. Verified either way."""
    hosts = stand_in(env)
    if hosts is not None:
        made = hosts.release(version)
    else:
        made = releases.build(env, version) if env.is_lab and "+" not in version else releases.newest(version)
    found = releases.verified(env, made.id)
    if found.kind != kind:
        what = "a candidate" if kind == "agent" else "a load client"
        raise BadInput(f"{version} is a release of kind {found.kind}; {what} is of kind {kind}.")
    return found.id
