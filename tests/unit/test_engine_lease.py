"""One process holds an environment; the dead are replaced at once, the living never, and no token is used twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from engine_world import KILLED, begun, forked
from golive.engine.lease import Lease, LeaseLost, holder
from golive.engine.process import Process, me
from golive.engine.store import Store
from golive.errors import Occupied
from golive.runbook import FakeClock


@pytest.fixture
def store(tmp_path: Path):
    store = Store(tmp_path / "journal.db")
    yield store
    store.close()


def _set(store: Store, **values: object) -> None:
    connection = sqlite3.connect(store.path)
    for name, value in values.items():
        connection.execute(f"UPDATE leases SET {name} = ?", (value,))
    connection.commit()
    connection.close()


def test_a_second_holder_is_refused_and_told_who_where_and_since_when(store):
    lease = Lease.take(store, "sim")
    with pytest.raises(Occupied) as caught:
        Lease.take(store, "sim")
    said = str(caught.value)
    assert f"pid {os.getpid()}" in said and "since 20" in said and "@" in said
    assert caught.value.exit_code == 5
    lease.release()


def test_tokens_only_grow_through_release_takeover_and_advance(store):
    tokens = []
    for _ in range(3):
        lease = Lease.take(store, "sim")
        tokens += [lease.token, lease.advance()]
        lease.release()
    assert tokens == sorted(set(tokens))
    assert lease.took_over is None


def test_a_holder_that_was_killed_is_replaced_at_once(store):
    def body() -> None:
        Lease.take(Store(store.path), "sim")
        os._exit(KILLED)

    assert forked(body) == KILLED
    begun = time.monotonic()
    lease = Lease.take(store, "sim")
    assert time.monotonic() - begun < 2
    assert lease.took_over is not None and lease.took_over.process.pid != os.getpid()
    assert lease.token == lease.took_over.token + 1
    lease.release()


def test_a_pid_that_was_reused_does_not_keep_the_dead_alive(store):
    lease = Lease.take(store, "sim")
    lease.abandon()
    _set(store, pid_start=1)
    assert Lease.take(store, "sim").token == 2


def test_a_machine_that_booted_anew_holds_nothing(store):
    Lease.take(store, "sim").abandon()
    _set(store, boot="another-boot", ttl_s=0.5)
    Lease.take(store, "sim").release()


def test_a_zombie_holds_nothing(store):
    pid = begun(lambda: Lease.take(Store(store.path), "sim"))
    end = time.monotonic() + 10
    while Process.of(pid) is not None:
        assert time.monotonic() < end
        time.sleep(0.01)
    Lease.take(store, "sim").release()
    os.waitpid(pid, 0)


def test_a_stopped_process_of_this_machine_is_alive_however_old_its_beat(store):
    pid = begun(lambda: (Lease.take(Store(store.path), "sim"), signal.pause()))
    try:
        end = time.monotonic() + 10
        while holder(store, "sim") is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        os.kill(pid, signal.SIGSTOP)
        _set(store, beat_at=0.0)
        with pytest.raises(Occupied, match=f"pid {pid}"):
            Lease.take(store, "sim", beat_s=0.02)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    Lease.take(store, "sim").release()


def _elsewhere(store: Store, clock: FakeClock) -> None:
    Lease.take(store, "sim", clock=clock, ttl_s=30).abandon()
    _set(store, host="elsewhere", machine="other")


def test_another_host_is_replaced_only_by_hand_and_after_it_was_silent_for_its_whole_ttl(store):
    clock = FakeClock()
    _elsewhere(store, clock)
    clock.advance(86400)
    with pytest.raises(Occupied, match=r"elsewhere.*not on this machine.*--take-over.*30 s"):
        Lease.take(store, "sim", clock=clock)
    before = clock.monotonic()
    lease = Lease.take(store, "sim", clock=clock, take_over=True)
    assert clock.monotonic() - before >= 30
    assert lease.took_over.process.host == "elsewhere"
    [said] = lease.taken_over
    assert (said["from"]["host"], said["who"]["pid"], said["who"]["token"]) == ("elsewhere", os.getpid(), 2)
    assert said["why"] == "silent for 30 s, and taken over by hand"
    lease.release()


def test_a_takeover_is_said_until_it_was_journaled_however_many_processes_die_before(store):
    clock = FakeClock()
    _elsewhere(store, clock)
    assert forked(lambda: (Lease.take(store, "sim", clock=clock, take_over=True), os._exit(KILLED))) == KILLED
    lease = Lease.take(store, "sim")
    assert [said["from"]["host"] for said in lease.taken_over] == ["elsewhere", lease.taken_over[0]["who"]["host"]]
    assert lease.taken_over[1]["why"] == "dead on this machine"
    lease.journaled()
    lease.release()
    assert Lease.take(store, "sim").taken_over == []


@pytest.mark.parametrize("theirs", [0, 3600, -3600])
@pytest.mark.parametrize("ours", [0, 3600, -3600])
def test_a_jump_of_either_clock_does_not_make_a_beating_holder_dead_nor_a_silent_one_immortal(store, ours, theirs):
    clock = FakeClock()
    _elsewhere(store, clock)
    _set(store, beat_at=clock.now().timestamp() + theirs)
    clock.jump(ours)

    class Beating(FakeClock):
        slept = 0.0

        def sleep(self, seconds: float, should_stop=lambda: False) -> bool:
            self.slept += seconds
            if self.slept > 25:  # it may well have been stopped for a while
                connection = sqlite3.connect(store.path)
                connection.execute("UPDATE leases SET beats = beats + 1")
                connection.commit()
                connection.close()
            return super().sleep(seconds, should_stop)

    with pytest.raises(Occupied, match=r"elsewhere.*it beat while it was looked at"):
        Lease.take(store, "sim", clock=Beating(clock.now()), take_over=True)

    class Jumping(FakeClock):
        def sleep(self, seconds: float, should_stop=lambda: False) -> bool:
            self.jump(ours or 3600)
            return super().sleep(seconds, should_stop)

    Lease.take(store, "sim", clock=Jumping(clock.now()), take_over=True).release()


def test_a_clone_of_this_machine_that_beats_is_not_taken_for_this_machine_before_its_boot(store):
    clock = FakeClock()
    Lease.take(store, "sim", clock=clock, ttl_s=30).abandon()
    _set(store, boot="another-boot")

    class Beating(FakeClock):
        def sleep(self, seconds: float, should_stop=lambda: False) -> bool:
            connection = sqlite3.connect(store.path)
            connection.execute("UPDATE leases SET beats = beats + 1")
            connection.commit()
            connection.close()
            return super().sleep(seconds, should_stop)

    with pytest.raises(Occupied, match="beat while"):
        Lease.take(store, "sim", clock=Beating())
    Lease.take(store, "sim", clock=FakeClock()).release()


def test_another_pid_namespace_on_this_machine_is_not_ours_to_judge(store):
    clock = FakeClock()
    Lease.take(store, "sim", clock=clock, ttl_s=30).abandon()
    _set(store, namespace="pid:[1]", pid_start=1)
    with pytest.raises(Occupied):
        Lease.take(store, "sim", clock=clock)


def test_a_holder_that_could_not_beat_for_its_ttl_and_was_not_replaced_holds_on(store):
    """What a process finds after it was stopped for a minute."""
    lease = Lease.take(store, "sim", ttl_s=0.2, beat_s=60)
    end = time.monotonic() + 5
    while not lease._late:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert lease.lost == ""
    lease.ensure()
    _set(store, token=9)
    while not lease._late:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert lease.lost == "another process took it over"


def test_a_holder_that_was_replaced_notices_before_its_next_effect_and_by_itself(store):
    lease = Lease.take(store, "sim", beat_s=0.02)
    lease.ensure()
    _set(store, token=9)
    with pytest.raises(LeaseLost, match="took it over"):
        lease.ensure()
    end = time.monotonic() + 5
    while not lease.lost:
        assert time.monotonic() < end
        time.sleep(0.01)
    with pytest.raises(LeaseLost):
        lease.advance()
    lease.release()
    assert not holder(store, "sim").released, "a lost lease cannot be given free"


def test_the_thread_keeps_the_lease_beating(store):
    lease = Lease.take(store, "sim", beat_s=0.02)
    first = holder(store, "sim").beats
    end = time.monotonic() + 5
    while holder(store, "sim").beats < first + 3:
        assert time.monotonic() < end
        time.sleep(0.01)
    lease.release()
    assert holder(store, "sim").alive is False


def test_of_many_that_ask_at_once_one_gets_it(store):
    won: list[Lease] = []
    refused: list[Occupied] = []
    start = threading.Barrier(6)

    def contend() -> None:
        start.wait()
        try:
            won.append(Lease.take(store, "sim"))
        except Occupied as error:
            refused.append(error)

    threads = [threading.Thread(target=contend) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(refused)) == (1, 5)
    won[0].release()


def test_this_process_is_alive_and_knows_where_it_is():
    assert me().alive is True and me().local
    assert Process.of(2**22 + 1) is None
