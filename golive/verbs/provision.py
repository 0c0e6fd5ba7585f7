"""``inv provision``: the environment's hosts are there, as declared."""

from __future__ import annotations

from golive import ground
from golive.environment import Environment
from golive.errors import Unreachable
from golive.verbs.result import Result

__all__ = ["provision"]


def provision(env: Environment) -> Result:
    """Makes or adopts the hosts. A machine that does not let the operator in is recorded as such, and the exit code is that of Held."""
    done = ground.provision(env)
    return Result(done.to_json(), done.text, Unreachable.exit_code if done.unreachable else 0)
