"""Waves as jobs, with a real PostgreSQL, real worker processes and real Ansible, on hosts that are directories of this machine."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from golive.actions._waves import played
from golive.actions.port import StepContext
from golive.environment import ROOT, Environment
from golive.fleet.ansible import PlayResult
from golive.fleet.waves import Wave
from golive.onhost.build import build
from golive.workers import parcel, play_on_worker
from golive.workers.board import Board
from tests.support import action_step
from tests.support.postgres import Postgres

HOSTS = ("ams-1", "ams-2")
WAVE = Wave(1, 1, "ams", False, HOSTS)
LOST_S = 8.0
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.shell: echo "$PPID {{ dwcp_token }}" >> {{ root }}/began
      changed_when: true
    - ansible.builtin.wait_for: {path: "{{ root }}/go", timeout: 100, sleep: 1}
    - ansible.builtin.shell: "echo effect >> {{ root }}/effects"
      args: {creates: "{{ root }}/effects"}
    - ansible.builtin.copy:
        content: "{{ lookup('ansible.builtin.file', pki_dir ~ '/agent.key') }}"
        dest: "{{ root }}/agent.key"
        mode: "0600"
"""


pytestmark = pytest.mark.timeout(300)
"""Ansible and seven processes on a machine that has others to serve."""


def until(condition: Callable[[], Any], what: str, deadline_s: float = 120.0) -> Any:
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(0.05)
    return value


@dataclass
class Site:
    """A controller's state, two hosts, and the workers beside them."""

    directory: Path
    database: Postgres
    env: Environment
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def root(self, host: str) -> Path:
        return self.directory / "hosts" / host

    def lines(self, host: str, file: str) -> list[str]:
        path = self.root(host) / file
        return path.read_text().splitlines() if path.exists() else []

    def go(self) -> None:
        for host in HOSTS:
            (self.root(host) / "go").touch()

    def host(self, host: str, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, str(build()), "--root", str(self.root(host)), *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    def start(self, name: str) -> None:
        state = self.directory / f"worker-{name}"
        (state / "unit" / "keys").mkdir(parents=True, exist_ok=True)
        (state / "unit" / "keys" / "worker_vault").write_text("the same on both sides\n")
        ready = state / "ready"
        ready.unlink(missing_ok=True)
        told = {"settings": self.env.settings.model_dump(), "url": self.database.url, "site": "ams", "name": name, "ready": str(ready)}
        environment = {**os.environ, "GOLIVE_STATE": str(state), "PYTHONPATH": str(ROOT)}
        with (self.directory / f"{name}.log").open("ab") as log:
            argv = [sys.executable, "-m", "tests.support.worker_main", json.dumps(told)]
            self.workers[name] = subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=log, stderr=log)
            self.started.append(self.workers[name])
        until(lambda: ready.exists() or self.workers[name].poll() is not None, f"worker {name} is up")
        assert self.workers[name].poll() is None, (self.directory / f"{name}.log").read_text()

    def at_work(self) -> str:
        """The worker that has begun the newest job."""
        (worker,), *_ = self.database.psql("select worker from golive.job where worker is not null order by id desc limit 1")
        return str(worker)

    def ctx(self, **change: Any) -> tuple[StepContext, list[tuple[str, dict[str, Any]]]]:
        made = action_step.Step(self.env, action_step.Hosts(), {}, self.env.state / "runs" / "run-1" / "step-1")
        return made.ctx(**change), made.facts

    def played(self, *, digest: str = "d1", **change: Any) -> tuple[PlayResult, list[tuple[str, dict[str, Any]]]]:
        ctx, facts = self.ctx(**change)
        return play_on_worker(ctx, WAVE, "slow.yml", hosts=HOSTS, extravars={"unused": 1}, digest=digest), facts


class Controller(threading.Thread):
    """One wave, waited for in a thread of this process."""

    def __init__(self, site: Site, **change: Any) -> None:
        super().__init__(daemon=True)
        self._site, self._change = site, change
        self.result: PlayResult | None = None
        self.facts: list[tuple[str, dict[str, Any]]] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result, self.facts = self._site.played(**self._change)
        except BaseException as error:
            self.error = error

    def began(self, times: int = 1) -> None:
        """The play has begun on both hosts for that time."""
        site = self._site
        until(lambda: self.error or self.result or all(len(site.lines(host, "began")) == times for host in HOSTS), "the play began")
        assert self.error is None and self.result is None, self.error or self.result

    def ended(self, deadline_s: float = 120.0) -> PlayResult:
        self.join(deadline_s)
        assert self.error is None, self.error
        assert self.result is not None, "the wave did not end"
        return self.result


@pytest.fixture
def database() -> Iterator[Postgres]:
    made = Postgres()
    yield made
    made.close()


