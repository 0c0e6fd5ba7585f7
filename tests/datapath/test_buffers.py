"""Buffers of a transfer's sockets grow as far as a long path asks for, with the settings that hosts get. Needs root."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from benchmarks.wan_hosts import Hosts, hosts
from golive.environment import ROOT
from golive.lab.wan import Wan

MIB = 1 << 20
LEAST = 4 * MIB
TUNED = yaml.safe_load((ROOT / "roles/dwcp_tuning/defaults/main.yml").read_text(encoding="utf-8"))["dwcp_tuning_sysctl"]


def buffers(at: Hosts, namespace: str, which: str) -> int:
    """The largest buffer that a connection to or from the data port has there now: ``rb`` to receive, ``tb`` to send."""
    asked = at.on(namespace, "ss -tmnH 'sport = :7401 or dport = :7401'", stdout=subprocess.PIPE)
    return max([0, *(int(size) for size in re.findall(rf"\b{which}(\d+)", asked.communicate()[0].decode()))])


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch, agent: Path) -> Iterator[Hosts]:
    with tempfile.TemporaryDirectory(prefix="dwcp-buffers-", dir="/dev/shm") as directory:
        monkeypatch.setenv("GOLIVE_STATE", str(Path(directory) / "golive"))
        with hosts(Path(directory), agent) as made:
            made.link(Wan(rtt_ms=150, rate_mbit=800), congestion="bbr")
            yield made


def test_buffers_grow_beyond_four_megabytes_where_the_path_holds_more(at: Hosts) -> None:
    at.tune("bbr", {key.removeprefix("net.").replace(".", "/"): str(TUNED[key]) for key in ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem")})
    at.serve()
    path = at.place / "content"
    path.write_bytes(os.urandom(120 * MIB))
    sender = at.on(at.near, f"exec {at.sending(path, 'content', streams=1)}", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    sends = receives = 0
    while sender.poll() is None:
        sends, receives = max(sends, buffers(at, at.near, "tb")), max(receives, buffers(at, at.far, "rb"))
        time.sleep(0.05)
    assert sender.returncode == 0, sender.communicate()[1].decode()
    assert sends > LEAST and receives > LEAST, (sends, receives)
