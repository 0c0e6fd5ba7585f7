"""A worker: takes the waves of its site from the queue and plays them, one at a time. Nothing is decided here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from dbos import DBOS

from golive.environment import ROOT, Environment
from golive.errors import GoliveError, Occupied, Unreachable
from golive.fleet.ansible import play_environment
from golive.workers.board import APPLICATION, VERSION, Board, queue_of
from golive.workers.parcel import PRIVATE, STATE, VAULT

__all__ = ["WORKFLOW", "Worker"]

WORKFLOW = "golive.wave"
_BEAT_S = 1.0
_POLL_S = 0.2


class Worker:
    """One process near a site. ``name`` is its own for good: DBOS gives what a dead worker had begun back to the same name alone."""

    def __init__(self, env: Environment, url: str, site: str, name: str) -> None:
        self._env, self._url, self._site, self.name = env, url, site, name
        self._board = Board(url)
        self._lost_s = env.settings.workers_lost_s
        self._stopping = threading.Event()

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Works until SIGTERM or SIGINT. Raises Occupied when a worker of this name is up already, Unreachable without its database."""
        self._board.prepare()
        with _only_one(self._url, f"{self._env.name}/{self._site}/{self.name}"):
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self._stopping.set())
            self._launch()
            ready()
            while not self._stopping.wait(_BEAT_S):
                with contextlib.suppress(Unreachable):
                    self._board.seen(self._env.name, self._site, self.name)
            DBOS.destroy(workflow_completion_timeout_sec=10)

    def _launch(self) -> None:
        config: Any = {
            "name": APPLICATION,
            "system_database_url": self._url,
            "executor_id": f"{self._env.name}/{self._site}/{self.name}",
            "application_version": VERSION,
            "log_level": "ERROR",
        }
        DBOS(config=config)
        queues = [queue_of(self._env.name, self._site), queue_of(self._env.name, "")]

        @DBOS.workflow(name=WORKFLOW)
        def wave(text: str) -> str:
            return self._wave(text)

        DBOS.listen_queues(queues)
        DBOS.launch()
        for queue in queues:
            DBOS.register_queue(queue, worker_concurrency=1, polling_interval_sec=0.5)

    def _wave(self, text: str) -> str:
        """One job, from its beginning however often it was begun: what was done already the hosts say."""
        job = json.loads(text)
        result: str | None = None
        trouble: str | None = None
        try:
            result = self._played(job)
        except GoliveError as error:
            trouble = f"{self.name}: {error}"
        except Exception as error:
            trouble = f"{self.name}: {type(error).__name__}: {error}"
        self._insist(lambda: self._board.end(job["id"], result=result, trouble=trouble))
        return trouble or "played"

    def _played(self, job: dict[str, Any]) -> str:
        if job["env"] != self._env.name:
            raise Unreachable(f"the job is for {job['env']}, this worker is for {self._env.name}.")
        if not self._board.beat(job["id"], self.name):
            raise Unreachable("the controller had given the job up before it began.")
        home = self._env.state / "worker"
        directory = home / hashlib.sha256(job["id"].encode()).hexdigest()[:16]
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True, mode=0o700)
        try:
            (directory / "parcel").write_bytes(self._board.get(job["parcel"]))
            for name, sha256 in job["files"].items():
                self._file(directory / "private" / name, home / "content", sha256)
            self._play(job, directory)
            artifacts = (directory / "artifacts").read_bytes()
            return str(self._insist(lambda: self._board.put(artifacts)))
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _file(self, to: Path, cache: Path, sha256: str) -> None:
        """``to`` has the content; fetched once a worker, whatever number of waves asks for it."""
        kept = cache / sha256
        if not kept.is_file() or hashlib.sha256(kept.read_bytes()).hexdigest() != sha256:
            cache.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial = kept.with_name(f".{sha256}.{os.getpid()}")
            partial.write_bytes(self._board.get(sha256))
            partial.replace(kept)
        to.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.link(kept, to)

    def _play(self, job: dict[str, Any], directory: Path) -> None:
        """The parcel was played to its end. Raises Unreachable when it was ended before: given up, or too long out of touch."""
        argv = [sys.executable, "-m", "golive.workers.child", str(directory), str(os.getpid())]
        environment = self._environment(directory)
        with (directory / "log").open("wb") as log, subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=log, stderr=log) as child:
            try:
                heard = asked = time.monotonic()
                while child.poll() is None:
                    time.sleep(_POLL_S)
                    now = time.monotonic()
                    if now - asked >= _BEAT_S:
                        asked = now
                        with contextlib.suppress(Unreachable):
                            if not self._board.beat(job["id"], self.name):
                                raise _GivenUp
                            heard = time.monotonic()
                    if time.monotonic() - heard > self._lost_s:
                        raise Unreachable(f"out of touch with the database for {self._lost_s:.0f} s, so the play was ended.")
                    if self._stopping.is_set():
                        raise Unreachable("the worker was stopped, so the play was ended.")
            except _GivenUp:
                raise Unreachable("the controller gave the job up, so the play was ended.") from None
            finally:
                if child.poll() is None:
                    child.terminate()
                    child.wait()

    def _environment(self, directory: Path) -> dict[str, str]:
        state = self._env.state.resolve()
        own = {
            PRIVATE: str(directory / "private"),
            STATE: str(state),
            "ANSIBLE_CONFIG": str(directory / "private" / "project" / "ansible.cfg"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(directory.parent / "ssh"),
            "PYTHONPATH": str(ROOT),
        }
        if (state / VAULT).is_file():
            own["ANSIBLE_VAULT_PASSWORD_FILE"] = str(state / VAULT)
        return {**play_environment(os.environ, {}, forks=self._env.settings.hosts_at_once), **own}

    def _insist(self, call: Callable[[], Any]) -> Any:
        """``call``, again until the database answers or the worker is to stop."""
        while True:
            try:
                return call()
            except Unreachable:
                if self._stopping.wait(_BEAT_S):
                    raise


class _GivenUp(Exception):
    """The controller no longer wants the job."""


@contextlib.contextmanager
def _only_one(url: str, name: str) -> Any:
    """No other worker has this name: DBOS would hand each what the other is at work on."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    try:
        connection = psycopg.connect(url, connect_timeout=5, autocommit=True)
    except psycopg.Error as error:
        raise Unreachable(f"The workers' PostgreSQL does not answer: {str(error).strip().splitlines()[0]}.") from None
    try:
        row = connection.execute("select pg_try_advisory_lock(%s)", (number,)).fetchone()
        if row is None or not row[0]:
            raise Occupied(f"A worker called {name} is up already; give this one another --name.")
        yield
    finally:
        connection.close()
