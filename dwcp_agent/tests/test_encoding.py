"""How content is encoded for a stream: parts of one zstd frame, deltas beside a baseline, and the level that links and processors allow."""

from __future__ import annotations

import contextlib
import os
import random

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dwcp_agent.encoding.level import FIRST, LEVELS, LevelChooser, Sample, decide
from dwcp_agent.encoding.stream import PartDecoder, PartEncoder
from dwcp_agent.encoding.windows import LONG_WINDOW_LOG, WINDOW_LOG, WindowBudget
from dwcp_agent.errors import ProtocolError, Refused
from dwcp_agent.transport.frame import Flag
from dwcp_agent.transport.work import Work

BLOCK = 65536
MIB = 1 << 20


def text(size: int, seed: int = 0) -> bytes:
    """Words in an order that zstd finds something in."""
    draw = random.Random(seed)
    words = [bytes(draw.choices(b"abcdefgh", k=draw.randint(3, 9))) for _ in range(500)]
    return b" ".join(draw.choices(words, k=size // 4 + 2))[:size]


def decoded(decoder: PartDecoder, flag: Flag, payload: bytes, raw_length: int) -> bytes:
    if flag == Flag.RAW:
        return bytes(payload)
    return bytes(decoder.decode(flag == Flag.PART_FIRST, payload, raw_length))


# -- parts ------------------------------------------------------------------------------------------------------------------------


def test_parts_refer_to_what_the_stream_carried_before() -> None:
    encoder, decoder = PartEncoder(), PartDecoder()
    chunk = os.urandom(BLOCK // 2) * 2
    first = encoder.encode(chunk, 3)
    again = encoder.encode(chunk, 3)
    assert (first[0], again[0]) == (Flag.PART_FIRST, Flag.PART)
    assert len(again[1]) < 100 < BLOCK // 2 < len(first[1])
    for flag, payload in (first, again):
        assert decoded(decoder, flag, bytes(payload), BLOCK) == chunk


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["text", "noise", "zeros", "again"]), st.integers(1, 200_000), st.sampled_from(LEVELS[:5])),
        min_size=1,
        max_size=12,
    )
)
def test_every_sequence_of_chunks_and_levels_comes_back(chunks: list[tuple[str, int, int]]) -> None:
    encoder, decoder, before = PartEncoder(), PartDecoder(), b"x"
    for number, (kind, size, level) in enumerate(chunks):
        chunk = {
            "text": text(size, number),
            "noise": random.Random(number).randbytes(size),
            "zeros": bytes(size),
            "again": (before * (size // len(before) + 1))[:size],
        }[kind]
        flag, payload = encoder.encode(chunk, level)
        assert flag in (Flag.RAW, Flag.PART_FIRST, Flag.PART)
        assert (flag == Flag.RAW and bytes(payload) == chunk) or 0 < len(payload) < len(chunk)
        assert decoded(decoder, flag, bytes(payload), len(chunk)) == chunk
        before = chunk


def test_what_does_not_shrink_goes_as_it_is_and_is_asked_about_cheaply() -> None:
    encoder = PartEncoder()
    assert encoder.encode(os.urandom(BLOCK), 3)[0] is Flag.RAW
    assert encoder.encode(os.urandom(BLOCK), 3)[0] is Flag.RAW
    assert encoder.encode(text(BLOCK), 3)[0] is Flag.PART_FIRST


def test_a_part_without_its_beginning_is_refused() -> None:
    encoder = PartEncoder()
    encoder.encode(text(BLOCK), 3)
    with pytest.raises(ProtocolError, match="before its beginning"):
        PartDecoder().decode(False, encoder.encode(text(BLOCK), 3)[1], BLOCK)


def test_a_part_that_stands_for_less_is_refused() -> None:
    _, payload = PartEncoder().encode(text(BLOCK), 3)
    with pytest.raises(ProtocolError, match=f"stands for {BLOCK} bytes and not for {BLOCK + 1}"):
        PartDecoder().decode(True, payload, BLOCK + 1)


def test_a_bomb_makes_nothing_larger_than_it_may() -> None:
    bomb = zstandard.ZstdCompressor(level=3).compress(bytes(1 << 30))
    assert len(bomb) < 100_000
    decoder = PartDecoder()
    assert decoder.decode(True, bomb, BLOCK) == bytes(BLOCK)
    # What was too much of it is not the beginning of what comes.
    with pytest.raises(ProtocolError):
        for _ in range(1 << 15):
            decoder.decode(False, text(BLOCK), BLOCK)


def long_part(window_log: int) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=window_log)
    wide = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return wide.compress(text(BLOCK)) + wide.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


def test_long_windows_find_what_is_far_away_and_are_refused_without_a_budget() -> None:
    far, between = os.urandom(MIB), [text(MIB, seed) for seed in range(12)]
    sizes = {}
    for log in (WINDOW_LOG, LONG_WINDOW_LOG):
        encoder, decoder = PartEncoder(log), PartDecoder(WindowBudget())
        for chunk in [far + text(MIB), *between, far + text(MIB, 99)]:
            flag, payload = encoder.encode(chunk, 3)
            assert decoded(decoder, flag, bytes(payload), len(chunk)) == chunk
        sizes[log] = len(payload)
    assert sizes[LONG_WINDOW_LOG] < sizes[WINDOW_LOG] - 0.9 * MIB
    with pytest.raises(ProtocolError, match="none of its stream's"):
        PartDecoder().decode(True, long_part(LONG_WINDOW_LOG), BLOCK)


def test_long_windows_together_take_no_more_than_their_budget() -> None:
    budget = WindowBudget(3 << LONG_WINDOW_LOG)
    decoders = [PartDecoder(budget) for _ in range(4)]
    for decoder in decoders[:3]:
        for _ in range(2):  # one that begins again holds no second window
            assert decoder.decode(True, long_part(LONG_WINDOW_LOG), BLOCK) == text(BLOCK)
    with pytest.raises(Refused, match="no memory") as refused:
        decoders[3].decode(True, long_part(LONG_WINDOW_LOG), BLOCK)
    assert refused.value.code == "window"
    assert decoders[3].decode(True, long_part(WINDOW_LOG), BLOCK) == text(BLOCK)
    decoders[0].close()
    decoders[0].close()
    assert decoders[3].decode(True, long_part(LONG_WINDOW_LOG), BLOCK) == text(BLOCK)


@pytest.mark.parametrize("budget", [None, WindowBudget()], ids=["without a budget", "with one"])
def test_a_window_larger_than_agreed_is_refused(budget: WindowBudget | None) -> None:
    with pytest.raises(ProtocolError, match="none of its stream's"):
        PartDecoder(budget).decode(True, long_part(27), BLOCK)


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=2000), st.integers(1, BLOCK), st.booleans())
def test_no_bytes_do_more_than_be_refused(payload: bytes, raw_length: int, begins: bool) -> None:
    decoder = PartDecoder()
    decoder.decode(True, PartEncoder().encode(text(BLOCK), 3)[1], BLOCK)
    with contextlib.suppress(ProtocolError):
        assert len(decoder.decode(begins, payload, raw_length)) == raw_length


