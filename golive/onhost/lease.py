"""The weight is a lease: what the controller holds while it carries traffic between gates, and the sign of life it gives.

``lease.json`` is durable and rare; the beat comes every two seconds and lives in ``/run``. A beat is stamped by this host with
``CLOCK_BOOTTIME``, so that no clock that jumps, here or at the controller, makes it older or younger.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from golive.onhost import durable, fence, machine
from golive.onhost.failures import Refused
from golive.onhost.places import Places
from golive.onhost.values import Value
from golive.onhost.weights import read_json

# Not from typing: that module alone would take a short call as long as its work.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Lease", "LeaseFiles", "Moment"]


class Lease(Value):
    """An open lease."""

    def __init__(self, run: str, token: int, candidate_slot: str, passed: int, ttl_s: float) -> None:
        self.run = run
        self.token = token
        self.candidate_slot = candidate_slot
        self.passed = passed
        """Percent of the candidate that last passed its gate."""
        self.ttl_s = ttl_s

    def percent_of(self, slot_b: int) -> int:
        """The candidate's percent at a weight of slot b."""
        return slot_b if self.candidate_slot == "b" else 100 - slot_b

    def slot_b_at(self, percent: int) -> int:
        """The weight of slot b that gives the candidate ``percent``."""
        return percent if self.candidate_slot == "b" else 100 - percent


class Moment(Value):
    """A point in time on this host's own steady clock."""

    def __init__(self, boot_id: str, boottime_s: float) -> None:
        self.boot_id = boot_id
        self.boottime_s = boottime_s

    @classmethod
    def now(cls) -> Moment:
        return cls(machine.here().boot_id(), machine.here().boottime_s())

    def since(self, stamp: dict[str, Any]) -> float | None:
        """Seconds since a stamp; None when it is of another boot, of the future, or no stamp at all."""
        then = stamp.get("boottime_s")
        if stamp.get("boot_id") != self.boot_id or not isinstance(then, (int, float)) or then > self.boottime_s:
            return None
        return self.boottime_s - then


class LeaseFiles:
    """The files of the lease on this gateway."""

    def __init__(self, places: Places) -> None:
        self._lease = places.gateway / "lease.json"
        self._guard = places.gateway / "guard.json"
        self._run_dir = places.root / "run/dwcp-gateway"
        self._beat = self._run_dir / "beat.json"
        self._alive = self._run_dir / "guard-alive.json"
        self._places = places

    def read(self) -> Lease | None:
        """The open lease; None when it is closed. Raises Refused when the file makes no sense."""
        value = read_json(self._lease)
        if value is None:
            return None
        try:
            lease = Lease(str(value["run"]), int(value["token"]), str(value["candidate_slot"]), int(value["passed"]), float(value["ttl_s"]))
        except (KeyError, TypeError, ValueError):
            raise Refused(f"{self._lease} makes no sense; look at it, then close and open the lease again.") from None
        if lease.candidate_slot not in ("a", "b") or not 0 <= lease.passed <= 100:
            raise Refused(f"{self._lease} makes no sense; look at it, then close and open the lease again.")
        return lease

    def write(self, lease: Lease) -> bool:
        """``lease`` is open; says whether anything changed."""
        if self.read() == lease:
            return False
        durable.write_json(self._lease, {**vars(lease), "at": fence.now()})
        return True

    def close(self) -> bool:
        """No lease is open; says whether one was."""
        self._beat.unlink(missing_ok=True)
        return durable.remove(self._lease)

    def beat(self, run: str, token: int) -> None:
        """The controller is alive. Raises Refused for one that was replaced, and when no lease is open.

        Takes no lock: it must not wait for an install, and the file is replaced whole. The token is compared, never recorded.
        """
        known = fence.read(self._places)
        if known is None or token != known.number or run != known.owner:
            holder = "no one" if known is None else f"run {known.owner} with token {known.number}"
            raise Refused(f"Run {run} with token {token} does not hold this gateway: {holder} does.")
        lease = self.read()
        if lease is None or lease.run != run:
            raise Refused(f"Run {run} has no open lease on this gateway.")
        now = Moment.now()
        self._volatile(self._beat, {**vars(now), "run": run, "token": token, "at": fence.now()})

    def beat_age_s(self, lease: Lease, now: Moment) -> float | None:
        """Seconds since the last beat of the lease's run; None when there was none since this machine booted."""
        beat = self._read_volatile(self._beat)
        if beat.get("run") != lease.run or not isinstance(beat.get("token"), int) or beat["token"] < lease.token:
            return None
        return now.since(beat)

    # -- what the guard did ----------------------------------------------------------------------------------------------------

    def guard(self) -> dict[str, Any] | None:
        """What the guard last did; None when it never acted."""
        return read_json(self._guard)

    def write_guard(self, act: dict[str, Any]) -> None:
        durable.write_json(self._guard, act)

    def acknowledge_guard(self) -> bool:
        """What the guard did is known to the controller; says whether it had not been before."""
        act = self.guard()
        if act is None or act.get("acknowledged"):
            return False
        durable.write_json(self._guard, {**act, "acknowledged": True})
        return True

    def guard_is_alive(self) -> None:
        """Shows that the guard itself runs; written by it at every turn."""
        self._volatile(self._alive, vars(Moment.now()))

    def guard_age_s(self) -> float | None:
        """Seconds since the guard's last turn; None when it never ran since boot."""
        return Moment.now().since(self._read_volatile(self._alive))

    def watching_since(self, now: Moment) -> float:
        """``boottime`` at which a guard first ran since this machine booted; survives its restarts."""
        path = self._run_dir / "guard-since.json"
        known = self._read_volatile(path)
        if now.since(known) is None:
            known = dict(vars(now))
            self._volatile(path, known)
        return float(known["boottime_s"])

    def _volatile(self, path: Path, value: dict[str, Any]) -> None:
        # On tmpfs and worth nothing after a crash of the machine: replaced whole, not synced.
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_text(json.dumps(value, sort_keys=True) + "\n", encoding="utf-8")
        fresh.replace(path)

    @staticmethod
    def _read_volatile(path: Path) -> dict[str, Any]:
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}
