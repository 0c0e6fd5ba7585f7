"""``inv molecule``: each role on hosts of the lab, applied, applied again, in check mode, and looked at."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from golive import engine
from golive.environment import ROOT, Environment
from golive.errors import BadInput, Occupied, Unprepared, Unreachable
from golive.fleet import lock
from golive.fleet import molecule as scenarios
from golive.fleet.inventory import read_fleet
from golive.fleet.model import Fleet
from golive.fleet.ssh import Shell
from golive.fleet.ssh_config import write_ssh_config
from golive.verbs._checks import run_checks
from golive.verbs.result import Result

__all__ = ["molecule"]

_UNITS = ("systemctl", "show", "--all", "--property=Id,ActiveState,InvocationID", "dwcp-agent@*", "dwcp-load@*")


def molecule(env: Environment, *, role: str | None = None, quiet: bool = False) -> Result:
    """Runs the scenario of ``role``, or of every role; exit code 4 when any step of any of them did not pass.

    A scenario never starts, stops or restarts an agent or a load client: that is one of its checks.

    Raises:
        BadInput: the environment is no lab, or the role has no scenario.
        Unprepared: the lab is not provisioned, or lacks a host of a scenario.
        Occupied: a go-live, or another change to the hosts, is under way.
    """
    if not env.is_lab:
        raise BadInput(f"Scenarios of roles run on a lab only; {env.name} is none.")
    chosen = [scenarios.scenario(name) for name in ([role] if role else scenarios.roles())]
    fleet = read_fleet(env)
    names = {host.name for host in fleet.hosts}
    for each in chosen:
        missing = [name for name in each.hosts if name not in names]
        if missing:
            raise Unprepared(f"The scenario of {each.role} needs {', '.join(missing)}, which environment {env.name} does not have.")
    with lock.held(env, "molecule"):
        rows = []
        for each in chosen:
            _not_while_going_live(env)
            row = _run(env, fleet, each)
            rows.append(row)
            if not quiet:
                print(_line(row), file=sys.stderr, flush=True)
    ok = all(row["ok"] for row in rows)
    seconds = sum(row["seconds"] for row in rows)
    data = {"schema": 1, "env": env.name, "ok": ok, "seconds": round(seconds, 1), "roles": rows}
    passed = sum(row["ok"] for row in rows)
    return Result(data, f"molecule {env.name}: {passed} of {len(rows)} roles passed in {seconds:.0f} s", 0 if ok else 4)


def _not_while_going_live(env: Environment) -> None:
    holder = engine.standing(env).holder
    if holder is not None:
        raise Occupied(f"{holder.sentence} holds environment {env.name}; run the scenarios when it has ended.")


def _run(env: Environment, fleet: Fleet, chosen: scenarios.Scenario) -> dict[str, Any]:
    work = env.state / "molecule" / chosen.role
    work.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with Shell(env, fleet) as shell:
        before = _units(shell, fleet, chosen)
        steps = scenarios.apply(env, chosen, work)
        if not any(step.trouble for step in steps):
            steps.append(_look(env, fleet, chosen, work))
        started = time.monotonic()
        after = _units(shell, fleet, chosen)
    moved = sorted({f"{name}: {unit}" for name in before for unit, _ in before[name].items() ^ after[name].items()})
    trouble = f"units of releases were started, stopped or restarted ({', '.join(moved)})" if moved else ""
    steps.append(scenarios.Step("releases", time.monotonic() - started, trouble=trouble))
    return {
        "role": chosen.role,
        "hosts": list(chosen.hosts),
        "ok": not any(step.trouble for step in steps),
        "seconds": round(time.monotonic() - began, 1),
        "steps": [{**asdict(step), "seconds": round(step.seconds, 1)} for step in steps],
        "output": str(work / "output.txt"),
    }


def _units(shell: Shell, fleet: Fleet, chosen: scenarios.Scenario) -> dict[str, dict[str, str]]:
    """By host, the state and systemd invocation of every release's unit. A host that does not say is an error, not a host without."""
    seen = {}
    for name, said in shell.each([fleet.named(host) for host in chosen.hosts], _UNITS).items():
        if isinstance(said, Exception):
            raise said
        if said.rc != 0:
            raise Unreachable(f"{name}: systemd does not say which releases run: {said.stderr.decode(errors='replace').strip()[:200]}")
        blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in said.stdout.decode().split("\n\n") if block.strip()]
        seen[name] = {unit["Id"]: f"{unit['ActiveState']} {unit['InvocationID']}" for unit in blocks}
    return seen


def _look(env: Environment, fleet: Fleet, chosen: scenarios.Scenario, work: Path) -> scenarios.Step:
    """The checks of ``tests/roles`` for the role, over SSH."""
    began = time.monotonic()
    told = {
        "env": env.name,
        "role": chosen.role,
        "hosts": list(chosen.hosts),
        "ssh_config": str(write_ssh_config(env, fleet, work / "ssh_config")),
    }
    checks = run_checks(ROOT / f"tests/roles/test_{chosen.role}.py", variable="GOLIVE_ROLES", told=told, work=work)
    (work / "checks.txt").write_text(checks.output, encoding="utf-8")
    wrong = "; ".join(f"{failed['check']}: {failed['why']}" for failed in checks.failed) or f"see {work / 'checks.txt'}"
    name = f"{checks.ran} checks"
    return scenarios.Step(name, time.monotonic() - began, trouble="" if checks.ok else wrong)


def _line(row: dict[str, Any]) -> str:
    times = ", ".join(f"{step['name']} {step['seconds']:.1f} s" for step in row["steps"])
    wrong = "".join(f"\n  {step['name']}: {step['trouble']}" for step in row["steps"] if step["trouble"])
    seen = f"\n  all of it: {row['output']}" if wrong else ""
    how = "passed" if row["ok"] else "NOT passed"
    return f"{row['role']}: {how} in {row['seconds']:.1f} s on {', '.join(row['hosts'])} ({times}){wrong}{seen}"
