"""The lease: at most one process acts on an environment, and hosts can tell it from every earlier one by its fencing token."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from golive.engine.process import Process, me, owner
from golive.engine.store import Store, leases
from golive.errors import GoliveError, Occupied
from golive.runbook.clock import Clock, RealClock

__all__ = ["Holder", "Lease", "LeaseLost", "holder"]


class LeaseLost(Occupied):
    """This process no longer holds the environment and must not change anything more."""


@dataclass(frozen=True)
class Holder:
    """Who holds, or last held, an environment."""

    owner: str
    process: Process
    token: int
    released: bool
    taken_at: float
    beat_at: float
    beats: int
    ttl_s: float

    @property
    def alive(self) -> bool | None:
        """Whether the process still lives; None when that cannot be told from here."""
        return False if self.released else self.process.alive

    @property
    def sentence(self) -> str:
        since = datetime.fromtimestamp(self.taken_at, UTC).isoformat(timespec="seconds")
        return f"{self.owner} (host {self.process.host}, pid {self.process.pid}, since {since})"


def holder(store: Store, env: str) -> Holder | None:
    """Who holds or last held ``env``; None when no one ever did."""
    with store.reading() as connection:
        return _holder(connection, env)


class Lease:
    """A lease that this process holds. Refreshed by a thread of its own until :meth:`release` or :meth:`abandon`.

    ``took_over`` is the holder that was found dead or silent, None when the environment was free.
    """

    def __init__(self, store: Store, env: str, token: int, took_over: Holder | None, *, clock: Clock, ttl_s: float, beat_s: float) -> None:
        self._store = store
        self._env = env
        self._clock = clock
        self._ttl_s = ttl_s
        self._beat_s = beat_s
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._lost = ""
        self._last_beat = time.monotonic()
        self.token = token
        self.took_over = took_over
        self._thread = threading.Thread(target=self._keep, name=f"lease-{env}", daemon=True)
        self._thread.start()

    @classmethod
    def take(cls, store: Store, env: str, *, clock: Clock | None = None, ttl_s: float = 30.0, beat_s: float = 2.0) -> Lease:
        """Takes the lease of ``env``.

        A holder whose process is provably dead on this machine is replaced at once. One on another machine is replaced when its
        last beat is older than its ttl *and* it stays silent while we look: so a clock that jumped does not make a live holder dead.

        Raises:
            Occupied: naming owner, host, pid and since when.
        """
        clock = clock or RealClock()
        with store.writing() as connection:
            found = _holder(connection, env)
            if found is None or found.alive is False:
                token = _write(connection, env, found, clock, ttl_s)
                return cls(store, env, token, _unclean(found), clock=clock, ttl_s=ttl_s, beat_s=beat_s)
        if found.alive or abs(clock.now().timestamp() - found.beat_at) <= found.ttl_s:
            raise _occupied(env, found)
        clock.sleep(beat_s * 2.5)
        with store.writing() as connection:
            again = _holder(connection, env)
            if again is None or (again.token, again.beats) != (found.token, found.beats):
                raise _occupied(env, again or found)
            token = _write(connection, env, found, clock, ttl_s)
        return cls(store, env, token, _unclean(found), clock=clock, ttl_s=ttl_s, beat_s=beat_s)

    @property
    def lost(self) -> str:
        """Why the lease is no longer ours; empty while it is."""
        return self._lost

    def ensure(self) -> None:
        """Returns when the lease is ours at this moment. Raises LeaseLost: nothing may be changed any more."""
        if not self._lost and not self._beat():
            self._lost = "another process took it over"
        if self._lost:
            raise LeaseLost(
                f"The lease of environment {self._env} was lost ({self._lost}); this process stops and changes nothing more. "
                f"See `./inv status --env {self._env}`."
            )

    def advance(self) -> int:
        """Takes a new token for the same holder: whatever still runs under the old one is refused by hosts from now on."""
        with self._lock, self._store.writing() as connection:
            changed = connection.execute(
                sa.update(leases)
                .where(leases.c.env == self._env, leases.c.token == self.token, leases.c.released.is_(False))
                .values(token=leases.c.token + 1)
            )
            if changed.rowcount != 1:
                self._lost = "another process took it over"
            else:
                self.token += 1
        self.ensure()
        return self.token

    def release(self) -> None:
        """Gives the environment free. The token is never used again."""
        self.abandon()
        with self._store.writing() as connection:
            connection.execute(sa.update(leases).where(leases.c.env == self._env, leases.c.token == self.token).values(released=sa.true()))

    def abandon(self) -> None:
        """Stops refreshing without giving the environment free."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=self._ttl_s)

    def _beat(self) -> bool:
        with self._lock, self._store.writing() as connection:
            values = {"beat_at": self._clock.now().timestamp(), "beats": leases.c.beats + 1}
            same = (leases.c.env == self._env, leases.c.token == self.token, leases.c.released.is_(False))
            ours = connection.execute(sa.update(leases).where(*same).values(**values)).rowcount == 1
        if ours:
            self._last_beat = time.monotonic()
        return ours

    def _keep(self) -> None:
        while not self._stopped.wait(self._beat_s):
            # A database that does not answer for a moment is not a lost lease; one that does not answer for a whole ttl is.
            with contextlib.suppress(GoliveError):
                if not self._beat() and not self._stopped.is_set():
                    self._lost = "another process took it over"
                    return
            if time.monotonic() - self._last_beat > self._ttl_s:
                self._lost = f"it could not be refreshed for {self._ttl_s:.0f} s"
                return


def _unclean(found: Holder | None) -> Holder | None:
    return found if found is not None and not found.released else None


def _occupied(env: str, found: Holder) -> Occupied:
    known = "" if found.alive else f" It is not on this machine; when it is dead, wait {found.ttl_s:.0f} s and repeat the command."
    return Occupied(f"Environment {env} is held by {found.sentence}. Watch it with `./inv status --env {env}`.{known}")


def _holder(connection: sa.Connection, env: str) -> Holder | None:
    row: Any = connection.execute(sa.select(leases).where(leases.c.env == env)).first()
    if row is None:
        return None
    process = Process(row.pid, row.pid_start, row.host, row.machine, row.boot, row.namespace, "golive")
    return Holder(row.owner, process, row.token, bool(row.released), row.taken_at, row.beat_at, row.beats, row.ttl_s)


def _write(connection: sa.Connection, env: str, found: Holder | None, clock: Clock, ttl_s: float) -> int:
    this, now = me(), clock.now().timestamp()
    token = (found.token if found else 0) + 1
    values = {
        "token": token,
        "released": False,
        "owner": owner(),
        "host": this.host,
        "machine": this.machine,
        "boot": this.boot,
        "namespace": this.namespace,
        "pid": this.pid,
        "pid_start": this.start,
        "taken_at": now,
        "beat_at": now,
        "beats": 0,
        "ttl_s": ttl_s,
    }
    if found is None:
        connection.execute(sa.insert(leases).values(env=env, **values))
    else:
        connection.execute(sa.update(leases).where(leases.c.env == env).values(**values))
    return token
