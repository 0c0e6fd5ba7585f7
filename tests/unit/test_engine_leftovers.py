"""What a dead controller left running is ended, wherever it hid; nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from golive.actions.port import MARK
from golive.engine.leftovers import LocalLeftovers
from golive.engine.process import Process


@pytest.fixture
def start():
    started: list[subprocess.Popen[bytes]] = []

    def one(mark: str, code: str = "import time; print(flush=True); time.sleep(60)") -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", code], env={**os.environ, MARK: mark}, stdout=subprocess.PIPE, start_new_session=True
        )
        assert process.stdout is not None and process.stdout.readline()
        started.append(process)
        return process

    yield one
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def _gone(pid: int) -> bool:
    return Process.of(pid) is None


def test_only_processes_of_this_run_and_of_older_tokens_are_ended(start):
    ours, newer = start("sim/run-1/3"), start("sim/run-1/4")
    other_run, other_env, none = start("sim/run-2/3"), start("prod/run-1/3"), start("")
    said = LocalLeftovers().end("sim", "run-1", 4, [])
    assert len(said) == 1 and str(ours.pid) in said[0]
    assert _gone(ours.pid)
    assert not any(_gone(process.pid) for process in (newer, other_run, other_env, none))
    assert LocalLeftovers().end("sim", "run-1", 4, []) == []


def test_a_grandchild_with_a_session_of_its_own_whose_parent_died_is_ended(start):
    code = (
        "import os,subprocess,sys\n"
        "away = {'start_new_session': True, 'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], **away)\n"
        "print(child.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    env = {**os.environ, MARK: "sim/run-1/1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    grandchild = int(done.stdout)
    assert not _gone(grandchild)
    LocalLeftovers().end("sim", "run-1", 2, [])
    assert _gone(grandchild)


def test_one_that_ignores_sigterm_is_killed(start):
    code = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    stubborn = start("sim/run-1/1", code)
    LocalLeftovers(term_s=0.1).end("sim", "run-1", 2, [])
    assert stubborn.wait() == -signal.SIGKILL


def test_one_that_starts_another_while_it_is_ended_leaves_none(start):
    code = (
        "import signal,subprocess,sys,time\n"
        "def again(*_):\n"
        "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], stdout=subprocess.DEVNULL)\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, again)\n"
        "print(flush=True)\n"
        "time.sleep(60)\n"
    )
    start("sim/run-1/1", code)
    said = LocalLeftovers().end("sim", "run-1", 2, [])
    assert len(said) == 2
    assert LocalLeftovers().end("sim", "run-1", 2, []) == []


def test_a_recorded_process_is_ended_but_not_another_that_has_its_pid_now(start):
    unmarked, innocent = start(""), start("")
    recorded = Process.of(unmarked.pid, "ansible-playbook")
    reused = replace(Process.of(innocent.pid), start=1)
    elsewhere = replace(Process.of(innocent.pid), host="elsewhere", machine="other")
    assert recorded is not None
    said = LocalLeftovers().end("sim", "run-1", 2, [recorded, reused, elsewhere])
    assert len(said) == 1 and "ansible-playbook" in said[0]
    assert _gone(unmarked.pid) and not _gone(innocent.pid)


def test_ending_what_listens_to_sigterm_takes_no_longer_than_it_needs(start):
    start("sim/run-1/1")
    begun = time.monotonic()
    LocalLeftovers().end("sim", "run-1", 2, [])
    assert time.monotonic() - begun < 1.5
