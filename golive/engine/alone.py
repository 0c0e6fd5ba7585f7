"""The environment for one act outside of a run: nobody else works on it, and no run is open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from golive.engine.api import _known
from golive.engine.holding import held
from golive.engine.journal import SqlJournal
from golive.engine.ports import Ports
from golive.environment import Environment
from golive.errors import Held

__all__ = ["Alone", "alone"]


@dataclass(frozen=True)
class Alone:
    """The environment in the hands of this process."""

    token: int
    """Fencing token for hosts; older ones are refused where it was brought."""
    _journal: SqlJournal
    _run: str

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        """Journals a fact; durable when it returns. It stands behind the last run, which it does not change."""
        self._journal.append(kind, data, self._run)


@contextmanager
def alone(environment: Environment, what: str, *, ports: Ports | None = None) -> Iterator[Alone]:
    """Holds the environment's lease.

    Raises:
        Occupied: another process works on the environment.
        Held: a run is open; it is finished or taken back first.
    """
    with held(environment, ports or Ports(), take_over=False) as (_, lease, journal):
        last = _known(environment, journal).last
        if last.open:
            raise Held(
                f"Run {last.run} of environment {environment.name} is {last.outcome}, so there is no {what}: `./inv golive --env "
                f"{environment.name}` finishes it, `./inv rollback --env {environment.name} --reason ...` takes it back."
            )
        yield Alone(lease.token, journal, last.run or "none")