# -- the level --------------------------------------------------------------------------------------------------------------------


def sample(*, encoding: float, sending: float, cpu: float = 1.0, theirs: float = 0.0) -> Sample:
    return Sample(encoding, encoding * cpu, sending, sending * theirs)


@pytest.mark.parametrize(
    ("spent", "step"),
    [
        (sample(encoding=1, sending=3), 1),  # the link is what is waited for, and a processor is free
        (sample(encoding=1, sending=1), 0),
        (sample(encoding=3, sending=0.5), -1),  # the encoder is
        (sample(encoding=1, sending=3, cpu=0.5), 0),  # no processor is free for more
        (sample(encoding=1, sending=3, theirs=0.3), 0),  # the receiver is
        (sample(encoding=1, sending=3, theirs=0.6), -1),
        (sample(encoding=0, sending=0), 0),
        (sample(encoding=0, sending=3), 1),
    ],
)
def test_the_level_follows_what_limits(spent: Sample, step: int) -> None:
    at = LEVELS.index(3)
    decision = decide(3, spent)
    assert LEVELS.index(decision.level) - at == step and decision.why


def test_the_level_stays_within_its_bounds() -> None:
    assert decide(LEVELS[-1], sample(encoding=1, sending=9)).level == LEVELS[-1]
    assert decide(LEVELS[0], sample(encoding=9, sending=1)).level == LEVELS[0]
    assert decide(LEVELS[0], sample(encoding=1, sending=9, theirs=0.9)).level == LEVELS[0]


def test_a_level_is_chosen_from_a_whole_window_and_said_why() -> None:
    now = [0.0]
    chooser = LevelChooser(clock=lambda: now[0])
    for _ in range(3):
        now[0] += 0.1
        chooser.took(sample(encoding=0.01, sending=0.09), 1 << 20)
    assert chooser.level == FIRST
    now[0] += 0.2
    chooser.took(sample(encoding=0.01, sending=0.09), 1 << 20)
    assert chooser.level == LEVELS[LEVELS.index(FIRST) + 1]
    assert [decision.level for decision in chooser.decisions] == [chooser.level] and "waited for the link" in chooser.decisions[0].why


def test_a_level_that_was_too_much_is_not_tried_again_at_once() -> None:
    """Each change begins a frame that knows nothing of what was before it."""
    now = [0.0]
    chooser = LevelChooser(first=9, clock=lambda: now[0])

    def window(**spent: float) -> int:
        now[0] += 1.0
        chooser.took(sample(**spent), 4 << 20)
        return chooser.level

    waits, encodes = {"encoding": 0.05, "sending": 0.95}, {"encoding": 0.95, "sending": 0.05}
    assert [window(**waits), window(**encodes)] == [12, 9]
    assert [window(**waits) for _ in range(19)] == [9] * 19
    assert [window(**waits), window(**waits)] == [12, 15]
    # One that is lower still is found, and then climbed from, as far as that.
    assert [window(**encodes), window(**encodes), window(**waits), window(**waits)] == [12, 9, 9, 9]
    # A profile that begins above is followed.
    chooser.bounds = (12, 15)
    assert window(**waits) == 12


# -- work -------------------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 300), st.integers(1, 8), st.randoms(use_true_random=False))
def test_every_unit_is_taken_once_whoever_asks_when(count: int, streams: int, order: random.Random) -> None:
    work, taken = Work(count, streams), []
    asking = list(range(streams))
    while asking:
        stream = order.choice(asking)
        unit = work.take(stream)
        if unit is None:
            asking.remove(stream)
        else:
            taken.append(unit)
    assert sorted(taken) == list(range(count))


def test_a_stream_has_neighbours_and_what_came_back_goes_first() -> None:
    work = Work(100, 2)
    assert [work.take(0), work.take(0), work.take(1), work.take(0)] == [0, 1, 50, 2]
    work.put_back([7, 8])
    assert [work.take(1), work.take(0), work.take(1)] == [7, 8, 51]
