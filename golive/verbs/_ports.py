"""What a run uses of the outside: hosts to fence, the beat that keeps the guards quiet, the alerts that send it back."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from golive import actions, audit
from golive.actions._https import client, get
from golive.actions._traffic import TTL_S, leased, traffic
from golive.actions._world import command, world
from golive.actions.port import Finding, Findings, Found, StepContext, registered
from golive.engine import Ports, Trigger
from golive.environment import Environment
from golive.errors import GoliveError, Unprepared, Unreachable
from golive.fleet.inventory import read_fleet
from golive.fleet.port import stand_in
from golive.notify import EnvironmentPager
from golive.traffic import Heartbeat

__all__ = ["ports_of"]

_TRIGGERS = {"DwcpErrorRateHigh": "breach", "DwcpCorruption": "corruption", "DwcpAgentDown": "outage"}
"""Alerts that send a run back, with the runbook's word for why."""
_NOT_FOUND = 127
"""A shell's exit status for a command that does not exist: a bare host has nothing to fence."""
_OURS = ("/usr/local/sbin/dwcp-host", "/etc/dwcp", "/var/lib/dwcp", "/opt/dwcp", "/etc/systemd/system/dwcp-agent@.service")
"""What a host has, and keeps, from its first play on."""


def ports_of(env: Environment) -> Ports:
    """The ports of a real environment: its fleet over SSH, all actions, both watchers."""
    actions.load_all()
    hosts = stand_in(env)
    if hosts is not None:
        # Its clock leaps: watchers that look by real time would hardly look at all.
        ports = Ports(clock=hosts.clock, timing=hosts.timing)
        beat, alerts = BeatWatcher(every_s=0.2), AlertWatcher(every_s=0.2)
    else:
        ports, beat, alerts = Ports(), BeatWatcher(), AlertWatcher()
    return replace(
        ports,
        fleet=lambda: read_fleet(env),
        fence=lambda token, run: _fence(env, token, run),
        bare=lambda: _bare(env),
        watchers=(beat, alerts),
        anchor=lambda anchor: audit.leave(env, anchor),
        sign=lambda message: audit.sign(env, message),
        pager=EnvironmentPager(env),
        actions=registered(),
    )


def _fence(env: Environment, token: int, run: str) -> Findings:
    """Every host refuses older tokens from now on; waits on each for what still runs there."""
    try:
        fleet = read_fleet(env)
    except Unprepared:
        return {}
    shell, found = world(env, fleet).shell, {}
    for privileged in (True, False):
        hosts = [h for h in fleet.hosts if (h.ssh_user == "root") is privileged]
        words = ("dwcp-host", "fence", "--token", str(token), "--run", run)
        for name, got in shell.each(hosts, command(hosts[0], *words), timeout_s=150).items() if hosts else ():
            if isinstance(got, GoliveError):
                found[name] = Finding(Found.UNKNOWN, str(got))
            elif got.rc == _NOT_FOUND or b"command not found" in got.stderr:
                found[name] = Finding(Found.DONE, "a bare host: nothing of the toolkit is on it")
            elif got.rc != 0:
                said = got.stderr.decode(errors="replace").strip().splitlines()
                found[name] = Finding(Found.UNKNOWN, said[-1] if said else f"dwcp-host fence ended with {got.rc}")
            else:
                found[name] = Finding(Found.DONE, f"token {token}")
    return found


def _bare(env: Environment) -> dict[str, str]:
    """Hosts that answer, with the key they are known by, and have neither ``dwcp-host`` nor anything that it or a play makes."""
    fleet = read_fleet(env)
    nothing = [word for path in _OURS for word in ("!", "-e", path, "-a")][:-1]
    got = world(env, fleet).shell.each(fleet.hosts, ["test", *nothing], timeout_s=10)
    why = "another machine by now: nothing of the toolkit is on it, so nothing of the candidate"
    return {name: why for name, answer in got.items() if not isinstance(answer, GoliveError) and answer.rc == 0}


class BeatWatcher:
    """Beats on every gateway; a guard that acted, a refused beat or a gateway that takes none sends the run back."""

    name = "guard"

    def __init__(self, every_s: float = 2.0) -> None:
        self._every_s = every_s
        self._ctx: StepContext | None = None
        self._heart: Heartbeat | None = None

    def start(self, ctx: StepContext) -> None:
        self._ctx = ctx

    def stop(self) -> None:
        self._ctx = None
        if self._heart is not None:
            self._heart.__exit__(None, None, None)
            self._heart = None

    def poll(self) -> Trigger | None:
        if self._heart is None and self._ctx is not None and leased(self._ctx):
            # Not earlier: a gateway refuses a beat for a lease that was not opened yet.
            self._heart = Heartbeat(traffic(self._ctx).beat, interval_s=self._every_s)
            self._heart.__enter__()
        if self._heart is None:
            return None
        trouble = self._heart.pulse().trouble(TTL_S)
        return Trigger(self.name, trouble) if trouble else None


class AlertWatcher:
    """Asks Prometheus every two seconds whether the candidate hurts users: errors, corruption, a dead agent.

    An alert that fires for the incumbent as well, while it has users, says that the site is sick, which the gates judge in comparison.
    Latency and missing metrics are theirs altogether. Not knowing is no trigger: gates turn missing data into ERROR, and the guards act on
    it when no controller is there. Not being able to ask any more is one.
    """

    name = "alert"
    every_s = 2.0

    def __init__(self, every_s: float | None = None) -> None:
        if every_s is not None:
            self.every_s = every_s
        self._seen: Trigger | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, ctx: StepContext) -> None:
        self._seen, self._stop = None, threading.Event()
        self._thread = threading.Thread(target=self._look, args=(ctx, self._stop), name="alerts", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
            self._thread = None

    def poll(self) -> Trigger | None:
        return self._seen

    def _look(self, ctx: StepContext, stop: threading.Event) -> None:
        try:
            self._watch(ctx, stop)
        except Exception as error:
            self._seen = Trigger(self.name, f"alerts can no longer be watched: {type(error).__name__}: {error}")

    def _watch(self, ctx: StepContext, stop: threading.Event) -> None:
        ops = ctx.fleet().ops
        with client(ctx.env) as opened:
            while not stop.wait(self.every_s):
                try:
                    answer = get(opened, f"https://{ops.address}:9090/api/v1/alerts", ops.name)
                    alerts: list[dict[str, Any]] = answer.json()["data"]["alerts"]
                    firing = [(alert["labels"], alert.get("annotations") or {}) for alert in alerts if alert["state"] == "firing"]
                    both = {labels.get("alertname") for labels, _ in firing if ctx.incumbent and labels.get("release") == ctx.incumbent}
                    both = both if both and _has_users(ctx, ctx.incumbent) else set()
                except (Unreachable, ValueError, KeyError, TypeError, AttributeError):
                    continue
                for labels, notes in firing:
                    if labels.get("release") == ctx.candidate and labels.get("alertname") in _TRIGGERS.keys() - (both - {"DwcpCorruption"}):
                        where = f" on {labels['host']}" if "host" in labels else ""
                        said = notes.get("summary", "")
                        why = {"category": _TRIGGERS[labels["alertname"]]}
                        self._seen = Trigger(self.name, f"{labels.get('alertname')}{where}: {said}", data={**labels, **why})
                        return


def _has_users(ctx: StepContext, release: str | None) -> bool:
    """Whether any gateway was last seen to send users to ``release``."""
    last = {fact["gateway"]: fact["weights"] for fact in ctx.facts("traffic.set")}
    return any(weights.get(release, 0) > 0 for weights in last.values())
