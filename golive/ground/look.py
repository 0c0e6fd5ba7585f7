"""How far the environment's hosts are from what was declared: what the action ``terraform.apply`` probes with. Changes nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass

from golive.environment import Environment
from golive.errors import GoliveError
from golive.fleet import pki
from golive.fleet.inventory import read_fleet
from golive.fleet.lock import held
from golive.fleet.port import stand_in
from golive.fleet.terraform import Change
from golive.ground.tool import terraform

__all__ = ["Looked", "look"]


@dataclass(frozen=True)
class Looked:
    """What a plan, and the files beside it, say."""

    applied: bool
    """Whether anything was ever applied."""
    changes: tuple[Change, ...] = ()
    """What an apply would do, and what differs from the last one."""
    unreachable: tuple[str, ...] = ()
    """Adopted machines that did not let the operator in when last looked at."""
    missing: tuple[str, ...] = ()
    """What belongs to the hosts and is not there on this machine: the record of the fleet, certificates."""
    cut_short: str = ""
    """Which Terraform was killed while it had the state; empty when none was."""


def look(env: Environment) -> Looked:
    """Plans for real and compares; the plan is thrown away.

    Raises:
        Occupied: another process provisions, or a Terraform that lives holds the state.
        GoliveError: Terraform cannot plan, so nothing is known.
    """
    hosts = stand_in(env)
    if hosts is not None:
        return hosts.look()
    with held(env, "golive"):
        tool = terraform(env)
        if not tool.has_state:
            return Looked(False, cut_short=tool.cut_short())
        cut_short = tool.cut_short()
        tool.init()
        plan = tool.plan()
        plan.file.unlink(missing_ok=True)
        seen = {change.address for change in plan.drift}
        outputs = tool.outputs()
    changes = (*plan.drift, *(change for change in plan.changes if change.address not in seen))
    missing = ["outputs of the last apply"] if plan.outputs_change and not changes else []
    try:
        fleet = read_fleet(env)
        recorded = {host.name for host in fleet.hosts}
        if recorded != {host["name"] for host in outputs.get("hosts", [])} or not (env.state / "hosts.yml").is_file():
            missing.append("fleet.json and hosts.yml of the last apply")
        elif env.is_lab:
            missing += pki.due(env, fleet, {host["name"]: host["addresses"] for host in outputs["hosts"]})
    except (GoliveError, KeyError, TypeError, json.JSONDecodeError):
        missing.append("fleet.json")
    facts = {} if env.is_lab else outputs.get("facts", {})
    silent = tuple(sorted(name for name, fact in facts.items() if fact.get("reachable") is not True))
    return Looked(True, changes, silent, tuple(missing), cut_short)
