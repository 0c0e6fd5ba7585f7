"""The lease: at most one process acts on an environment, and hosts can tell it from every earlier one by its fencing token."""

from __future__ import annotations

import contextlib
import json
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

    def to_json(self) -> dict[str, Any]:
        """As the journal names it."""
        since = datetime.fromtimestamp(self.taken_at, UTC).isoformat(timespec="seconds")
        machine = self.process.machine
        return {
            "owner": self.owner,
            "host": self.process.host,
            "machine": machine,
            "pid": self.process.pid,
            "since": since,
            "token": self.token,
        }


def holder(store: Store, env: str) -> Holder | None:
    """Who holds or last held ``env``; None when no one ever did."""
    return store.read(lambda connection: _holder(connection, env))


class Lease:
    """A lease that this process holds. Refreshed by a thread of its own until :meth:`release` or :meth:`abandon`.

    ``took_over`` is the holder that was found dead or silent, None when the environment was free. ``taken_over`` are all takeovers that
    no process has journaled yet, this one included: who from whom and why; :meth:`journaled` forgets them.
    """

    def __init__(self, store: Store, env: str, token: int, took_over: Holder | None, *, clock: Clock, ttl_s: float, beat_s: float) -> None:
        self._store = store
        self._env = env
        self._clock = clock
        self._ttl_s = ttl_s
        self._beat_s = beat_s
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._lost = ""
        self._last_beat = time.monotonic()
        self.token = token
        self.took_over = took_over
        self.taken_over = _takeovers(store, env)
        self._thread = threading.Thread(target=self._keep, name=f"lease-{env}", daemon=True)
        self._thread.start()

    @classmethod
    def take(
        cls,
        store: Store,
        env: str,
        *,
        clock: Clock | None = None,
        ttl_s: float = 30.0,
        beat_s: float = 2.0,
        take_over: bool = False,
    ) -> Lease:
        """Takes the lease of ``env``.

        A holder whose process is provably dead on this machine is replaced at once; one from before this machine's last boot after a
        few beats of silence, because a cloned machine may go by the same names. One on another machine is replaced only with ``take_over``,
        and only when it does not beat once while we look on for its whole ttl: after that time it has given up by itself. No clock that
        can be set is asked: neither one that jumped there nor one that jumped here makes the living dead or the dead immortal.

        Raises:
            Occupied: naming owner, host, pid and since when.
        """
        clock = clock or RealClock()
        with store.writing() as connection:
            found = _holder(connection, env)
            quiet_s = _quiet_s(env, found, take_over)
            if not quiet_s:
                why = "dead on this machine" if _unclean(found) else ""
                token = _write(store, connection, env, found, clock, ttl_s, why)
        if found is not None and quiet_s:
            _silent(store, env, found, clock, quiet_s, beat_s)
            with store.writing() as connection:
                again = _holder(connection, env)
                if again is None or (again.token, again.beats, again.released) != (found.token, found.beats, found.released):
                    raise _occupied(env, again or found, "It is alive: it beat while it was looked at.")
                why = f"silent for {quiet_s:g} s, and from before this machine's last boot" if found.process.rebooted else ""
                why = why or f"silent for {quiet_s:g} s, and taken over by hand"
                token = _write(store, connection, env, found, clock, ttl_s, why)
        return cls(store, env, token, _unclean(found), clock=clock, ttl_s=ttl_s, beat_s=beat_s)

    @property
    def lost(self) -> str:
        """Why the lease is no longer ours; empty while it is."""
        if not self._lost and not self._stopped.is_set() and self._late:
            # Another may have seen nothing of us for a whole ttl by now. A process that was only stopped finds its lease still there.
            with contextlib.suppress(GoliveError):
                if not self._beat(patiently=False):
                    self._lost = "another process took it over"
            if not self._lost and self._late:
                self._lost = f"it could not be refreshed for {self._ttl_s:.0f} s"
        return self._lost

    @property
    def _late(self) -> bool:
        return time.monotonic() - self._last_beat > self._ttl_s

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
        if self._lost:
            self.ensure()
        with self._lock:
            wanted = self.token + 1

            def work(connection: sa.Connection) -> bool:
                changed = connection.execute(sa.update(leases).where(*self._ours()).values(token=wanted))
                # A try whose answer was lost has raised it already; only this process can have.
                return changed.rowcount == 1 or _mine(_holder(connection, self._env), wanted)

            if self._store.write(work):
                self.token = wanted
            else:
                self._lost = "another process took it over"
        self.ensure()
        return self.token

    def journaled(self) -> None:
        """The takeovers stand in the journal; the next holder need not say them."""
        self._store.write(lambda connection: connection.execute(sa.update(leases).where(*self._ours()).values(taken_over=None)))
        self.taken_over = []

    def release(self) -> None:
        """Gives the environment free. The token is never used again."""
        self.abandon()
        self._store.write(lambda connection: connection.execute(sa.update(leases).where(*self._ours()).values(released=sa.true())))

    def abandon(self) -> None:
        """Stops refreshing without giving the environment free."""
        self._stopped.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=self._ttl_s)

    def _ours(self) -> tuple[sa.ColumnElement[bool], ...]:
        return (leases.c.env == self._env, leases.c.token == self.token, leases.c.released.is_(False))

    def _beat(self, *, patiently: bool = True) -> bool:
        def work(connection: sa.Connection) -> bool:
            values = {"beat_at": self._store.now(connection, self._clock), "beats": leases.c.beats + 1}
            return connection.execute(sa.update(leases).where(*self._ours()).values(**values)).rowcount == 1

        with self._lock:
            begun = time.monotonic()
            if patiently:
                ours = self._store.write(work)
            else:
                with self._store.writing() as connection:
                    ours = work(connection)
        if ours:
            self._last_beat = begun  # what others count from is not earlier than this
        return ours

    def _keep(self) -> None:
        while not self._stopped.wait(self._beat_s):
            # A database that does not answer for a moment is not a lost lease; one that does not answer for a whole ttl is.
            with contextlib.suppress(GoliveError):
                if not self._beat(patiently=False) and not self._stopped.is_set():
                    self._lost = "another process took it over"
                    return
            if self.lost:
                return


