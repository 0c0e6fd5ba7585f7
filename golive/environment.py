"""An environment: what ``--env`` names, read from ``inventories/<env>/environment.yaml`` and ``policies/<policy>.yaml``."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from golive import journal_url
from golive.errors import BadInput

__all__ = ["MARK", "ROOT", "Backup", "Environment", "Settings", "evidence_root", "known", "load", "state_root"]

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: where tasks.py, runbooks/ and roles/ stand."""

MARK = "GOLIVE_MARK"
"""Environment variable by which a later controller recognises the processes of an earlier one."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_SIMULATED = re.compile(r"sim-([0-9]{1,4})")
_FEWEST = 5
"""Two sites of two agents and the monitoring host: fewer cannot show what a fleet does."""


class Backup(BaseModel):
    """Where the hosts' state is saved before a go-live, as written by people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    repository: str | None = Field(default=None, min_length=1)
    """A place as restic writes it (``s3:https://...``, ``rest:https://...``, ``sftp:...``); each host's name is added to it. None: the
    environment's own ops host. It must hold no secret: those are in ``/etc/dwcp/backup`` on the hosts."""
    content: bool = True
    """Whether received content is saved too, and not only what is known of it."""
    restore_limit_mib: int = Field(default=65536, ge=1)
    """A larger snapshot is not restored to verify it: the go-live is held."""


class Settings(BaseModel):
    """``environment.yaml``, as written by people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["lab", "static", "sim"]
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
    approvers_digest: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """SHA-256 of the approvers.yaml that was reviewed (``sha256sum``); needed outside the lab where people decide."""
    agent_cpus: str = "0-1"
    """CPUs of the agent's units, the same for both releases."""
    agent_memory_max: str = "1G"
    keep_releases: int = 3
    backup: Backup = Backup()
    hosts_at_once: int = Field(default=50, ge=1)
    """Hosts that a play works on at the same time (Ansible's forks). Hosts that share a machine, as the lab's do, share its processors too:
    a play on all of them at once would slow down the traffic that they serve meanwhile."""
    journal: str | None = None
    """``postgresql://`` URL of the journal that several controllers share; ``.golive/<env>/journal.db`` when it is not given."""
    journal_key: str | None = None
    """SSH key that signs the journal, relative to the inventory; the public half alone when an agent holds it. The lab makes its own."""
    workers: str | dict[str, str] | None = None
    """``postgresql://...`` of the queues from which workers near the sites take waves, or one for each site (and ``any`` for waves that
    cross sites); None: the controller plays them itself."""
    workers_lost_s: float = Field(default=30.0, ge=2)
    """Seconds without the database after which a worker ends its play; a little more of silence, and the controller gives the job up."""
    site_cache: bool = False
    """Whether a release goes once to each site, to the host that ``hosts.yaml`` marks ``cache: true``, and from there to the others."""
    vault_password_file: str | None = None
    """File with the password of ``vault.yaml``, relative to the inventory; ``~`` is the operator's home."""
    vault_password_command: str | None = None
    """Command that prints that password instead, such as ``pass show dwcp/prod``."""

    @field_validator("journal")
    @classmethod
    def _no_secret(cls, value: str | None) -> str | None:
        try:
            return None if value is None else journal_url.checked(value, "as it is written")
        except BadInput as error:
            raise ValueError(error.message.rstrip(".")) from None

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
        return ROOT / "inventories" / ("lab" if self.is_sim else self.name)

    @property
    def state(self) -> Path:
        """``.golive/<env>``; made 0700 when first asked for."""
        path = state_root() / self.name
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        return path

    @property
    def journal(self) -> Path | str:
        """Where its journal is: a file of this controller's, or the URL of the database that controllers share."""
        said = os.environ.get(journal_url.VARIABLE)
        if said:
            return journal_url.checked(said, f"${journal_url.VARIABLE}")
        return self.settings.journal or self.state / "journal.db"

    @property
    def terraform_dir(self) -> Path:
        return ROOT / "terraform" / "environments" / self.settings.terraform

    @property
    def is_lab(self) -> bool:
        """Whether the toolkit makes hosts and keys itself: a lab of containers, or one of simulated hosts."""
        return self.settings.kind in ("lab", "sim")

    @property
    def is_sim(self) -> bool:
        """Whether the hosts are simulated in this process (golive.sim)."""
        return self.settings.kind == "sim"


def state_root() -> Path:
    """``$GOLIVE_STATE`` or ``.golive`` in the checkout."""
    return Path(os.environ.get("GOLIVE_STATE") or ROOT / ".golive")


def evidence_root() -> Path:
    """``evidence`` below the state root: one for all environments of a checkout, the simulated ones of it included."""
    root = state_root()
    return (root.parent if _SIMULATED.fullmatch(root.name) else root) / "evidence"


def known() -> list[str]:
    """Names of all environments that have an inventory."""
    return sorted(p.parent.name for p in (ROOT / "inventories").glob("*/environment.yaml"))


def load(name: str, hosts: str = "") -> Environment:
    """The environment called ``name``. Raises BadInput naming the file, or the known names, when it cannot be.

    ``hosts`` ``sim:N`` gives the lab's settings N simulated hosts; ``sim-N`` is that environment's own name, for every other verb.
    """
    if hosts:
        count = hosts.removeprefix("sim:")
        if name != "lab" or hosts == count or not _SIMULATED.fullmatch(f"sim-{count}"):
            raise BadInput(f"--hosts {hosts!r} with --env {name}: only the lab's hosts can be simulated, as in --env lab --hosts sim:200.")
        name = f"sim-{count}"
    if match := _SIMULATED.fullmatch(name):
        return _simulated(name, int(match[1]))
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


def _simulated(name: str, count: int) -> Environment:
    """The lab's settings over simulated hosts. Releases, keys and journal stand under a state root of their own: none is ever the lab's."""
    if not _FEWEST <= count <= 2000:
        raise BadInput(f"There are {_FEWEST} to 2000 simulated hosts, not {count}.")
    root = state_root()
    os.environ["GOLIVE_STATE"] = str(root if root.name == name else root / name)
    lab = load("lab")
    settings = lab.settings.model_copy(update={"kind": "sim", "agent_cpus": "0-1", "hosts_at_once": 50})
    # Days are waited for in no time, so they are kept; only watches, whose every request is made up, are as short as the lab's.
    rehearsal = {"scale": 1.0, "longest_watch_s": 15, "longest_hold_s": 150, "longest_wait_s": 8 * 86400}
    return Environment(name=name, settings=settings, policy={**lab.policy, "rehearsal": rehearsal})


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
