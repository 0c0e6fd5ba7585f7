"""``dwcp-guard``: gives traffic back when the controller is gone and the candidate is not well.

One turn a second. It takes the gateway's lock only to act and to settle, looks again once it holds it, and does nothing while
the controller is alive, while no lease is open, or when it cannot read what it needs. Everything it knows is on disk or in ``/run``: it
may be killed and started at any point.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golive.onhost import fence
from golive.onhost.alertmanager import Monitoring
from golive.onhost.command import Call, verb
from golive.onhost.failures import BadInput, Refused
from golive.onhost.lease import Lease, LeaseFiles, Moment
from golive.onhost.places import Places
from golive.onhost.watch import Act, Alert, Choice, Decision, Seen, decide, must_ask
from golive.onhost.weights import Gateway

__all__ = ["Guard", "Rules"]

_METRICS = "var/lib/dwcp/metrics/dwcp_guard.prom"


@dataclass(frozen=True)
class Rules:
    """``/etc/dwcp/guard.json``: where to ask, and how patient to be."""

    monitoring: Monitoring
    interval_s: float
    grace_s: float

    @classmethod
    def read(cls, places: Places) -> Rules:
        """Raises BadInput naming the file and what is wrong with it."""
        path = places.etc / "guard.json"
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            asked = Monitoring(
                alertmanager=value["alertmanager"],
                prometheus=value["prometheus"],
                ca=Path(value["ca"]),
                certificate=Path(value["certificate"]),
                timeout_s=float(value["ask_timeout_s"]),
                stale_s=float(value["stale_s"]),
            )
            return cls(asked, float(value["interval_s"]), float(value["grace_s"]))
        except OSError as error:
            raise BadInput(f"{path}: {error.strerror}.") from None
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{path} does not say what the guard needs ({type(error).__name__}: {error}).") from None


class Guard:
    """The guard of one gateway; `turn` is called once an interval."""

    def __init__(self, places: Places, rules: Rules) -> None:
        self._gateway = Gateway(places)
        self._files = LeaseFiles(places)
        self._rules = rules
        self._metrics = places.root / _METRICS
        self._said: str | None = None
        self._mute = False
        # What it did last, should the disk not take it.
        self._remembered: dict[str, Any] | None = None

    def turn(self) -> Decision:
        """Looks once, acts if need be, and says what it decided. Raises Refused or OSError when it could not look or act."""
        self._files.guard_is_alive()
        self._settle()
        seen = self._look()
        alert = Alert.QUIET
        names: list[str] = []
        if must_ask(seen) and seen.lease is not None:
            release = self._gateway.slots()[seen.lease.candidate_slot]["release"]
            # Asking takes time; the lock is not held, and everything is looked at again below.
            alert, names = self._rules.monitoring.about(release) if release else (Alert.UNKNOWN, ["the candidate's slot has no label"])
        decision = decide(seen, alert, self._rules.grace_s)
        if decision.choice is not Choice.LEAVE:
            decision = self._act(seen.lease, alert, names)
        self._tell(seen, alert, names, decision)
        return decision

    def _look(self) -> Seen:
        lease = self._files.read()
        if lease is None:
            return Seen(None, 0.0, 0)
        now = Moment.now()
        age = self._files.beat_age_s(lease, now)
        if age is None:
            age = now.boottime_s - self._files.watching_since(now)
        return Seen(lease, age, lease.percent_of(self._weight()), self._acted(lease, now))

    def _weight(self) -> int:
        try:
            return self._gateway.live_weight()
        except Refused:
            # HAProxy is down and will start from the record: that is what there is to give back.
            recorded: int = self._gateway.record()["slot_b"]
            return recorded

    def _acted(self, lease: Lease, now: Moment) -> Act | None:
        act = self._files.guard()
        mine = self._remembered
        if mine is not None and mine["lease"] == lease and (not act or act.get("boottime_s", 0) < mine["boottime_s"]):
            act = mine
        if not act or act.get("run") != lease.run or act.get("acknowledged"):
            return None
        age = now.since(act)
        if age is None:
            # It acted before this machine booted: the wait begins again.
            age = now.boottime_s - self._files.watching_since(now)
        return Act(Choice[act["choice"]], int(act["to"]), age)

    def _act(self, lease: Lease | None, alert: Alert, names: list[str]) -> Decision:
        with self._gateway.locked():
            seen = self._look()
            decision = decide(seen, alert, self._rules.grace_s)
            if seen.lease is None or seen.lease != lease or decision.choice is Choice.LEAVE:
                return Decision(Choice.LEAVE, seen.candidate, "something changed while Alertmanager was asked")
            why = {"token": seen.lease.token, "run": seen.lease.run, "stage": "guard", "by": "guard"}
            try:
                self._gateway.set_weight(seen.lease.slot_b_at(decision.percent), why=why, keeps=True, offline=True)
            finally:
                # Also when the disk was full or HAProxy said no: the wait for the next step begins, and a resumed run has to know.
                self._record(seen.lease, seen.candidate, decision, names)
            return decision

    def _record(self, lease: Lease, before: int, decision: Decision, names: list[str]) -> None:
        act = {
            "run": lease.run,
            "token": lease.token,
            "choice": decision.choice.name,
            "at": fence.now(),
            **vars(Moment.now()),
            "from": before,
            "to": decision.percent,
            "why": decision.why,
            "alerts": names,
            "acknowledged": False,
        }
        self._remembered = {**act, "lease": lease}
        self._files.write_guard(act)

    def _settle(self) -> None:
        """Puts right what a killed verb or a restarted HAProxy left. Waits for no one: a verb at work settles by itself."""
        try:
            with self._gateway.locked(wait_s=0):
                lease = self._files.read()
                last = self._gateway.record()
                why = {"token": last["token"], "run": last["run"], "stage": "settle", "by": "guard"}
                for done in self._gateway.settle(lease.candidate_slot if lease else None, why):
                    _log("settled", what=done)
        except (Refused, OSError) as refused:
            if str(refused) != self._said:
                self._said = str(refused)
                _log("not settled", why=self._said)

    def _tell(self, seen: Seen, alert: Alert, names: list[str], decision: Decision) -> None:
        asked = must_ask(seen)
        if decision.choice is not Choice.LEAVE:
            _log("acted", choice=decision.choice.name, percent=decision.percent, why=decision.why, alerts=names)
        if not self._metrics.parent.is_dir():
            return
        act = self._files.guard()
        lines = [
            ("dwcp_guard_lease_open", int(seen.lease is not None)),
            ("dwcp_guard_beat_age_seconds", round(seen.beat_age_s, 1) if seen.lease else 0),
            ("dwcp_guard_candidate_percent", seen.candidate),
            ("dwcp_guard_alert_firing", int(asked and alert is Alert.FIRING)),
            ("dwcp_guard_alert_unknown", int(asked and alert is Alert.UNKNOWN)),
            ("dwcp_guard_acted", int(bool(act) and not (act or {}).get("acknowledged"))),
        ]
        fresh = self._metrics.with_name(f".{self._metrics.name}.{os.getpid()}")
        try:
            fresh.write_text("".join(f"# TYPE {name} gauge\n{name} {value}\n" for name, value in lines), encoding="utf-8")
            fresh.replace(self._metrics)
        except OSError as error:
            # Metrics are for people; the guard does its work without them.
            if not self._mute:
                _log("no metrics", why=str(error))
            self._mute = True


@verb(
    "guard",
    help="the daemon of dwcp-guard.service",
    changes=False,
    arguments=lambda p: p.add_argument("--once", action="store_true", help="one turn"),
)
def _guard(call: Call) -> dict[str, Any]:
    options: argparse.Namespace = call.options
    rules = Rules.read(call.places)
    guard = Guard(call.places, rules)
    if options.once:
        decision = guard.turn()
        return {"choice": decision.choice.name, "percent": decision.percent, "why": decision.why}
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    _notify("READY=1")
    _log("watching", interval_s=rules.interval_s, grace_s=rules.grace_s, alertmanager=rules.monitoring.alertmanager)
    before = ""
    while not stop.is_set():
        try:
            decision = guard.turn()
            said = decision.why if decision.choice is Choice.LEAVE and decision.why.startswith(("no lease", "the controller is")) else ""
        except (Refused, BadInput, OSError) as error:
            said = f"{type(error).__name__}: {error}"
        if said and said != before:
            _log("sees", what=said)
        before = said
        _notify("WATCHDOG=1")
        stop.wait(rules.interval_s)
    return {"stopped": True}


def _log(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}, sort_keys=True), file=sys.stderr, flush=True)


def _notify(message: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
        connection.connect("\0" + address[1:] if address.startswith("@") else address)
        connection.sendall(message.encode())
