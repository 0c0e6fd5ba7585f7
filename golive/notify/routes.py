"""Who is told by what way: ``inventories/<env>/notify.yaml``. Addresses carry secrets, so they are named there and kept elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from golive.environment import Environment
from golive.errors import BadInput, Unprepared
from golive.runbook.duration import Duration

__all__ = ["Level", "Route", "Routes", "Severity", "mode_of", "path_of", "ready", "routes_of"]

Severity = Literal["info", "warning", "critical"]

_RANK = {"info": 0, "warning": 1, "critical": 2}
_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]


class Route(BaseModel):
    """One way to people. Exactly one of ``env``, ``file`` and ``url`` says where its Apprise address is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    route: _Name
    roles: list[_Name] = Field(default_factory=list)
    """Roles that are reached by it, besides its own name."""
    severity: Severity = "info"
    """The least that it carries."""
    env: str | None = None
    """Environment variable that holds the address."""
    file: Path | None = None
    """File that holds it, on the controller."""
    url: str | None = None
    """The address itself: only one without a secret."""

    @model_validator(mode="after")
    def _one_address(self) -> Route:
        if sum(value is not None for value in (self.env, self.file, self.url)) != 1:
            raise ValueError("give exactly one of env, file and url: where the address of this route is")
        return self

    def reaches(self, name: str) -> bool:
        return name == self.route or name in self.roles

    def carries(self, severity: Severity) -> bool:
        return _RANK[severity] >= _RANK[self.severity]

    def address(self) -> str:
        """The Apprise address, read now. Raises Unprepared, naming where it should be and never what it is."""
        if self.url is not None:
            return self.url
        if self.env is not None:
            found, where = os.environ.get(self.env, "").strip(), f"environment variable {self.env}"
        else:
            where = f"file {self.file}"
            try:
                found = self.file.read_text(encoding="utf-8").strip() if self.file is not None else ""
            except (OSError, UnicodeDecodeError) as error:
                raise Unprepared(f"Route {self.route}: {where} cannot be read ({type(error).__name__}).") from None
        if not found:
            raise Unprepared(f"Route {self.route}: {where} holds no address.")
        return found


class Level(BaseModel):
    """Who is told when something stood for ``after``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: int = Field(ge=1, le=9)
    to: list[_Name] = Field(min_length=1)
    after: Duration
    of: tuple[Literal["held", "rollback", "approval"], ...] = ("held", "rollback", "approval")


class Routes(BaseModel):
    """Everything that ``notify.yaml`` says; nothing at all where there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    routes: list[Route] = Field(default_factory=list)
    escalation: list[Level] = Field(default_factory=list)

    @model_validator(mode="after")
    def _once(self) -> Routes:
        for what, names in (("route", [r.route for r in self.routes]), ("level", [str(level.level) for level in self.escalation])):
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{what} {twice} is listed twice")
        return self

    def of(self, to: Sequence[str], severity: Severity) -> list[Route]:
        """The routes by which ``to`` are told something of ``severity``, each once."""
        return [route for route in self.routes if route.carries(severity) and any(route.reaches(name) for name in to)]

    def unrouted(self, to: Sequence[str]) -> list[str]:
        """Those of ``to`` whom no route reaches, whatever the severity."""
        return [name for name in to if not any(route.reaches(name) for route in self.routes)]


def path_of(env: Environment) -> Path:
    return env.inventory_dir / "notify.yaml"


def routes_of(env: Environment) -> Routes:
    """The routes of ``env``; none when it has no ``notify.yaml``. Raises BadInput when that cannot be used."""
    path = path_of(env)
    try:
        written: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Routes()
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not valid YAML: {getattr(error, 'problem', None) or type(error).__name__}.") from None
    try:
        return Routes.model_validate(written or {})
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"{path}: {'.'.join(str(part) for part in first['loc']) or 'top'}: {first['msg']}.") from None


def mode_of(env: Environment) -> Literal["optional", "required"]:
    """``notify:`` of the policy: whether a run may go on that tells nobody. Only a lab's is optional when nothing is written."""
    mode = env.policy.get("notify", "optional" if env.is_lab else "required")
    if mode not in ("optional", "required"):
        raise BadInput(f"policies/{env.settings.policy}.yaml: notify is optional or required, not {mode!r}.")
    return "required" if mode == "required" else "optional"


def ready(env: Environment, recipients: Sequence[str]) -> None:
    """Returns when everyone in ``recipients`` has a route whose address is there, or need not have. Raises before a run begins."""
    routes = routes_of(env)
    if mode_of(env) == "optional":
        return
    named = list(dict.fromkeys([*recipients, *(name for level in routes.escalation for name in level.to)]))
    missing = routes.unrouted(named)
    if missing:
        raise Unprepared(
            f"Nobody would be told: {path_of(env)} has no route for {', '.join(missing)}. Copy inventories/prod/notify.yaml.example, or "
            f"say notify: optional in policies/{env.settings.policy}.yaml."
        )
    for route in routes.routes:
        if any(route.reaches(name) for name in named):
            route.address()
