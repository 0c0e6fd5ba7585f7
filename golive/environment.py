"""An environment: what ``--env`` names, read from ``inventories/<env>/environment.yaml`` and ``policies/<policy>.yaml``."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from golive.errors import BadInput

__all__ = ["MARK", "ROOT", "Environment", "Settings", "known", "load", "state_root"]

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: where tasks.py, runbooks/ and roles/ stand."""

MARK = "GOLIVE_MARK"
"""Environment variable by which a later controller recognises the processes of an earlier one."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


class Settings(BaseModel):
    """``environment.yaml``, as written by people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["lab", "static"]
    policy: str
    terraform: str
    """Directory under ``terraform/environments/``."""
    release: str
    """Version that ``golive`` takes to 100 % when ``--release`` is not given."""
    first_incumbent: str | None = None
    """Version that serves before anything went live by this toolkit; it is installed where it is missing. The lab makes it itself."""
    load_release: str
    """Version of the pinned load client."""
    load_rate_per_s: float
    """Requests per second that each site's load client offers."""
    pace: Literal["real", "rehearsal"] = "real"
    signers: str | None = None
    """Allowed signers file, relative to the inventory; None in the lab, which makes its own."""
    signature_namespace: str = "dwcp-release"
    agent_cpus: str = "0-1"
    """CPUs of the agent's units, the same for both releases."""
    agent_memory_max: str = "1G"
    keep_releases: int = 3
    hosts_at_once: int = Field(default=50, ge=1)
    """Hosts that a play works on at the same time (Ansible's forks). Hosts that share a machine, as the lab's do, share its processors too:
    a play on all of them at once would slow down the traffic that they serve meanwhile."""
    site_cache: bool = False
    """Whether a release goes once to each site, to the host that ``hosts.yaml`` marks ``cache: true``, and from there to the others."""
    vault_password_file: str | None = None
    """File with the password of ``vault.yaml``, relative to the inventory; ``~`` is the operator's home."""
    vault_password_command: str | None = None
    """Command that prints that password instead, such as ``pass show dwcp/prod``."""

    @model_validator(mode="after")
    def _one_password(self) -> Settings:
        if self.vault_password_file and self.vault_password_command:
            raise ValueError("vault_password_file and vault_password_command are two ways to the same password; keep one")
        return self


class Environment(BaseModel):
    """Settings, policy and the places that belong to one environment."""

    model_config = ConfigDict(frozen=True)

    name: str
    settings: Settings
    policy: dict[str, Any]

    @property
    def inventory_dir(self) -> Path:
        return ROOT / "inventories" / self.name

    @property
    def state(self) -> Path:
        """``.golive/<env>``; made 0700 when first asked for."""
        path = state_root() / self.name
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path

    @property
    def terraform_dir(self) -> Path:
        return ROOT / "terraform" / "environments" / self.settings.terraform

    @property
    def is_lab(self) -> bool:
        return self.settings.kind == "lab"


def state_root() -> Path:
    """``$GOLIVE_STATE`` or ``.golive`` in the checkout."""
    return Path(os.environ.get("GOLIVE_STATE") or ROOT / ".golive")


def known() -> list[str]:
    """Names of all environments that have an inventory."""
    return sorted(p.parent.name for p in (ROOT / "inventories").glob("*/environment.yaml"))


def load(name: str) -> Environment:
    """The environment called ``name``. Raises BadInput naming the file, or the known names, when it cannot be."""
    if not _NAME.fullmatch(name) or name not in known():
        raise BadInput(f"There is no environment {name!r}; known are {', '.join(known())} (inventories/*/environment.yaml).")
    path = ROOT / "inventories" / name / "environment.yaml"
    settings = _read(path)
    try:
        parsed = Settings.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in first["loc"])
        raise BadInput(f"{path.relative_to(ROOT)}: {where}{first['msg'].removeprefix('Value error, ')}.") from None
    return Environment(name=name, settings=parsed, policy=_read(ROOT / "policies" / f"{parsed.policy}.yaml"))


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path.relative_to(ROOT)} does not exist.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise BadInput(f"{path.relative_to(ROOT)}{line}: not valid YAML: {getattr(error, 'problem', error)}.") from None
    if not isinstance(data, dict):
        raise BadInput(f"{path.relative_to(ROOT)}: expected a mapping at the top.")
    return data
