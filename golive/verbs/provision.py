"""``inv provision``: the environment's hosts are there, as declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from golive.environment import Environment
from golive.errors import Unreachable
from golive.fleet import pki
from golive.fleet.inventory import write_fleet
from golive.fleet.lock import held
from golive.lab import collisions, image, keys, podman, preflight
from golive.verbs._ground import rows, tell, terraform
from golive.verbs.result import Result

__all__ = ["provision"]


def provision(env: Environment) -> Result:
    """Plans, shows the plan, applies exactly that, and records the fleet. Run again, it says that there is nothing to do.

    In the lab it makes what the hosts need (image, keys, certificates); elsewhere those are the owner's, and it adopts machines. A
    machine that does not let the operator in is recorded as such, and the exit code is that of Held.
    """
    if env.is_lab:
        preflight.check(env)
    with held(env, "provision"):
        runtime = _prepare_lab(env) if env.is_lab else None
        if not env.is_lab:
            pki.check_ca(env)
        tool = terraform(env, runtime=runtime)
        tool.init()
        plan = tool.plan()
        tell(plan.summary)
        if env.is_lab:
            collisions.check(env, plan.changes)
        if plan.changes or plan.drift or plan.outputs_change:
            tool.apply(plan)
        outputs = tool.outputs()
        fleet = write_fleet(env, outputs)
        if env.is_lab:
            pki.ensure(env, fleet, {host["name"]: host["addresses"] for host in outputs["hosts"]})
    silent = _unreachable(outputs)
    text = (
        f"Environment {env.name}: {len(fleet.hosts)} hosts, {len(plan.changes)} changes."
        if plan.changes
        else (f"Environment {env.name}: {len(fleet.hosts)} hosts, nothing to do.")
    )
    if silent:
        text += "\nNot reachable: " + "; ".join(f"{name} ({reason})" for name, reason in silent.items())
    data = {
        "schema": 1,
        "env": env.name,
        "changes": rows(plan.changes),
        "hosts": [host.name for host in fleet.hosts],
        "unreachable": sorted(silent),
    }
    return Result(data, text, Unreachable.exit_code if silent else 0)


def _prepare_lab(env: Environment) -> str:
    """Keys and image are there; returns the OCI runtime that boots it."""
    keys.ensure(env)
    name = image.ensure(tell)
    return podman.bootable_runtime(name, image.cache_dir())


def _unreachable(outputs: Mapping[str, Any]) -> dict[str, str]:
    facts: Mapping[str, Any] = outputs.get("facts", {})
    return {name: fact["reason"] for name, fact in facts.items() if fact["reachable"] is not True}
