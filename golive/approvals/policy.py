"""What an environment's policy says of decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from golive.approvals.approvers import approvers_of
from golive.environment import Environment
from golive.errors import BadInput

__all__ = ["NEVER", "Need", "mode_of", "never_waived", "ready"]

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


@dataclass(frozen=True)
class Need:
    """What a step of the runbook asks of people."""

    step: str
    roles: tuple[str, ...]
    count: int = 1
    not_by: tuple[str, ...] = ()


def ready(env: Environment, needs: Sequence[Need], starter: str | None) -> None:
    """Returns when everyone whom ``needs`` ask for could answer; raises before a run begins that nobody could approve.

    ``starter`` is ``user@host`` of whoever is about to begin the run; None when it began before.
    """
    if mode_of(env) == "auto" or not needs:
        return
    approvers, now, named = approvers_of(env), datetime.now(UTC), f"inventories/{env.name}/approvers.yaml"
    for need in needs:
        able = approvers.holding(list(need.roles), now)
        if starter is not None and "starter" in need.not_by:
            if not any(person.has_account(starter) for person in approvers.people):
                raise BadInput(f"{named}: {starter} begins this run and is nobody's account there; {need.step} needs to know whose it is.")
            able = [person for person in able if not person.has_account(starter)]
        if len(able) < need.count:
            whom, but = " or ".join(need.roles), ", whoever begins the run left out" if "starter" in need.not_by else ""
            raise BadInput(f"{named}: {need.step} needs {need.count} of {whom} with a valid key, and has {len(able)}{but}.")


def _section(env: Environment, name: str) -> dict[str, Any]:
    section = env.policy.get(name, {})
    if not isinstance(section, dict):
        raise BadInput(f"policies/{env.settings.policy}.yaml: {name} is a mapping.")
    return section
