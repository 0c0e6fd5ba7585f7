"""Rounding of numbers: the bound holds for every value there is, what is no ordinary number stays, and nobody takes it for the original."""

from __future__ import annotations

import array
import asyncio
import json
import math
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dwcp_agent import _native
from dwcp_agent.encoding.chunk import encode_chunk
from dwcp_agent.encoding.manifest import BLOCK, Manifest, manifest_of
from dwcp_agent.encoding.rounding import NUMERIC, RoundedSource, Rounding, is_mark
from dwcp_agent.errors import Refused
from dwcp_agent.store import store
from dwcp_agent.store.manifests import load_manifest, save_manifest
from dwcp_agent.transport.outbound import Outbound
from dwcp_agent.transport.source import BytesSource
from fixtures import Agent, Done, Host, one_sentence
from test_state import connecting

FORMAT = {"float32": ("<I", "<f", 23), "float64": ("<Q", "<d", 52)}
ERRORS = {"float32": st.builds(math.ldexp, st.floats(0.5, 0.9999), st.integers(-152, 130))}
ERRORS["float64"] = st.builds(math.ldexp, st.floats(0.5, 0.9999), st.integers(-1073, 1023))
SHARES = {numeric: st.builds(math.ldexp, st.floats(0.5, 0.9999), st.integers(-fraction, 0)) for numeric, (_, _, fraction) in FORMAT.items()}


def bits_of(numeric: str) -> st.SearchStrategy[int]:
    """Any bits, and those near the edges of exponents."""
    width, fraction = 8 * NUMERIC[numeric], FORMAT[numeric][2]
    edge = st.builds(
        lambda exponent, off, sign: ((exponent << fraction) + off) % (1 << (width - 1)) | sign << (width - 1),
        st.integers(0, (1 << (width - 1 - fraction)) - 1),
        st.integers(-3, 3),
        st.integers(0, 1),
    )
    return st.integers(0, (1 << width) - 1) | edge


def is_kept(bits: int, numeric: str) -> bool:
    """Zeros, denormals, infinities, NaNs."""
    fraction, width = FORMAT[numeric][2], 8 * NUMERIC[numeric]
    exponent = bits >> fraction & ((1 << (width - 1 - fraction)) - 1)
    return exponent in (0, (1 << (width - 1 - fraction)) - 1)


def near(numeric: str, error: float, of: list[tuple[float, int]]) -> list[int]:
    """Numbers from some times smaller than ``error`` to so much larger that all of their bits count."""
    integer, number, _ = FORMAT[numeric]
    found = []
    for fraction, exponent in of:
        try:
            found.append(struct.unpack(integer, struct.pack(number, math.ldexp(fraction, math.frexp(error)[1] + exponent)))[0])
        except OverflowError:
            continue
    return found


NEAR = st.lists(st.tuples(st.floats(0.5, 0.99999999), st.integers(-3, 56)), max_size=20)


def check(rounding: Rounding, values: list[int]) -> None:
    integer, number, _ = FORMAT[rounding.numeric]
    content = b"".join(struct.pack(integer, bits) for bits in values)
    rounded = rounding.rounded(content)
    assert rounding.rounded(rounded) == rounded, "rounding again changes it"
    for at, bits in zip(range(0, len(content), rounding.item), values, strict=True):
        after = struct.unpack_from(integer, rounded, at)[0]
        if is_kept(bits, rounding.numeric):
            assert after == bits
            continue
        value, came = struct.unpack_from(number, content, at)[0], struct.unpack_from(number, rounded, at)[0]
        assert math.isfinite(came) and math.copysign(1, came) == math.copysign(1, value)
        allowed = rounding.error
        if rounding.relative:  # in whole numbers, where a product would be rounded itself
            (a, b), (c, d), (e, f) = value.as_integer_ratio(), came.as_integer_ratio(), allowed.as_integer_ratio()
            assert abs(a * d - c * b) * f <= abs(a) * d * e
        else:
            (a, b), (c, d), (e, f) = value.as_integer_ratio(), came.as_integer_ratio(), allowed.as_integer_ratio()
            assert abs(a * d - c * b) * f <= b * d * e


