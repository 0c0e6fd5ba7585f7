"""Simulated hosts keep the contract of hosts; tests/system runs the same body over a machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from golive import environment, ground
from golive.fleet.model import Host
from golive.sim import hosts_of
from golive.sim.plays import _base
from tests.support.host_contract import HostContract, Subject


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOLIVE_STATE", str(tmp_path_factory.mktemp("state")))
        env = environment.load("lab", "sim:6")
        fleet = ground.provision(env).fleet
        hosts = hosts_of(env)
        for host in fleet.hosts:
            _base(hosts.world, host, {})
        there = hosts.world.host(fleet.gateways[0].name)

        def wrong(**what: bool) -> Callable[[], AbstractContextManager[Host]]:
            @contextmanager
            def so() -> Iterator[Host]:
                before = there.condition
                there.put(replace(before, **what))
                try:
                    yield fleet.gateways[0]
                finally:
                    there.put(before)

            return so

        def reboot() -> None:
            there.ledger.write(hosts.world.clock.world(), "boot")

        yield Subject(hosts.shell(fleet), fleet.gateways[0], wrong(cut=True), wrong(hangs=True), reboot)


class TestSimulatedHost(HostContract):
    """The contract, over a directory and the fakes beside it."""


def test_what_a_full_disk_refuses_is_an_error_of_the_host_and_leaves_the_record(subject: Subject, tmp_path: Path) -> None:
    env = environment.load("sim-6")
    there = hosts_of(env).world.host(subject.host.name)
    before = there.condition
    there.put(replace(before, full=True))
    try:
        done = subject.dwcp("fence", "--token", "2000", "--run", "r3")
        assert done.rc == 4 and b"No space left" in done.stderr
    finally:
        there.put(before)
    assert subject.told("status")["fence"]["token"] == subject.first_token


def test_another_machine_of_the_same_name_has_another_key_and_nothing_on_it(subject: Subject) -> None:
    import shutil

    env = environment.load("sim-6")
    world = hosts_of(env).world
    other = world.fleet.agents[-1]
    there = world.host(other.name)
    key = there.key
    there.ledger.write(world.clock.world(), "replaced")
    shutil.rmtree(there.root)
    assert there.key != key
    answer = subject.shell.each([other], ["dwcp-host", "status"], timeout_s=5)[other.name]
    assert "another host key" in str(answer)
    pinned = other.model_copy(update={"host_key": there.key})
    assert subject.shell.run(pinned, ["dwcp-host", "status"]).rc == 127
