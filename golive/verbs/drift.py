"""``inv drift``: what is there, compared with what was declared."""

from __future__ import annotations

from golive.environment import Environment
from golive.errors import Drifted, Unprepared
from golive.fleet.lock import held
from golive.ground.tool import owner, rows, terraform
from golive.lab import preflight
from golive.lab.sweep import strangers
from golive.verbs.result import Result

__all__ = ["drift"]


def drift(env: Environment) -> Result:
    """Exit code 6 and every difference by name, or 0 and none. Changes nothing. Raises Unprepared when nothing was ever provisioned."""
    if env.is_lab:
        preflight.check(env)
    with held(env, "drift"):
        tool = terraform(env)
        if not tool.has_state:
            raise Unprepared(f"Environment {env.name} has not been provisioned; run `./inv provision --env {env.name}` first.")
        tool.init()
        plan = tool.plan()
        plan.file.unlink(missing_ok=True)
        seen = {change.address for change in plan.drift}
        changes = (*plan.drift, *(change for change in plan.changes if change.address not in seen))
        facts = {} if env.is_lab else tool.outputs().get("facts", {})
        # Terraform compares with its last look; a machine that was unreachable then and is now does not differ, and is not well either.
        silent = [name for name, fact in facts.items() if fact["reachable"] is not True and name not in {change.name for change in changes}]
        declared = set() if not env.is_lab else {host["name"] for host in tool.outputs().get("hosts", [])}
        extra = strangers(env.name, owner(env), declared) if env.is_lab else []
    lines = [f"{change.name}: {change.why}" for change in changes]
    lines += [f"{name}: was not reachable when last provisioned" for name in silent]
    lines += [f"{name}: is there but not declared" for name in extra]
    data = {"schema": 1, "env": env.name, "drift": rows(tuple(changes)), "unreachable": silent, "undeclared": extra}
    if not lines:
        return Result(data, f"Environment {env.name} is as declared.")
    shown = "\n".join(f"  {line}" for line in lines)
    return Result(data, f"Environment {env.name} differs from what was declared:\n{shown}", Drifted.exit_code)