@pytest.fixture
def site(tmp_path: Path, database: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "controller"))
    project = tmp_path / "project"
    for name in ("playbooks", "roles", "library"):
        (project / name).mkdir(parents=True)
    (project / "ansible.cfg").write_text((ROOT / "ansible.cfg").read_text())
    for name in ("wave.yml", "host_verb.yml"):
        (project / "playbooks" / name).write_text((ROOT / "playbooks" / name).read_text())
    (project / "playbooks" / "slow.yml").write_text(PLAY)
    monkeypatch.setattr(parcel, "ROOT", project)
    env = action_step.environment(workers=database.url, workers_lost_s=LOST_S)
    made = Site(tmp_path, database, env)
    zipapp = str(build())
    (env.state / "keys").mkdir()
    (env.state / "keys" / "worker_vault").write_text("the same on both sides\n")
    hosts = {}
    for host in HOSTS:
        made.root(host).mkdir(parents=True)
        (env.state / "pki" / host).mkdir(parents=True)
        (env.state / "pki" / host / "agent.key").write_text(f"PRIVATE KEY of {host}\n")
        command = [sys.executable, zipapp, "--root", str(made.root(host))]
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "dwcp_host_command": command}
        hosts[host] = {**local, "root": str(made.root(host)), "pki_dir": str(env.state.resolve() / "pki" / host)}
    (env.state / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    yield made
    for worker in made.started:
        worker.kill()
        worker.wait()


def _below(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout.split()
    parents = dict(zip(map(int, found[::2]), map(int, found[1::2]), strict=True))
    below = [pid]
    for each in below:
        below += [child for child, parent in parents.items() if parent == each]
    return below[1:]


def _alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists() and b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()]


def test_a_killed_workers_wave_goes_to_another_and_nothing_happens_twice(site: Site) -> None:
    site.start("one")
    site.start("two")
    controller = Controller(site)
    controller.start()
    controller.began()
    first = site.at_work()
    below = _below(site.workers[first].pid)
    assert below
    site.workers[first].kill()
    site.workers[first].wait()
    until(lambda: not _alive(below), "what the dead worker had started is gone")
    site.go()
    result = controller.ended()
    assert result.ok and set(result.changed) == set(HOSTS) and site.at_work() == {"one": "two", "two": "one"}[first]
    assert all(site.lines(host, "effects") == ["effect"] and len(site.lines(host, "began")) == 2 for host in HOSTS)
    kinds = [kind for kind, _ in controller.facts]
    assert kinds == ["job.enqueued", "job.lost", "job.enqueued", "job.done"] and "silent" in controller.facts[1][1]["why"]
    # The same wave once more, as a resumed or doubled job would play it: it finds its own traces and plays nothing.
    again, _ = site.played(attempt=2)
    assert again.ok and all(len(site.lines(host, "began")) == 2 for host in HOSTS)
    # One that comes late, when another controller has taken over, is refused by the hosts.
    for host in HOSTS:
        assert site.host(host, "fence", "--token", "9", "--run", "run-9").returncode == 0
    late, _ = site.played(attempt=3, digest="d2")
    assert set(played(late).failed) == set(HOSTS) and "stale" in late.trouble()
    assert all(len(site.lines(host, "began")) == 2 for host in HOSTS)
    # A key reached the host, and the database never saw it in clear.
    assert all((site.root(host) / "agent.key").read_text().strip() == f"PRIVATE KEY of {host}" for host in HOSTS)
    assert "PRIVATE KEY" not in _readable(site)


def test_a_killed_postgresql_costs_the_wave_nothing(site: Site) -> None:
    # Longer than it takes here until the play has come to its end and the database is back, whatever else this machine does.
    site.env = site.env.model_copy(update={"settings": site.env.settings.model_copy(update={"workers_lost_s": 120.0})})
    site.start("one")
    controller = Controller(site)
    controller.start()
    controller.began()
    site.database.kill()
    site.go()  # the play comes to its end while nobody can be told
    until(lambda: all(site.lines(host, "effects") for host in HOSTS), "the play came to its end")
    site.database.start()
    assert controller.ended().ok
    assert all(len(site.lines(host, "began")) == 1 and site.lines(host, "effects") == ["effect"] for host in HOSTS)
    assert [kind for kind, _ in controller.facts] == ["job.enqueued", "job.done"]
    # A verb of dwcp-host goes the same way.
    ctx, _ = site.ctx(attempt=2)
    told = play_on_worker(ctx, WAVE, "host_verb.yml", hosts=HOSTS, extravars={"dwcp_verb": ["fence"]})
    assert told.ok and all('"token": 7' in (site.root(host) / "var/lib/dwcp/host/fence.json").read_text() for host in HOSTS)


def test_a_killed_controllers_job_is_ended_before_the_next_controller_plays(site: Site) -> None:
    site.start("one")
    first = multiprocessing.get_context("fork").Process(target=lambda: site.played())
    first.start()
    until(lambda: all(site.lines(host, "began") for host in HOSTS), "the play began on both hosts")
    below = _below(site.workers["one"].pid)
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    for host in HOSTS:
        assert site.host(host, "fence", "--token", "8", "--run", "run-1").returncode == 0
    controller = Controller(site, token=8, attempt=2)
    controller.start()
    until(lambda: not _alive(below), "the old job was ended")
    controller.began(2)
    site.go()
    assert controller.ended().ok
    assert all(site.lines(host, "effects") == ["effect"] for host in HOSTS)
    assert all([line.split()[1] for line in site.lines(host, "began")] == ["7", "8"] for host in HOSTS)


def test_a_name_is_only_once_and_a_worker_that_comes_back_takes_waves_again(site: Site) -> None:
    site.start("one")
    first = site.workers["one"]
    with pytest.raises(AssertionError, match="is up already"):
        site.start("one")
    site.workers["one"].wait()
    first.terminate()
    assert first.wait(60) == 0
    site.start("one")
    site.go()
    result, _ = site.played()
    assert result.ok and all(len(site.lines(host, "began")) == 1 for host in HOSTS)


def _readable(site: Site) -> str:
    """Everything that the database was given, unpacked."""
    board, found = Board(site.database.url), ""
    with psycopg.connect(site.database.url) as connection:
        digests = [row[0] for row in connection.execute("select sha256 from golive.content").fetchall()]
    for digest in digests:
        data = board.get(digest)
        for line in data.splitlines():
            found += line.decode(errors="replace")
        begin = data.find(b"PK\x03\x04")
        if begin >= 0:
            with zipfile.ZipFile(io.BytesIO(data[begin:])) as archive:
                found += "".join(archive.read(name).decode(errors="replace") for name in archive.namelist())
    return found