def _unclean(found: Holder | None) -> Holder | None:
    return found if found is not None and not found.released else None


def _quiet_s(env: str, found: Holder | None, take_over: bool) -> float:
    """How long ``found`` has to stay silent before it is replaced; 0 for one that is gone. Raises Occupied for one that stays."""
    if found is None or found.released:
        return 0.0
    if found.process.rebooted:
        return found.ttl_s / 5
    if found.alive is False:
        return 0.0
    if found.alive or not take_over:
        raise _occupied(env, found)
    return found.ttl_s


def _silent(store: Store, env: str, found: Holder, clock: Clock, quiet_s: float, beat_s: float) -> None:
    """Returns when ``found`` was silent for ``quiet_s``. Raises Occupied as soon as it beats."""
    end = clock.monotonic() + quiet_s
    while (left := end - clock.monotonic()) > 0:
        clock.sleep(min(left, beat_s))
        now = holder(store, env)
        if now is None or (now.token, now.beats) != (found.token, found.beats):
            raise _occupied(env, now or found, "It is alive: it beat while it was looked at.")


def _occupied(env: str, found: Holder, why: str = "") -> Occupied:
    if not found.alive and not why:
        why = (
            f"It is not on this machine; when it is dead for certain, `./inv golive --env {env} --take-over` (or rollback) looks on for "
            f"{found.ttl_s:.0f} s and takes the environment from a holder that stays silent."
        )
    return Occupied(f"Environment {env} is held by {found.sentence}. Watch it with `./inv status --env {env}`. {why}".rstrip())


def _mine(found: Holder | None, token: int) -> bool:
    return found is not None and not found.released and found.token == token and found.process == me()


def _holder(connection: sa.Connection, env: str) -> Holder | None:
    row: Any = connection.execute(sa.select(leases).where(leases.c.env == env)).first()
    if row is None:
        return None
    process = Process(row.pid, row.pid_start, row.host, row.machine, row.boot, row.namespace, "golive")
    return Holder(row.owner, process, row.token, bool(row.released), row.taken_at, row.beat_at, row.beats, row.ttl_s)


def _takeovers(store: Store, env: str) -> list[dict[str, Any]]:
    query = sa.select(leases.c.taken_over).where(leases.c.env == env)
    return list(json.loads(store.read(lambda connection: connection.execute(query).scalar()) or "[]"))


def _write(store: Store, connection: sa.Connection, env: str, found: Holder | None, clock: Clock, ttl_s: float, why: str) -> int:
    this, now = me(), store.now(connection, clock)
    token = (found.token if found else 0) + 1
    before = connection.execute(sa.select(leases.c.taken_over).where(leases.c.env == env)).scalar()
    over = json.loads(before or "[]")
    if found is not None and why:
        by = {"owner": owner(), "host": this.host, "machine": this.machine, "pid": this.pid, "token": token}
        over.append({"who": by, "from": found.to_json(), "why": why})
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
        "taken_over": json.dumps(over) if over else None,
    }
    if found is None:
        connection.execute(sa.insert(leases).values(env=env, **values))
    else:
        connection.execute(sa.update(leases).where(leases.c.env == env).values(**values))
    return token
