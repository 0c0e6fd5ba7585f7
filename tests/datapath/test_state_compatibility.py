"""Both releases over one data directory: each reads what the other wrote, and a rollback keeps what both wrote meanwhile. Needs root.

The rule (docs/architecture.md, "Changes of state"): what 3.0.0 keeps beyond 2.9.0's store is beside it, under names that 2.9.0 does not
look at; nothing that both read changes its form.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.programs import built
from benchmarks.wan_hosts import FAR, Hosts, hosts
from golive.environment import ROOT
from golive.lab.wan import Wan
from golive.releases import catalogue
from golive.releases.source import export

OLD, NEW = "2.9.0", "3.0.0"
PORT = {"a": 7400, "b": 7410}


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory, agent: Path) -> dict[str, Path]:
    """Both releases, built: the incumbent from the commit that it was frozen at."""
    place = tmp_path_factory.mktemp("old")
    entry = catalogue.read().releases[OLD]
    assert entry.source == "frozen"
    return {OLD: built(place, export(ROOT, entry, OLD, place / "source").path), NEW: agent}


class Both:
    """One host's data directory and agents of either release over it, in slots as on a real host."""

    def __init__(self, at: Hosts, libraries: dict[str, Path]) -> None:
        self.at, self.libraries = at, libraries
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        self.store = at.place / "store"
        self.store.mkdir()
        tls = at._certificates()
        self.certificate = f"--cacert {tls}/ca.crt --cert {tls}/operator.crt --key {tls}/operator.key"
        self.identity = f"--ca {tls}/ca.crt --cert {tls}/operator.crt --key {tls}/operator.key"
        self.settings: dict[str, Any] = {
            **{"schema": 1, "host": "far", "site": "far", "listen": FAR, "streams": 2},
            "tls": {"ca": str(tls / "ca.crt"), "cert": str(tls / "far/agent.crt"), "key": str(tls / "far/agent.key")},
        }

    def start(self, release: str, slot: str) -> None:
        config, log = self.at.place / f"agent-{slot}.yaml", self.at.place / f"agent-{slot}.log"
        config.write_text(yaml.safe_dump({**self.settings, "store": str(self.store)}))
        command = f"DWCP_SLOT={slot} exec {sys.executable} -m dwcp_agent serve --config {config}"
        with log.open("wb") as out:
            self.agents[slot] = self.at.on(self.at.far, command, library=self.libraries[release], stdout=out, stderr=out)
        deadline = time.monotonic() + 60
        while b'"ready"' not in log.read_bytes():
            assert self.agents[slot].poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)

    def stop(self, slot: str, *, kill: bool = False) -> None:
        agent = self.agents.pop(slot)
        agent.kill() if kill else agent.terminate()
        agent.wait(timeout=60)

    def end(self) -> None:
        for slot in list(self.agents):
            self.stop(slot, kill=True)

    def run(self, command: str, release: str = NEW) -> bytes:
        done = self.at.on(self.at.near, command, library=self.libraries[release], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = done.communicate(timeout=120)
        assert done.returncode == 0, err.decode()
        return out

    def put(self, slot: str, name: str, content: bytes) -> None:
        """A small object."""
        path = self.at.place / "body"
        path.write_bytes(content)
        digest = f"-H 'X-DWCP-SHA256: {hashlib.sha256(content).hexdigest()}'"
        self.run(f"curl -sf {self.certificate} {digest} -T {path} https://{FAR}:{PORT[slot]}/v1/objects/{name}")

    def get(self, slot: str, name: str) -> bytes:
        return self.run(f"curl -sf {self.certificate} https://{FAR}:{PORT[slot]}/v1/objects/{name}")

    def send(self, slot: str, name: str, content: bytes, sender: str = NEW) -> dict[str, Any]:
        """A transfer over the data streams; its report."""
        path = self.at.place / "content"
        path.write_bytes(content)
        command = f"{sys.executable} -m dwcp_agent send {path} https://{FAR}:{PORT[slot]}/{name} {self.identity} --streams 2 --json"
        return dict(json.loads(self.run(command, sender)))

    def put_state(self, slot: str, values: dict[str, str]) -> None:
        path = self.at.place / "puts"
        path.write_text("".join(json.dumps({"key": key, "value": value}) + "\n" for key, value in values.items()))
        self.run(f"{sys.executable} -m dwcp_agent put https://{FAR}:{PORT[slot]} --from {path} {self.identity}")

    def state(self, slot: str, key: str) -> bytes:
        return self.run(f"curl -sf {self.certificate} https://{FAR}:{PORT[slot]}/v1/state/{key}")

    def own(self) -> dict[str, bytes]:
        """What 3.0.0 keeps that 2.9.0 does not know: manifests and dictionaries by file; what databases hold is asked for."""
        kept = [path for top in (".manifests", ".state/dictionaries") for path in (self.store / top).rglob("*") if path.is_file()]
        return {str(path.relative_to(self.store)): path.read_bytes() for path in kept}


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch, agent: Path, libraries: dict[str, Path]) -> Iterator[Both]:
    with tempfile.TemporaryDirectory(prefix="dwcp-state-", dir="/dev/shm") as directory:
        monkeypatch.setenv("GOLIVE_STATE", str(Path(directory) / "golive"))
        with hosts(Path(directory), agent) as made:
            made.link(Wan(rtt_ms=1), congestion="cubic")
            found = Both(made, libraries)
            try:
                yield found
            finally:
                found.end()


