"""What stands in for restic keeps the contract that ``dwcp-host backup`` leans on: the same body runs over it and over restic itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from golive import environment, ground
from golive.onhost import machine
from golive.onhost.failures import Refused
from golive.onhost.places import Places
from golive.onhost.restic import NotThere, Restic, write_settings
from golive.sim import hosts_of
from golive.sim.machine import SimMachine
from golive.sim.plays import _base
from golive.sim.restic import repository
from golive.sim.world import SimHost, World

TAGS = ("dwcp", "env=x", "run=r1")


@dataclass(frozen=True)
class Subject:
    places: Places
    url: str
    content: Path

    def settings(self, password: str = "correct") -> Restic:
        write_settings(self.places, {"repository": self.url, "password": password, "certificate": False})
        return Restic(self.places)


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOLIVE_STATE", str(tmp_path_factory.mktemp("state")))
        env = environment.load("lab", "sim:5")
        fleet = ground.provision(env).fleet
        for host in fleet.hosts:
            _base(hosts_of(env).world, host, {})
        yield hosts_of(env).world


@pytest.fixture(params=["restic", "simulated"])
def subject(request: pytest.FixtureRequest, tmp_path: Path, sim: World) -> Iterator[Subject]:
    content = tmp_path / "content"
    (content / "a").mkdir(parents=True)
    (content / "a/file").write_text("saved\n")
    if request.param == "restic":
        if shutil.which("restic") is None:
            pytest.skip("restic is not installed here")
        places = Places(tmp_path / "root")
        places.etc.mkdir(parents=True)
        (places.etc / "host.json").write_text(json.dumps({"name": "h1"}))
        yield Subject(places, str(tmp_path / "repositories"), content)
        return
    host = sim.host(sim.fleet.agents[0].name)
    machine.put(SimMachine(sim, host))
    try:
        yield Subject(host.places, f"rest:https://{sim.fleet.ops.name}:7460", content)
    finally:
        machine.put(None)
        shutil.rmtree(repository(sim, sim.fleet.ops.name, host.name), ignore_errors=True)


def test_a_snapshot_is_listed_by_its_tags_and_restores_what_was_saved(subject: Subject, tmp_path: Path) -> None:
    restic = subject.settings()
    with pytest.raises(NotThere):
        restic.snapshots("h1", TAGS, 30)
    restic.init(30)
    assert restic.snapshots("h1", TAGS, 30) == []
    told = restic.backup(subject.content, "h1", TAGS, 60)
    [found] = restic.snapshots("h1", TAGS, 30)
    assert found.id.startswith(str(told["snapshot_id"])) and set(TAGS) <= set(found.tags)
    assert restic.snapshots("h1", ("dwcp", "env=x", "run=r2"), 30) == []
    restic.unlock(30)
    (tmp_path / "back").mkdir()
    restic.restore(found.id, tmp_path / "back", 60)
    assert (tmp_path / "back/a/file").read_text() == "saved\n"


def test_another_password_and_a_snapshot_that_is_not_there_are_refused(subject: Subject, tmp_path: Path) -> None:
    restic = subject.settings()
    restic.init(30)
    with pytest.raises(Refused, match="failed"):
        restic.restore("0123456789abcdef", tmp_path / "back", 60)
    with pytest.raises(Refused, match="does not open"):
        subject.settings("wrong").snapshots("h1", TAGS, 30)


def test_storage_that_is_cut_off_or_full_refuses_and_one_that_was_changed_restores_something_else(sim: World, tmp_path: Path) -> None:
    host, ops = sim.host(sim.fleet.agents[1].name), sim.host(sim.fleet.ops.name)
    (tmp_path / "content").mkdir()
    (tmp_path / "content/file").write_text("saved\n")
    machine.put(SimMachine(sim, host))
    try:
        restic = Subject(host.places, f"rest:https://{ops.name}:7460", tmp_path / "content").settings()
        restic.init(30)
        _refuses(ops, "full", lambda: restic.backup(tmp_path / "content", "h", TAGS, 60), "storage is full")
        assert restic.snapshots("h", TAGS, 30) == []
        _refuses(ops, "cut", lambda: restic.snapshots("h", TAGS, 60), "does not answer")
        saved = str(restic.backup(tmp_path / "content", "h", TAGS, 60)["snapshot_id"])
        (repository(sim, ops.name, host.name) / saved / "files/file").write_text("other\n")
        restic.restore(saved, tmp_path / "back", 60)
        assert (tmp_path / "back/file").read_text() == "other\n"
    finally:
        machine.put(None)


def _refuses(ops: SimHost, what: str, call: Callable[[], object], match: str) -> None:
    before = ops.condition
    ops.put(replace(before, **{what: True}))
    try:
        with pytest.raises(Refused, match=match):
            call()
    finally:
        ops.put(before)