@given(values=st.lists(bits_of("float32"), min_size=1, max_size=20), error=ERRORS["float32"], close=NEAR)
@example(close=[], values=[0x7F7FFFFF, 0xFF7FFFFF, 0x7F7FFFFE], error=1e37)
@example(close=[], values=[0x3F800000, 0x3F800001, 0x3F000000, 0x3EFFFFFF], error=0.5)
def test_a_float32_is_off_by_no_more_than_the_error(values: list[int], error: float, close: list[tuple[float, int]]) -> None:
    check(Rounding("float32", error, relative=False), values + near("float32", error, close))


@given(values=st.lists(bits_of("float64"), min_size=1, max_size=20), error=ERRORS["float64"], close=NEAR)
@example(close=[], values=[0x7FEFFFFFFFFFFFFF, 0xFFEFFFFFFFFFFFFF], error=1e308)
def test_a_float64_is_off_by_no_more_than_the_error(values: list[int], error: float, close: list[tuple[float, int]]) -> None:
    check(Rounding("float64", error, relative=False), values + near("float64", error, close))


@given(values=st.lists(bits_of("float32"), min_size=1, max_size=20), error=SHARES["float32"])
@example(values=[0x7F7FFFFF], error=0.9)
def test_a_float32_is_off_by_no_more_than_its_share(values: list[int], error: float) -> None:
    check(Rounding("float32", error, relative=True), values)


@given(values=st.lists(bits_of("float64"), min_size=1, max_size=20), error=SHARES["float64"])
def test_a_float64_is_off_by_no_more_than_its_share(values: list[int], error: float) -> None:
    check(Rounding("float64", error, relative=True), values)


@pytest.mark.parametrize(("numeric", "code"), [("float32", "f"), ("float64", "d")])
@pytest.mark.parametrize("relative", [False, True])
def test_it_makes_numbers_smaller_and_no_more_exact_than_asked(numeric: str, code: str, relative: bool) -> None:
    source, value, values = random.Random(1), 20.0, array.array(code)
    for _ in range(20_000):
        value += source.gauss(0, 0.05)
        values.append(value)
    content = values.tobytes()
    rounded = Rounding(numeric, 1e-2, relative).rounded(content)
    assert len(encode_chunk(rounded)[1]) < 0.75 * len(encode_chunk(content)[1])
    off = [abs(new - old) / (old if relative else 1) for new, old in zip(array.array(code, bytes(rounded)), values, strict=True)]
    assert 2e-3 < max(off) <= 1e-2


@pytest.mark.parametrize("width", [0, 1, 2, 16, -4])
def test_the_core_takes_two_widths_and_whole_items(width: int) -> None:
    for call in (lambda: _native.round_to_step(bytearray(16), width, 0, 1.0), lambda: _native.round_to_fraction(bytearray(16), width, 3)):
        with pytest.raises(ValueError, match="width"):
            call()
    with pytest.raises(ValueError, match="whole number"):
        _native.round_to_step(bytearray(15), 4, 0, 1.0)
    for step in (-(2**31), 2**31 - 1):
        _native.round_to_step(bytearray(b"\xff\x01" * 8), 8, step, 1.0)
        _native.round_to_fraction(bytearray(b"\xff\x01" * 8), 4, step)


def test_a_source_says_the_same_of_a_range_whole_and_in_pieces() -> None:
    content = random.Random(1).randbytes(8000)
    source = RoundedSource(BytesSource(content), Rounding("float64", 1e-3, relative=False))
    whole = bytes(source.chunk(0, 8000))
    assert b"".join(bytes(source.chunk(at, min(333, 8000 - at))) for at in range(0, 8000, 333)) == whole
    assert whole == bytes(Rounding("float64", 1e-3, relative=False).rounded(content))


