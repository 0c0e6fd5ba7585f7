"""A transfer whose number of streams, levels and profile follow its path while it runs."""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from typing import Any

import pytest

from dwcp_agent.encoding.level import LEVELS, Sample, decide
from dwcp_agent.encoding.windows import LONG_WINDOW_LOG, WINDOW_LOG, WindowBudget
from dwcp_agent.errors import AgentError
from dwcp_agent.profiles.table import HIGH_THROUGHPUT, LOW_LATENCY, PROFILES, Profile
from dwcp_agent.security.identity import Identity
from dwcp_agent.telemetry.decisions import DecisionLog
from dwcp_agent.telemetry.path import PathSample
from dwcp_agent.transport.foresight import Foresight
from dwcp_agent.transport.outbound import Outbound
from dwcp_agent.transport.sender import Link
from dwcp_agent.transport.source import BytesSource
from dwcp_agent.transport.steering import Steering
from dwcp_agent.transport.tally import Tally
from dwcp_agent.transport.units import UNIT
from dwcp_agent.transport.work import Work
from fixtures import Agent, context_of


class Slow(BytesSource):
    """Each unit takes a while to read."""

    def chunk(self, offset: int, length: int) -> memoryview:
        time.sleep(0.01)
        return super().chunk(offset, length)


def outbound(agent: Agent, content: bytes, **more: Any) -> Outbound:
    link = Link("127.0.0.1", agent.service.ports.data, context_of(agent.people["load"]), timeout_s=10)
    tickets = agent.service.context.tickets
    return Outbound(
        lambda: (link, tickets.issue("s", Identity("load", "load.host-2"), time.time())[0]),
        "image",
        Slow(content),
        **{"token": "0" * 32, **more},
    )


async def test_streams_come_and_go_while_a_transfer_runs_and_nothing_is_lost(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Steering, "step", lambda self: None)  # this test steers
    content = os.urandom(300 * UNIT)
    sending = outbound(agent, content)
    seen: set[int] = set()

    def steer() -> None:
        for wanted in (2, 6, 1, 5):
            sending._steering.streams = wanted
            deadline = time.monotonic() + 10
            while (there := len(sending._entrance._wires)) != wanted and time.monotonic() < deadline:
                time.sleep(0.01)
            seen.add(there)

    steering = threading.Thread(target=steer)
    steering.start()
    tally: Tally = await asyncio.to_thread(sending.run)
    steering.join()
    assert seen == {1, 2, 5, 6}
    assert (agent.store / "load.load.host-2/image").read_bytes() == content
    assert (tally.broken_streams, tally.again_bytes) == (0, 0)


