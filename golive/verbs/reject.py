"""``inv reject``: a person's signed no."""

from __future__ import annotations

from golive.environment import Environment
from golive.errors import BadInput
from golive.verbs.approve import decided
from golive.verbs.result import Result

__all__ = ["reject"]


def reject(
    env: Environment,
    *,
    reason: str = "",
    stage: str | None = None,
    role: str | None = None,
    key: str | None = None,
    yes: bool = False,
) -> Result:
    """Signs that the run may not go on: the step that asked fails at once."""
    if not reason.strip():
        raise BadInput(f"A rejection needs a reason: ./inv reject --env {env.name} --reason WHY.")
    return decided(env, "reject", stage=stage, role=role, key=key, comment=reason, yes=yes)
