"""``inv golive``, ``inv stage``, ``inv rollback``: a run from here to its end."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from golive import actions, engine, releases, runbook
from golive.engine import RunState
from golive.environment import ROOT, Environment
from golive.errors import BadInput, GoliveError
from golive.fleet.port import stand_in
from golive.gates.spec import parse_policy
from golive.lab import keys
from golive.runbook import Pace, Runbook
from golive.verbs._ports import ports_of
from golive.verbs.result import Result
from golive.verbs.status import status
from golive.views.terminal import Terminal

__all__ = ["golive", "rollback", "runbooks"]

Tell = Callable[[str, dict[str, Any]], None]


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
    quiet: bool = False,
) -> Result:
    """Takes ``release`` (a version; the environment's own by default) to 100 %, or goes on with the run that is not over."""
    forward, back = runbooks()
    speed = Pace.named(pace or env.settings.pace, env.policy)
    parse_policy(env.policy, f"policies/{env.settings.policy}.yaml")
    engine.known_stages(forward, from_stage, until_stage)
    if env.is_lab:
        # The lab signs what it builds: its first go-live comes before anything was provisioned.
        keys.ensure(env)
    candidate, incumbent, load = _ids(env, release)
    with _shown(env, quiet) as tell:
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
            tell=tell,
        )
    return _result(env, state)


def rollback(env: Environment, *, reason: str, pace: str | None = None, quiet: bool = False) -> Result:
    """Everything back on the incumbent, here or by the process that holds the run."""
    if not reason.strip():
        raise BadInput(f"A rollback needs a reason: ./inv rollback --env {env.name} --reason outage.")
    # The way back alone: what was spoilt elsewhere since the run began must not stand in it.
    actions.load_all()
    back = runbook.load(ROOT / "runbooks/rollback.yaml", actions.registered())
    speed = Pace.named(pace, env.policy) if pace else Pace()
    said = f"{reason} (by {getpass.getuser()}@{socket.gethostname()})"
    with _shown(env, quiet) as tell:
        state = engine.rollback(env, back, reason=said, pace=speed, ports=ports_of(env), tell=tell)
    return _result(env, state)


def _shown(env: Environment, quiet: bool) -> AbstractContextManager[Tell]:
    return nullcontext(lambda kind, data: None) if quiet else Terminal(env.name)


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


def _result(env: Environment, state: RunState) -> Result:
    text = _sentence(env, state)
    try:
        data = status(env).data
    except GoliveError as error:
        # How the run ended is known, whatever the hosts can be asked now.
        data = {"schema": 1, "env": env.name, "run": state.run, "outcome": state.outcome, "release": state.release}
        text += f" (Its hosts could not be asked: {error})"
    return Result(data, text, engine.exit_code(state))


def _sentence(env: Environment, state: RunState) -> str:
    report = f"./inv report --env {env.name}"
    if state.outcome == "succeeded" and state.already_live:
        changed = sum(step.changed for step in state.steps.values())
        return f"{state.release} is already live in {env.name}; everything was checked, changed={changed}."
    if state.outcome == "succeeded" and not state.signed_off:
        return f"Stages {state.first_stage} to {state.last_stage} are done for {state.release} in {env.name}; nothing of it is live."
    if state.outcome == "succeeded":
        return f"{state.release} is live in {env.name} at 100 %, {state.incumbent or 'nothing'} is retired. Report: {report}"
    if state.outcome == "rolled-back":
        why = str((state.rollback or {}).get("reason", "")).rstrip(".")
        return f"Rolled back: {why}. {state.incumbent} serves everything in {env.name}. Report: {report}"
    if state.outcome == "held":
        held = state.held or {}
        return f"Held at {state.stage}/{state.step}: {held.get('reason')} {held.get('do')}".strip()
    return f"The run ended {state.outcome} at {state.stage}/{state.step}. Report: {report}"
