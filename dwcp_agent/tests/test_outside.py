"""What others see while content goes: where the agent's threads run, as the kernel says, and how far it is, as a terminal shows."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures import Process, Program
from pki import Files


def test_cores_that_the_agent_may_not_use_stay_free_of_its_threads(
    local: Callable[..., tuple[Path, int]], tmp_path: Path, people: dict[str, Files], processes: list[Process]
) -> None:
    """The unit's mask, that is; what the configuration asks for beyond it is not taken, also not while content comes in."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.fail("With one CPU there is none to reserve.")
    program, port = local(cpus=dict.fromkeys(("net", "codec", "control"), f"{allowed[0]}-{allowed[-1]}"))
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {allowed[0]})
    try:
        processes.append(Program(program, tmp_path / "log"))  # inherits the mask, as from systemd
    finally:
        os.sched_setaffinity(0, before)
    processes[-1].wait_for_event("ready")
    (tmp_path / "image").write_bytes(os.urandom(32 << 20))
    command = ["send", str(tmp_path / "image"), f"https://127.0.0.1:{port}/vm", *people["operator"].as_arguments(), "--limit", "100mbit"]
    sender = Process(command, tmp_path / "sender")
    processes.append(sender)
    seen: set[str] = set()
    ran: set[int] = set()
    most = 0
    while sender.popen.poll() is None:
        tasks = list(Path(f"/proc/{processes[0].popen.pid}/task").iterdir())
        most = max(most, len(tasks))
        for task in tasks:
            with contextlib.suppress(OSError):
                status = (task / "status").read_text()
                seen |= {line.split()[1] for line in status.splitlines() if line.startswith("Cpus_allowed_list:")}
                ran.add(int((task / "stat").read_text().rpartition(")")[2].split()[36]))
        time.sleep(0.02)
    assert sender.popen.returncode == 0, sender.lines()
    assert most > 6 and seen == {str(allowed[0])} and ran == {allowed[0]}


def test_a_terminal_is_shown_how_far_it_is_until_the_end(
    local: Callable[..., tuple[Path, int]], tmp_path: Path, people: dict[str, Files], processes: list[Process]
) -> None:
    program, port = local()
    processes.append(Program(program, tmp_path / "log"))
    processes[-1].wait_for_event("ready")
    (tmp_path / "image").write_bytes(os.urandom(96 << 20))
    command = ["send", str(tmp_path / "image"), f"https://127.0.0.1:{port}/vm", *people["operator"].as_arguments()]
    command += ["--limit", "400mbit", "--streams", "1"]
    master, terminal = os.openpty()
    sender = subprocess.Popen([sys.executable, "-m", "dwcp_agent", *command], stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # the terminal is gone with its last process
        while part := os.read(master, 4096):
            shown += part
    os.close(master)
    assert sender.wait(10) == 0
    shares = [float(found) for found in re.findall(rb"([0-9.]+) %  [0-9.]+ MB/s", shown)]
    assert len(shares) >= 4 and shares == sorted(shares)
    # What the receiver has acknowledged, which is after every eighth frame.
    assert shares[0] < 30 and len({share for share in shares if 5 < share < 95}) >= 5 and shares[-1] == 100
    assert re.search(rb"ratio 1\.0, [0-9]+ s left", shown) and shown.endswith(b"\r\x1b[K")
