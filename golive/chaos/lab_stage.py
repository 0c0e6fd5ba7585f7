"""The lab as a stage of rounds: its journal read as it grows, its hosts asked beside the toolkit's own ways, its users' own account."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from golive import engine
from golive.chaos.clock import WallClock
from golive.chaos.lab_mending import mended
from golive.chaos.lab_port import Facts, HostFacts, Seen
from golive.chaos.lab_process import Command
from golive.engine import Record, RunState
from golive.environment import Environment
from golive.errors import GoliveError
from golive.fleet.inventory import read_fleet
from golive.fleet.model import Fleet, Host
from golive.gates.adapters import LoadClient, operator_tls
from golive.gates.window import NoData
from golive.lab.commands import run

__all__ = ["LabStage"]

_PAGES = 2000
_ASK_S = 60.0

_EFFECTS = "/var/lib/dwcp/host/effects.jsonl"


class LabStage:
    """Keep it for all rounds: what appeared in the journal is told once."""

    def __init__(self, env: Environment, log: Path) -> None:
        self.env, self.env_name, self.log = env, env.name, log
        self._store: sqlite3.Connection | None = None
        self._seq = 0

    @property
    def fleet(self) -> Fleet:
        return read_fleet(self.env)

    def type(self, words: Sequence[str], clock: WallClock | None = None) -> Command:
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ ./inv {' '.join(words)}\n")
        return Command(words, self.log, clock)

    def appeared(self) -> list[Seen]:
        """On one connection that never writes: opening it each time would take a part of a core from the users that are watched."""
        if self._store is None:
            path = self.env.state / "journal.db"
            if not path.exists():
                return []
            self._store = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        try:
            rows = self._store.execute("SELECT seq, kind, stage, step FROM records WHERE seq > ? ORDER BY seq", (self._seq,)).fetchall()
        except sqlite3.OperationalError:
            return []  # between two states of the file; the next look sees it
        found = [Seen(*row) for row in rows]
        self._seq = found[-1].seq if found else self._seq
        return found

    def records(self, after: int) -> list[Record]:
        return [record for record in engine.open_journal(self.env).read() if record.seq > after]

    def state(self) -> RunState:
        return engine.standing(self.env).last

    def mend(self) -> list[str]:
        return mended(self.env, self.fleet)

    def facts(self, since: float | None) -> Facts:
        fleet = self.fleet
        with ThreadPoolExecutor(4) as pool:
            hosts = tuple(pool.map(_asked, fleet.hosts))
        if since is None:
            return Facts(hosts)
        requests, nobody, unread = self._requests(fleet, since)
        return Facts(hosts, requests, nobody, unread, self._journal())

    def _requests(self, fleet: Fleet, since: float) -> tuple[int, int, tuple[str, ...]]:
        total = nobody = 0
        unread = []
        tls = operator_tls(self.env.state / "pki")
        for host in fleet.loads:
            client = LoadClient(host.name, host.address, tls, proxy=None)
            try:
                at = 0
                for _ in range(_PAGES):
                    page = client.after(at)
                    if isinstance(page, NoData):
                        unread.append(f"{host.name} ({page})")
                        break
                    rows = [row for row in page.samples if float(row[1]) >= since]
                    total += len(rows)
                    nobody += sum(str(row[2]) in ("none", "") for row in rows)
                    if not page.samples or page.next == at:
                        break
                    at = page.next
            finally:
                client.close()
        return total, nobody, tuple(unread)

    def _journal(self) -> tuple[str, ...]:
        """As an operator asks it: chain, signatures and what the hosts keep of it."""
        command = Command(("journal.verify", "--env", self.env.name), self.log)
        status = command.waited(_ASK_S * 2)
        if status == 0:
            return ()
        command.end()
        return (f"journal.verify ended with {status}: {command.said}",)


def _asked(host: Host) -> HostFacts:
    """By podman and not by SSH: what strikes the toolkit's own way in does not strike this one."""
    agent = host.role == "agent"
    try:
        # Not there: nothing was done on it. There and not to be read is no answer, and none is no "nothing".
        effects = _lines(_inside(host.name, "sh", "-c", f"test ! -e {_EFFECTS} || cat {_EFFECTS}"))
        releases = json.loads(_inside(host.name, "dwcp-host", "status")).get("releases", []) if agent else []
        weight = json.loads(_inside(host.name, "dwcp-host", "weight", "get")) if host.gateway else None
    except (GoliveError, ValueError) as error:
        return HostFacts(host.name, agent, host.gateway, why=str(error))
    return HostFacts(host.name, agent, host.gateway, tuple(effects), tuple(releases), weight)


def _inside(name: str, *argv: str) -> str:
    done = run(["podman", "exec", name, *argv], timeout_s=_ASK_S)
    if not done.ok:
        raise GoliveError(f"`{' '.join(argv)[:60]}` ended with {done.rc}: {done.complaint}.")
    return done.stdout


def _lines(text: str) -> list[dict[str, Any]]:
    found = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):  # torn by a kill; the next line stands by itself
            found.append(dict(json.loads(line)))
    return found
