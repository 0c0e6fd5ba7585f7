"""An environment's journal, to read; and the environment itself, held by this process alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from golive.engine.journal import SqlJournal, Witness
from golive.engine.lease import Lease
from golive.engine.ports import Ports, Timing
from golive.engine.store import Store
from golive.environment import Environment
from golive.errors import GoliveError, Held
from golive.runbook import RealClock

__all__ = ["has_journal", "held", "open_journal", "store_of"]


def has_journal(environment: Environment) -> bool:
    """Whether anyone ever began to work on the environment. Makes nothing. Raises Held when the database does not say."""
    return Store.holds(environment.journal, environment.name)


def open_journal(environment: Environment) -> SqlJournal:
    """The environment's journal, to read and to verify."""
    witness = Witness(environment.state / "journal.head")
    return SqlJournal(store_of(environment), environment.name, RealClock(), witness=witness)


def store_of(environment: Environment, ports: Ports | None = None) -> Store:
    """The environment's database. Raises Held when it cannot be used."""
    ttl_s = (ports.timing if ports is not None else Timing()).lease_ttl_s
    # A database that is away for longer takes the lease with it.
    return Store(environment.journal, patience_s=ttl_s * 2 / 3)


@contextlib.contextmanager
def held(environment: Environment, ports: Ports, take_over: bool) -> Iterator[tuple[Store, Lease, SqlJournal]]:
    """The environment, ours for as long as the block runs, with a journal that was checked."""
    timing, store = ports.timing, store_of(environment, ports)
    try:
        ttl_s, beat_s = timing.lease_ttl_s, timing.lease_beat_s
        lease = Lease.take(store, environment.name, clock=ports.clock, ttl_s=ttl_s, beat_s=beat_s, take_over=take_over)
        witness = Witness(environment.state / "journal.head")
        try:
            journal = SqlJournal(store, environment.name, ports.clock, token=lambda: lease.token, witness=witness)
            wrong = journal.verify()
            if wrong:
                raise Held(
                    f"The journal of environment {environment.name} is not what was written: {wrong[0]}"
                    f"{f' (and {len(wrong) - 1} more)' if len(wrong) > 1 else ''}. Nothing was changed; "
                    f"`./inv journal.verify --env {environment.name}` says all of it, docs/journal.md how to put it right."
                )
            yield store, lease, journal
        finally:
            witness.close()
            with contextlib.suppress(GoliveError):
                lease.release()
    finally:
        store.close()