@pytest.mark.parametrize("mark", [None, 7, "", "float16 absolute 1", "float32 absolute nan", "float32 absolute 1\n", "float32 1", "x" * 90])
def test_what_is_no_mark(mark: object) -> None:
    assert not is_mark(mark)


@given(error=ERRORS["float64"])
def test_what_is_one(error: float) -> None:
    assert is_mark(Rounding("float64", error, relative=False).mark)


def test_no_flipped_bit_makes_a_rounded_file_an_original(tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(bytes(BLOCK))
    (tmp_path / "kept").mkdir()
    directory = os.open(tmp_path / "kept", os.O_RDONLY | os.O_DIRECTORY)
    with content.open("rb") as file:
        expected = Manifest(BLOCK, manifest_of(BytesSource(bytes(BLOCK))).hashes, "float32 absolute 0.001")
        assert save_manifest(directory, "a", file.fileno(), expected)
        assert load_manifest(directory, "a", file.fileno()) == expected
        (kept,) = (tmp_path / "kept").iterdir()
        genuine = kept.read_bytes()
        for bit in range(len(genuine) * 8):
            changed = bytearray(genuine)
            changed[bit // 8] ^= 1 << bit % 8
            kept.write_bytes(changed)
            assert load_manifest(directory, "a", file.fileno()) in (None, expected), bit
    os.close(directory)


async def test_a_receiver_that_cannot_note_it_says_so(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    rounding = Rounding("float32", 1e-3, relative=False)
    monkeypatch.setattr(store, "save_manifest", lambda *_: False)

    def run() -> None:
        source = RoundedSource(BytesSource(bytes(BLOCK)), rounding)
        Outbound(connecting(agent), "numbers", source, token="0" * 32, rounded=rounding.mark).run()

    with pytest.raises(Refused) as caught:
        await asyncio.to_thread(run)
    assert caught.value.code == "not-noted"


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    source = random.Random(2)
    path = tmp_path / "numbers.f32"
    path.write_bytes(array.array("f", (source.gauss(20, 3) for _ in range(400_000))).tobytes())
    return path


def sent(dwcp: Callable[..., Done], host: Host, path: Path, name: str, *more: str) -> dict[str, Any]:
    done = dwcp("send", str(path), *host.to(name), *more)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def verified(dwcp: Callable[..., Done], host: Host, name: str) -> dict[str, Any]:
    done = dwcp("recv", "--verify", name, "--config", str(host.config), "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["contents"][0]
    return found


def test_what_is_delivered_is_within_the_error_and_both_sides_say_so(dwcp: Callable[..., Done], host: Host, numbers: Path) -> None:
    exact = sent(dwcp, host, numbers, "numbers-exact")
    report = sent(dwcp, host, numbers, "numbers", "--numeric", "float32", "--error", "1e-3")
    assert report["rounded"] == "float32 absolute 0.001" and "rounded" not in exact
    assert report["wire_bytes"] < 0.8 * exact["wire_bytes"]
    before, after = (array.array("f", path.read_bytes()) for path in (numbers, host.store / "numbers"))
    assert max(abs(new - old) for new, old in zip(after, before, strict=True)) <= 1e-3 and before != after
    found = verified(dwcp, host, "numbers")
    assert (found["state"], found["rounded"], found["id"]) == ("verified", report["rounded"], report["id"])
    assert "rounded" not in verified(dwcp, host, "numbers-exact")
    told = dwcp("explain", "last")
    assert "not the original: its float32 numbers are rounded, absolute error at most 0.001" in told.stdout
    assert "rounding: numbers float32 absolute 0.001, because --numeric asked for it" in told.stdout
    human = dwcp("recv", "--verify", "numbers", "--config", str(host.config))
    assert "not the original" in human.stdout


def test_the_mark_follows_the_sender_when_the_bytes_stay_the_same(dwcp: Callable[..., Done], host: Host, numbers: Path) -> None:
    terms = ("--numeric", "float32", "--relative-error", "0.01")
    first = sent(dwcp, host, numbers, "twice", *terms)
    again = sent(dwcp, host, numbers, "twice", *terms)
    assert again["id"] == first["id"] and not again["wire_bytes"]
    delivered = numbers.with_name("delivered")
    delivered.write_bytes((host.store / "twice").read_bytes())
    exact = sent(dwcp, host, delivered, "twice")
    assert exact["id"] == first["id"] and "rounded" not in verified(dwcp, host, "twice")
    # Every value is on the grid already, and still nobody promised the receiver that it is the original.
    sent(dwcp, host, numbers, "twice", *terms)
    assert verified(dwcp, host, "twice")["rounded"] == "float32 relative 0.01"


def test_a_baseline_on_this_side_is_rounded_too(dwcp: Callable[..., Done], host: Host, numbers: Path) -> None:
    terms = ("--numeric", "float32", "--error", "0.01")
    sent(dwcp, host, numbers, "series", *terms)
    values = array.array("f", numbers.read_bytes())
    values[1000] = 7.0
    newer = numbers.with_name("newer.f32")
    newer.write_bytes(values.tobytes())
    report = sent(dwcp, host, newer, "series", "--baseline", str(numbers), *terms)
    assert report["baseline"] == "both sides" and report["wire_bytes"] < 20_000
    # And the exact file's own manifest was not taken for the rounded one's, nor the other way round.
    exact = sent(dwcp, host, numbers, "series-exact")
    values[2000] = 7.0
    newer.write_bytes(values.tobytes())
    assert sent(dwcp, host, newer, "series-exact", "--baseline", str(numbers))["baseline"] == "both sides"
    assert verified(dwcp, host, "series-exact")["id"] != exact["id"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--numeric", "float16", "--error", "1"], "float32, float64"),
        (["--numeric", "float32"], "needs either --error or --relative-error"),
        (["--numeric", "float32", "--error", "1", "--relative-error", "0.1"], "needs either"),
        (["--error", "1"], "need --numeric"),
        (["--relative-error", "0.1"], "need --numeric"),
        (["--numeric", "float32", "--error", "0"], "above 0"),
        (["--numeric", "float32", "--error", "-1"], "above 0"),
        (["--numeric", "float32", "--error", "nan"], "above 0"),
        (["--numeric", "float32", "--error", "inf"], "above 0"),
        (["--numeric", "float32", "--relative-error", "1"], "below 1"),
        (["--numeric", "float32", "--error", "x"], "float"),
        (["--numeric", "float64", "--error", "1"], "no whole number of items of 8 bytes"),
    ],
)
def test_what_cannot_be_rounded_is_refused(dwcp: Callable[..., Done], host: Host, tmp_path: Path, more: list[str], says: str) -> None:
    (tmp_path / "odd").write_bytes(bytes(12))
    done = dwcp("send", str(tmp_path / "odd"), *host.to("odd"), *more)
    assert done.returncode == 2 and one_sentence(done.stderr) and says in done.stderr, done
    assert not (host.store / "odd").exists()


def test_a_directory_is_refused(dwcp: Callable[..., Done], host: Host, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    done = dwcp("send", str(tmp_path / "files"), *host.to("files"), "--numeric", "float32", "--error", "1")
    assert done.returncode == 2 and one_sentence(done.stderr) and "directory" in done.stderr


def test_an_agent_that_would_not_note_it_is_sent_nothing(
    dwcp: Callable[..., Done], host: Host, numbers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dwcp_agent.commands.session import Session

    opened = Session.open

    def older(session: Session, content: str = "", token: str = "") -> None:
        opened(session, content, token)

        del session.answer["rounded"]

    monkeypatch.setattr(Session, "open", older)
    done = dwcp("send", str(numbers), *host.to("older"), "--numeric", "float32", "--error", "1")
    assert done.returncode == 4 and one_sentence(done.stderr) and "would not note" in done.stderr
    assert not (host.store / "older").exists()
