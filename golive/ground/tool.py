"""What provision, drift and destroy share: Terraform with the variables of the environment's kind."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from golive.environment import Environment
from golive.errors import Unprepared
from golive.fleet.inventory import read_static_hosts
from golive.fleet.terraform import Change, Terraform
from golive.lab import image

__all__ = ["owner", "rows", "tell", "terraform"]


def terraform(env: Environment, *, runtime: str | None = None, home: Path | None = None) -> Terraform:
    """Terraform for ``env``: the lab's image and runtime, or the machines of its ``hosts.yaml``; working in ``home`` for a dry run."""
    variables: dict[str, Any] = (
        {"image": image.reference()} if env.is_lab else {"hosts": [host.model_dump() for host in read_static_hosts(env)]}
    )
    if runtime is not None:
        variables["runtime"] = runtime
    identity = env.state / "keys" / "operator"
    if not env.is_lab and not identity.is_file():
        raise Unprepared(f"The operator's SSH key {identity} is missing; put the key that your hosts accept there (mode 0600).")
    return Terraform(env, variables, home=home)


def owner(env: Environment) -> str:
    """What the lab's things are labelled with: the state directory they belong to."""
    return str(env.state.resolve())


def rows(changes: tuple[Change, ...]) -> list[dict[str, str]]:
    """Changes for ``--json``."""
    return [{"address": change.address, "name": change.name, "action": change.action, "why": change.why} for change in changes]


def tell(line: str) -> None:
    """Progress, for a person."""
    print(line, file=sys.stderr, flush=True)