def large(seed: bytes = b"") -> bytes:
    return seed + b"text " * 100_000 + bytes(1 << 20) + os.urandom(2 << 20) + b"end"


def test_while_both_run_each_reads_what_the_other_writes(both: Both) -> None:
    both.start(OLD, "a")
    both.start(NEW, "b")
    written: dict[str, bytes] = {}
    for release, slot, other in ((OLD, "a", "b"), (NEW, "b", "a")):
        name = release.replace(".", "-")
        written[f"{name}/object"] = f"by {release}".encode() * 100
        both.put(slot, f"{name}/object", written[f"{name}/object"])
        written[f"{name}/content"] = large(release.encode())[: 1 << 20]
        both.send(slot, f"{name}/content", written[f"{name}/content"], sender=release)
        # And in place of what the other wrote.
        both.put(other, "shared", b"first")
        both.put(slot, "shared", f"last by {release}".encode())
        written["shared"] = f"last by {release}".encode()
        assert both.get(other, "shared") == written["shared"]
    for name, content in written.items():
        assert both.get("a", name) == content and both.get("b", name) == content, name


def test_a_rollback_keeps_what_both_wrote_during_the_go_live_and_destroys_nothing_that_only_the_candidate_reads(both: Both) -> None:
    before, meanwhile = large(b"before"), large(b"meanwhile")
    both.start(OLD, "a")
    both.put("a", "before/object", b"before the go-live")
    both.send("a", "before/content", before, sender=OLD)
    both.start(NEW, "b")
    both.put("a", "during/old", b"by the incumbent")
    both.put("b", "during/new", b"by the candidate")
    both.send("b", "during/content", meanwhile)
    both.put_state("b", {f"key-{number}": f"value-{number}" for number in range(50)})
    kept = both.own()
    assert kept, "the candidate keeps manifests"
    both.stop("b")  # the way back: the candidate goes, the incumbent never stopped
    written = {"before/object": b"before the go-live", "during/old": b"by the incumbent", "during/new": b"by the candidate"}
    for name, content in written.items():
        assert both.get("a", name) == content
    assert (both.store / "operator.operator/during/content").read_bytes() == meanwhile
    both.stop("a", kill=True)
    both.start(OLD, "a")  # and one that crashed and came back, and the slot of the candidate taken by the old release
    both.start(OLD, "b")
    for name, content in written.items():
        assert both.get("a", name) == content and both.get("b", name) == content
    both.put("a", "after/rollback", b"goes on")
    assert {name: data for name, data in both.own().items() if name in kept} == kept
    both.stop("b")
    both.start(NEW, "b")  # the next go-live
    assert b"value-49" in both.state("b", "key-49")
    both.put_state("b", {"key-49": "newer"})
    assert b"newer" in both.state("b", "key-49") and b"value-0" in both.state("b", "key-0")
    report = both.send("b", "during/content", meanwhile[:-3] + b"END")
    assert report["baseline"] == "receiver" and report["sent_bytes"] <= 65536, "its manifest still speaks for the content"
    assert both.get("b", "after/rollback") == b"goes on"


@pytest.mark.parametrize(("writer", "reader"), [(OLD, NEW), (NEW, OLD)])
def test_a_copy_of_the_data_directory_of_one_is_read_by_the_other_and_left_whole(both: Both, writer: str, reader: str) -> None:
    content = large(writer.encode())
    both.start(writer, "a")
    both.put("a", "object", b"an object")
    both.send("a", "content", content, sender=writer)
    if writer == NEW:
        both.put_state("a", {"key": "value"})
    both.stop("a", kill=True)
    original, both.store = both.store, both.at.place / "copy"
    shutil.copytree(original, both.store)
    files = {
        path.relative_to(original): path.read_bytes() for path in original.rglob("*") if path.is_file() and ".partial" not in str(path)
    }
    both.start(reader, "a")
    assert both.get("a", "object") == b"an object"
    assert (both.store / "operator.operator/content").read_bytes() == content
    both.send("a", "content", content[:-3] + b"END", sender=reader)
    assert (both.store / "operator.operator/content").read_bytes() == content[:-3] + b"END"
    both.put("a", "object", b"written over")
    assert both.get("a", "object") == b"written over"
    both.stop("a")
    changed = {Path("operator.operator/content"), Path("operator.operator/object")}
    for path, data in files.items():
        assert path in changed or ".manifests" in str(path) or path.name.startswith("state.db") or (both.store / path).read_bytes() == data
    both.start(writer, "a")  # and back again
    assert both.get("a", "object") == b"written over"
    if writer == NEW:
        assert b"value" in both.state("a", "key")


def test_what_the_incumbent_writes_over_the_candidates_content_is_never_taken_for_it(both: Both) -> None:
    """The candidate's manifest is of what was there: it has to see that it no longer is."""
    first, second = large(b"first"), large(b"second")
    both.start(OLD, "a")
    both.start(NEW, "b")
    both.send("b", "content", first)
    both.send("a", "content", second, sender=OLD)
    both.send("b", "content", second[:-3] + b"END")
    assert (both.store / "operator.operator/content").read_bytes() == second[:-3] + b"END"