async def test_a_number_that_was_asked_for_stays(agent: Agent) -> None:
    sending = outbound(agent, os.urandom(30 * UNIT), streams=3)
    sending._steering.streams = 1
    assert (await asyncio.to_thread(sending.run)).streams == 3


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
async def test_a_transfer_by_each_profile_keeps_to_its_streams_and_levels(agent: Agent, profile: Profile) -> None:
    content = bytes(random.Random(3).choices(b"abcdefgh", k=UNIT // 4)) * 160
    log = DecisionLog()
    sending = outbound(agent, content, log=log, profile=profile)
    sending._chooser.level = 7  # beyond one end of the range, or within it
    seen: list[int] = []
    took = sending._chooser.took

    def noted(sample: Sample, content_bytes: int) -> None:
        # As if the link was slow while the first half went, and the processor while the second did.
        now = WAITS if len(seen) < 20 else ENCODES
        sending._chooser._begin = 0.0
        took(now, 4 * UNIT)
        seen.append(sending._chooser.level)

    sending._chooser.took = noted  # type: ignore[method-assign]
    tally: Tally = await asyncio.to_thread(sending.run)
    assert (agent.store / "load.load.host-2/image").read_bytes() == content
    # Told of only when the path was looked at while it lasted, which so short a transfer need not wait for.
    assert {(each.value, each.why) for each in log.decisions("profile")} <= {(profile.name, "asked for")}
    assert sending._steering.profile.name == profile.name
    assert tally.streams <= profile.most_streams
    lowest, highest = profile.levels
    assert highest in seen[:20] and lowest in seen[20:]
    assert all(lowest <= level <= max(highest, 7) for level in seen) and seen[-1] <= highest


async def test_what_was_decided_is_told_even_when_the_transfer_fails(agent: Agent) -> None:
    log = DecisionLog()
    sending = outbound(agent, os.urandom(200 * UNIT), log=log, profile=HIGH_THROUGHPUT, patience_s=0.1)
    threading.Timer(0.8, sending.abort).start()
    with pytest.raises(AgentError):
        await asyncio.to_thread(sending.run)
    assert [(each.what, each.value, each.why) for each in log.decisions("profile")] == [("profile", "high-throughput", "asked for")]


def test_a_stream_that_comes_later_shares_the_longest_stretch() -> None:
    work = Work(10, 2, 4)
    assert [work.take(0), work.take(1), work.take(3)] == [0, 5, 3]
    assert sorted(unit for unit in iter(lambda: work.take(2), None)) == [1, 2, 4, 6, 7, 8, 9]


WAITS = Sample(0.1, 0.1, 0.9, 0.0)
ENCODES = Sample(0.9, 0.9, 0.1, 0.0)


def test_a_level_stays_within_the_profiles_and_moves_there_step_by_step() -> None:
    level = LEVELS[0]
    for _ in LEVELS:
        level = decide(level, WAITS, LOW_LATENCY.levels).level
    assert level == LOW_LATENCY.levels[1]
    for expected in (7, 9, 12, 15, 15):
        level = decide(level, WAITS, HIGH_THROUGHPUT.levels).level
        assert level == expected
    for expected in (12, 9, 7, 5, 3, 3):
        level = decide(level, ENCODES, HIGH_THROUGHPUT.levels).level
        assert level == expected
    assert decide(15, WAITS, LOW_LATENCY.levels).level == 12
    assert decide(1, ENCODES, HIGH_THROUGHPUT.levels).level == 3


def path(at_s: float, *, delivered: float, delivery: float | None = None, interval_s: float = 0.5) -> PathSample:
    rate = delivered if delivery is None else delivery
    return PathSample(at_s, interval_s, 4, delivered, rate, 40.0, 40.0, 0.5, 1000, 0)


def test_a_path_is_foreseen_once_ten_seconds_of_it_were_seen() -> None:
    foresight = Foresight()
    said = [foresight(path(number / 2, delivered=20e6)) for number in range(40)]
    assert said[:19] == [None] * 19
    assert all(each == pytest.approx(20e6, rel=0.2) for each in said[20:])


def test_a_sender_that_had_little_to_send_says_nothing_of_the_path() -> None:
    foresight = Foresight()
    for number in range(40):
        foresight(path(number / 2, delivered=20e6))
    idle = [foresight(path(20 + number / 2, delivered=1e6, delivery=20e6)) for number in range(20)]
    assert all(each == pytest.approx(20e6, rel=0.2) for each in idle)
    slower = [foresight(path(30 + number / 2, delivered=5e6)) for number in range(40)]
    assert slower[-1] == pytest.approx(5e6, rel=0.3)


async def test_a_receiver_without_memory_for_long_windows_gets_shorter_ones(agent: Agent) -> None:
    streams: Any = agent.service._data._resumable
    content = bytes(random.Random(5).choices(b"abcdefgh", k=6 * UNIT))
    for room, log in ((WindowBudget(), LONG_WINDOW_LOG), (WindowBudget(0), WINDOW_LOG)):
        streams._windows = room
        sending = outbound(agent, content, token=f"{log:032x}", window_log=LONG_WINDOW_LOG)
        sending._chooser.level = 3
        tally = await asyncio.to_thread(sending.run)
        assert (agent.store / "load.load.host-2/image").read_bytes() == content
        assert sending._window_log == log
        assert (tally.broken_streams > 0) == (log == WINDOW_LOG)
