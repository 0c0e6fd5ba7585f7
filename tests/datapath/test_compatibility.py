"""The frozen incumbent and the agent of this tree move content between each other, in both directions. Needs root."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.programs import built
from benchmarks.wan_hosts import Hosts, hosts
from golive.environment import ROOT
from golive.lab.wan import Wan
from golive.releases import catalogue
from golive.releases.source import export

OLD = "2.9.0"


@pytest.fixture(scope="module")
def old_agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The incumbent, built from the commit that it was frozen at."""
    place = tmp_path_factory.mktemp("old")
    entry = catalogue.read().releases[OLD]
    assert entry.source == "frozen"
    source = export(ROOT, entry, OLD, place / "source").path
    return built(place, source)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch, agent: Path) -> Iterator[Hosts]:
    with tempfile.TemporaryDirectory(prefix="dwcp-compat-", dir="/dev/shm") as directory:
        monkeypatch.setenv("GOLIVE_STATE", str(Path(directory) / "golive"))
        with hosts(Path(directory), agent) as made:
            made.link(Wan(rtt_ms=2), congestion="cubic")
            yield made


def sent(at: Hosts, content: bytes, library: Path | None) -> dict[str, Any]:
    path = at.place / "content"
    path.write_bytes(content)
    sender = at.on(at.near, at.sending(path, "content"), library=library, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = sender.communicate(timeout=60)
    assert sender.returncode == 0, err.decode()
    assert at.stored("content").read_bytes() == content
    return dict(json.loads(out))


def mixed() -> bytes:
    return b"text " * 400_000 + bytes(3 << 20) + os.urandom(5 << 20) + b"end"


def test_this_agent_sends_to_the_incumbent(at: Hosts, old_agent: Path) -> None:
    at.serve(library=old_agent)
    content = mixed()
    report = sent(at, content, None)
    assert (report["protocol"], report["sha256"]) == (1, hashlib.sha256(content).hexdigest())


def test_the_incumbent_sends_to_this_agent(at: Hosts, old_agent: Path) -> None:
    at.serve()
    content = mixed()
    report = sent(at, content, old_agent)
    assert "protocol" not in report and report["sha256"] == hashlib.sha256(content).hexdigest()


def test_what_the_incumbent_left_in_the_store_is_a_baseline_for_this_agent(at: Hosts, old_agent: Path) -> None:
    """Both share the host's store: after an upgrade the first transfer already sends only what changed."""
    at.serve(library=old_agent)
    content = mixed()
    sent(at, content, old_agent)
    at.stop_agent()
    at.serve()
    report = sent(at, content[:-3] + b"END", None)
    assert report["baseline"] == "receiver" and report["sent_bytes"] <= 65536
