"""What an environment's policy says of decisions."""

from __future__ import annotations

from typing import Any, Literal

from golive.approvals.approvers import approvers_of
from golive.environment import Environment
from golive.errors import BadInput

__all__ = ["NEVER", "mode_of", "never_waived", "ready"]

NEVER = ("traffic.*", "release.retire", "terraform.apply", "approval.*")
"""Actions whose steps no waiver covers when the policy names none: what users feel, what cannot be undone, and people's own decisions."""


def mode_of(env: Environment) -> Literal["auto", "signed"]:
    """``approvals: {mode: ...}``; ``signed`` when nothing is written.

    Raises BadInput for anything else, and for ``auto`` in an environment that is no lab.
    """
    mode = _section(env, "approvals").get("mode", "signed")
    if mode not in ("auto", "signed"):
        raise BadInput(f"policies/{env.settings.policy}.yaml: approvals.mode is auto or signed, not {mode!r}.")
    if mode == "auto" and not env.is_lab:
        raise BadInput(f"policies/{env.settings.policy}.yaml: approvals.mode auto is for a lab; in {env.name} people sign (mode: signed).")
    return "auto" if mode == "auto" else "signed"


def never_waived(env: Environment) -> list[str]:
    """Patterns of actions whose steps cannot be waived: ``waivers: {never: [...]}``. Raises BadInput."""
    never = _section(env, "waivers").get("never", list(NEVER))
    if not isinstance(never, list) or not all(isinstance(pattern, str) for pattern in never):
        raise BadInput(f"policies/{env.settings.policy}.yaml: waivers.never is a list of actions, like [traffic.*, release.retire].")
    return never


def ready(env: Environment, roles: list[str]) -> None:
    """Returns when ``env`` can ask all of ``roles``; raises before a run begins that nobody could approve."""
    if mode_of(env) == "auto" or not roles:
        return
    from datetime import UTC, datetime

    approvers = approvers_of(env)
    for role in roles:
        if not approvers.holding(role.split("|"), datetime.now(UTC)):
            raise BadInput(f"inventories/{env.name}/approvers.yaml has nobody for the role {role.replace('|', ' or ')} with a valid key.")


def _section(env: Environment, name: str) -> dict[str, Any]:
    section = env.policy.get(name, {})
    if not isinstance(section, dict):
        raise BadInput(f"policies/{env.settings.policy}.yaml: {name} is a mapping.")
    return section
