"""The environment's hosts are there, as declared: what the verb and the action ``terraform.apply`` share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golive.environment import Environment
from golive.fleet import pki
from golive.fleet.inventory import write_fleet
from golive.fleet.lock import held
from golive.fleet.model import Fleet
from golive.fleet.port import stand_in
from golive.fleet.terraform import Change
from golive.ground.tool import rows, tell, terraform
from golive.lab import collisions, image, keys, podman, preflight

__all__ = ["Provisioned", "planned", "provision"]


@dataclass(frozen=True)
class Provisioned:
    """What an apply left."""

    fleet: Fleet
    changes: tuple[Change, ...]
    unreachable: Mapping[str, str]
    """Adopted machines that do not let the operator in, and why."""

    @property
    def text(self) -> str:
        done = f"{len(self.changes)} changes" if self.changes else "nothing to do"
        told = f"Environment {self.fleet.env}: {len(self.fleet.hosts)} hosts, {done}."
        if self.unreachable:
            told += "\nNot reachable: " + "; ".join(f"{name} ({reason})" for name, reason in self.unreachable.items())
        return told

    def to_json(self) -> dict[str, Any]:
        hosts = [host.name for host in self.fleet.hosts]
        return {"schema": 1, "env": self.fleet.env, "changes": rows(self.changes), "hosts": hosts, "unreachable": sorted(self.unreachable)}


def provision(env: Environment) -> Provisioned:
    """Plans, shows the plan, applies exactly that, and records the fleet. Run again, it finds that there is nothing to do.

    In the lab it makes what the hosts need (image, keys, certificates); elsewhere those are the owner's, and it adopts machines.
    """
    hosts = stand_in(env)
    if hosts is not None:
        keys.ensure(env)
        return hosts.provision()
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
    return Provisioned(fleet, plan.changes, _unreachable(outputs))


def planned(env: Environment, home: Path) -> str:
    """What ``provision`` would change, one line a change. Makes nothing, keys and image included; Terraform's own files go to ``home``.

    Raises what `provision` would raise before it changed anything.
    """
    hosts = stand_in(env)
    if hosts is not None:
        changes = hosts.look().changes
        return "\n".join(f"{change.action}: {change.name}" for change in changes) or "nothing to do"
    if env.is_lab:
        preflight.check(env)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    tool = terraform(env, home=home)
    tool.init()
    plan = tool.plan()
    gone = [f"drift: {change.name}: {change.why}" for change in plan.drift]
    return "\n".join([*gone, plan.summary])


def _prepare_lab(env: Environment) -> str:
    """Keys and image are there; returns the OCI runtime that boots it."""
    keys.ensure(env)
    name = image.ensure(tell)
    return podman.bootable_runtime(name, image.cache_dir())


def _unreachable(outputs: Mapping[str, Any]) -> dict[str, str]:
    facts: Mapping[str, Any] = outputs.get("facts", {})
    return {name: fact["reason"] for name, fact in facts.items() if fact["reachable"] is not True}
