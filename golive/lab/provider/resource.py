"""What every resource of the provider shares: errors become diagnostics, and ``state`` shows what is wrong with what is there.

A thing that is gone is read as None, so Terraform plans to create it. A thing that is there and broken (stopped, unplugged) is read with
``state`` saying so; the plan always wants ``up``, so Terraform plans an update in place, which repairs and keeps what the host holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tf import iface, schema, types
from tf.utils import Diagnostics

from golive.errors import GoliveError, Unprepared

__all__ = ["UP", "Resource", "Settings", "State", "attribute", "state_attribute"]

State = dict[str, Any]
UP = "up"


@dataclass(frozen=True)
class Settings:
    """The provider's configuration."""

    env: str
    state_dir: Path
    runtime: str

    @property
    def owner(self) -> str:
        return str(self.state_dir)

    @property
    def keys(self) -> Path:
        return self.state_dir / "keys"


def attribute(name: str, kind: types.TfType, description: str, **flags: Any) -> schema.Attribute:
    """One attribute; ``replace=True`` means that a change makes a new one."""
    if flags.pop("replace", False):
        flags["requires_replace"] = True
    return schema.Attribute(name, kind, description=description, **flags)


def state_attribute() -> schema.Attribute:
    """``state``: ``up``, or what is wrong, in words."""
    return attribute("state", types.String(), "`up`, or what is wrong with it.", computed=True, default=UP)


class Resource(iface.Resource):  # type: ignore[misc]
    """Create, read, update and delete with exceptions for errors. Subclasses write ``make``, ``look``, ``change`` and ``remove``."""

    heals = True
    """Whether an apply can bring ``state`` back to ``up``."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider

    @property
    def settings(self) -> Settings:
        found: Settings | None = self._provider.settings
        if found is None:
            raise Unprepared("The provider dwcp was not configured; env and state_dir are needed.")
        return found

    def make(self, planned: State) -> State:
        raise NotImplementedError

    def look(self, current: State) -> State | None:
        raise NotImplementedError

    def change(self, current: State, planned: State) -> State:
        raise NotImplementedError

    def remove(self, current: State) -> None:
        raise NotImplementedError

    def create(self, ctx: iface.CreateContext, planned: State) -> State | None:
        return _guarded(ctx.diagnostics, None, lambda: self.make(planned))

    def read(self, ctx: iface.ReadContext, current: State) -> State | None:
        return _guarded(ctx.diagnostics, current, lambda: self.look(current))

    def update(self, ctx: iface.UpdateContext, current: State, planned: State) -> State | None:
        return _guarded(ctx.diagnostics, current, lambda: self.change(current, planned))

    def delete(self, ctx: iface.DeleteContext, current: State) -> State | None:
        return _guarded(ctx.diagnostics, current, lambda: self.remove(current))

    def plan(self, ctx: iface.PlanContext, current: State | None, planned: State) -> State | None:
        return {**planned, "state": UP} if self.heals else planned


def _guarded(diagnostics: Diagnostics, on_error: State | None, work: Callable[[], State | None]) -> State | None:
    """``work()``, or ``on_error`` and a diagnostic that carries the error's class for the toolkit on the other side."""
    try:
        return work()
    except GoliveError as error:
        diagnostics.add_error(error.message, f"[{type(error).__name__}]")
    except Exception as error:
        diagnostics.add_error(f"{type(error).__name__}: {error}", "[GoliveError]")
    return on_error
