"""What people decide, and what they are told."""

from __future__ import annotations

from typing import Any

from invoke.context import Context
from invoke.tasks import task

from golive.commands.ending import COMMON, finish, lazily

__all__ = ["approve", "notify", "reject", "skip", "waive"]

_STEP = "the step, as STAGE/STEP"
_KEY = "your SSH key; ~/.ssh/id_ed25519 by default"
_YES = "sign without being asked again"


@task(
    help={
        "env": "environment whose run asks",
        "stage": "where several are open, the stage that asks",
        "role": "where you hold several, the role you sign as",
        "key": _KEY,
        "comment": "for the journal and the report",
        "yes": _YES,
        **COMMON,
    }
)
def approve(
    _: Context,
    env: str = "",
    stage: str = "",
    role: str = "",
    key: str = "",
    comment: str = "",
    yes: bool = False,
    json: bool = False,
    debug: bool = False,
) -> None:
    """Sign, with your own SSH key, that the run may go on; shows what it is about first."""
    options: dict[str, Any] = {"stage": stage or None, "role": role or None, "key": key or None, "comment": comment, "yes": yes}
    finish(lazily("approve", env, **options), as_json=json, debug=debug)


@task(
    help={
        "env": "environment whose run asks",
        "reason": "why not",
        "stage": "where several are open, the stage that asks",
        "role": "where you hold several, the role you sign as",
        "key": _KEY,
        "yes": _YES,
        **COMMON,
    }
)
def reject(
    _: Context,
    env: str = "",
    reason: str = "",
    stage: str = "",
    role: str = "",
    key: str = "",
    yes: bool = False,
    json: bool = False,
    debug: bool = False,
) -> None:
    """Sign that the run may not go on; the step that asked fails at once."""
    options: dict[str, Any] = {"reason": reason, "stage": stage or None, "role": role or None, "key": key or None, "yes": yes}
    finish(lazily("reject", env, **options), as_json=json, debug=debug)


@task(
    help={
        "env": "environment of the run",
        "step": _STEP,
        "reason": "why it may be left out",
        "until": "how long, as 24h or a time",
        "key": _KEY,
        "yes": _YES,
        **COMMON,
    }
)
def waive(
    _: Context,
    env: str = "",
    step: str = "",
    reason: str = "",
    until: str = "24h",
    key: str = "",
    yes: bool = False,
    json: bool = False,
    debug: bool = False,
) -> None:
    """Sign, as the owner of its stage, that a step may be left out; `inv skip` then leaves it out."""
    options: dict[str, Any] = {"step": step, "reason": reason, "until": until, "key": key or None, "yes": yes}
    finish(lazily("waive", env, **options), as_json=json, debug=debug)


@task(help={"env": "environment of the run", "step": _STEP, "reason": "for the journal", **COMMON})
def skip(_: Context, env: str = "", step: str = "", reason: str = "", json: bool = False, debug: bool = False) -> None:
    """Leave out a step that a signed waiver covers."""
    finish(lazily("skip", env, step=step, reason=reason), as_json=json, debug=debug)


@task(help={"env": "environment of the run", "test": "send one message by this route instead", **COMMON})
def notify(_: Context, env: str = "", test: str = "", json: bool = False, debug: bool = False) -> None:
    """Tell people what is due about a run on which no process works; or try a route."""
    finish(lazily("notify", env, test=test), as_json=json, debug=debug)
