"""Files that a crash or a disk has damaged, and answers that no agent gives: each was once believed, or ended in an unexpected error."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from dwcp_agent.commands.http import Connection, Endpoint, as_object, is_port, parse_url
from dwcp_agent.commands.session import Session
from dwcp_agent.config import AgentConfig, load_config
from dwcp_agent.encoding.chunk import decompress
from dwcp_agent.encoding.manifest import BLOCK, Manifest
from dwcp_agent.encoding.patch import decode_patch
from dwcp_agent.errors import BadInput, ProtocolError, Refused
from dwcp_agent.release import of_directory
from dwcp_agent.sessions.admission import Admission
from dwcp_agent.store.manifests import load_manifest, read_manifest, save_manifest
from dwcp_agent.store.partial import Partial
from dwcp_agent.transport.outbound import Outbound
from dwcp_agent.transport.source import BytesSource
from fuzz.memory import at_most
from fuzz.scripted import ScriptedSocket, ScriptedWire

SIZE = 9 * BLOCK


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "kept").mkdir()
    descriptor = os.open(tmp_path / "kept", os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def blocks(directory: int) -> list[tuple[int, int]]:
    """What the journal says to be there when it is opened again."""
    partial = Partial.opened(directory, "key", "disk", SIZE)
    found = partial.blocks.runs(100)
    assert os.fstat(partial.content).st_size == SIZE
    partial.close()
    return found


def begun(directory: int, kept: Path, *first_blocks: int) -> Path:
    """The journal of a transfer in which these blocks were written."""
    partial = Partial.opened(directory, "key", "disk", SIZE)
    for block in first_blocks:
        partial.note(block * BLOCK, BLOCK)
    partial.close()
    return kept / "key.journal"


@pytest.mark.parametrize("left", [b"{", b'{"name": "di', b"\0" * 60, b"[" * 2000, b"{}\n", b"\xff\n", b'{"name":"disk","size": 589824}\n'])
def test_a_journal_whose_first_line_was_not_flushed_begins_again(directory: int, tmp_path: Path, left: bytes) -> None:
    journal = begun(directory, tmp_path / "kept", 1, 2)
    journal.write_bytes(left)
    assert blocks(directory) == []
    begun(directory, tmp_path / "kept", 4)
    assert blocks(directory) == [(4, 1)]


def test_a_journal_of_other_content_is_still_refused(directory: int, tmp_path: Path) -> None:
    begun(directory, tmp_path / "kept", 1)
    with pytest.raises(Refused, match="another name or size"):
        Partial.opened(directory, "key", "disk", SIZE + 1)
    assert blocks(directory) == [(1, 1)]


def test_no_flipped_bit_of_a_journal_makes_a_block_that_nobody_wrote(directory: int, tmp_path: Path) -> None:
    journal = begun(directory, tmp_path / "kept", 1, 2)
    genuine = journal.read_bytes()
    for bit in range((genuine.index(b"\n") + 1) * 8, len(genuine) * 8):
        changed = bytearray(genuine)
        changed[bit // 8] ^= 1 << bit % 8
        journal.write_bytes(changed)
        assert blocks(directory) in ([], [(1, 1)]), bit


def test_what_is_noted_after_a_damaged_range_is_there_the_next_time(directory: int, tmp_path: Path) -> None:
    journal = begun(directory, tmp_path / "kept", 1, 2, 3)
    content = bytearray(journal.read_bytes())
    content[-20] ^= 0x40  # within the range before the last
    journal.write_bytes(content)
    begun(directory, tmp_path / "kept", 7)
    assert blocks(directory) == [(1, 1), (7, 1)]


def test_a_range_that_is_only_half_noted_counts_as_a_full_disk(directory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = Partial.opened(directory, "key", "disk", SIZE)
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:5]))
    with pytest.raises(OSError, match="No space left"):
        partial.note(0, BLOCK)
    monkeypatch.undo()
    partial.close()
    assert blocks(directory) == []


def test_no_flipped_bit_of_a_kept_manifest_is_believed(directory: int, tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(os.urandom(2 * BLOCK))
    with content.open("rb") as file:
        expected = read_manifest(file.fileno())
        save_manifest(directory, "disk", file.fileno(), expected)
        assert load_manifest(directory, "disk", file.fileno()) == expected
        [kept] = (tmp_path / "kept").iterdir()
        genuine = kept.read_bytes()
        for bit in range(len(genuine) * 8):
            changed = bytearray(genuine)
            changed[bit // 8] ^= 1 << bit % 8
            kept.write_bytes(changed)
            assert load_manifest(directory, "disk", file.fileno()) in (None, expected), bit
        for damage in (genuine[:-1], genuine + b"x", b"[" * 4000 + b"\n", genuine[: len(genuine) // 2]):
            kept.write_bytes(damage)
            assert load_manifest(directory, "disk", file.fileno()) is None


def test_the_manifest_of_a_file_with_a_very_long_name_is_kept(directory: int, tmp_path: Path) -> None:
    with (tmp_path / "content").open("wb+") as file:
        name = "/" + "\udcff" * 4000  # a path of bytes that are no text
        save_manifest(directory, name, file.fileno(), Manifest(0, b""))
        assert load_manifest(directory, name, file.fileno()) == Manifest(0, b"")


@pytest.mark.parametrize("weight", ["[]", "null", "Infinity", "1.5", "{}", "101", '"x"'])
def test_what_was_last_understood_of_the_admission_file_stays_in_force(tmp_path: Path, weight: str) -> None:
    path = tmp_path / "admission.json"
    path.write_text('{"weights": {"slot_b": 37}}')
    rules = Admission(path, "a", {"a": 1, "b": 2})
    assert rules.weight() == 37
    for content in (f'{{"weights": {{"slot_b": {weight}}}, "slots": {{}}}}', "[" * 5000):
        path.write_text(content)
        assert rules.weight() == 37


def test_a_release_manifest_of_brackets_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[" * 5000)
    with pytest.raises(BadInput, match="not a release manifest"):
        of_directory(tmp_path)


@pytest.mark.parametrize(
    "url", ["https://a b:7400/x", "https://a..b:7400/x", f"https://{'a' * 64}:7400/x", "https://h:0/x", "https://a\x7fb:7400/x"]
)
def test_a_url_that_nothing_can_connect_to_is_refused(url: str) -> None:
    with pytest.raises(BadInput):
        parse_url(url)


def test_an_address_of_version_6_is_written_as_it_is_read() -> None:
    found = parse_url("https://[fd00::1]:7400/a/b")
    assert str(found) == "https://[fd00::1]:7400" and parse_url(f"{found}/a/b") == found


def test_json_that_is_too_deep_holds_no_object() -> None:
    assert as_object(b"[" * 100_000) == {}


def test_no_file_has_less_than_no_bytes() -> None:
    with pytest.raises(BadInput):
        Manifest(-5, b"")


@pytest.mark.parametrize("port", [0, -1, 65536, 1 << 80, True, 1.0, "7401", None])
def test_a_port_is_a_number_that_can_be_connected_to(port: object) -> None:
    assert not is_port(port)
    assert is_port(7401) and is_port(65535)


@pytest.mark.parametrize(
    "data", [{"host": "h", "port": "x"}, {"host": "h", "port": 1e999}, {"host": [], "port": 1}, {"host": "h", "port": []}]
)
def test_a_session_that_names_no_place_for_data_is_refused(data: object, monkeypatch: pytest.MonkeyPatch) -> None:
    told = json.dumps({"ticket": "t", "data": data}).encode()
    monkeypatch.setattr(Connection, "fetch", lambda *_, **__: ({}, told))
    with pytest.raises(Refused, match="names no place"):
        Session(Endpoint("127.0.0.1", 7400, "x"), None, "s-1").connect()  # type: ignore[arg-type]


def test_a_patch_of_too_many_runs_is_refused_before_they_are_listed() -> None:
    payload = b"\xff\xff" + bytes(8 * 0xFFFF) + b"\0\0\0"
    with pytest.raises(ProtocolError, match="more than 256 runs"), at_most(200_000):
        decode_patch(payload, 0, 1 << 20, lambda at, length: bytes(length))


def test_a_window_beyond_the_protocols_is_refused_even_where_none_is_needed() -> None:
    size = struct.pack("<I", 100)
    magic, descriptor, raw_block = b"\x28\xb5\x2f\xfd", b"\x80", struct.pack("<I", 100 << 3 | 1)[:3] + bytes(100)
    assert decompress(magic + descriptor + b"\x68" + size + raw_block, 100) == bytes(100)  # 8 MiB
    with pytest.raises(ProtocolError, match="too large a window"):
        decompress(magic + descriptor + b"\x69" + size + raw_block, 100)


def test_an_infinite_state_is_a_broken_rule() -> None:
    class Link:
        congestion = ""

        def take(self) -> ScriptedWire:
            from dwcp_agent.transport.frame import Kind, control

            return ScriptedWire(ScriptedSocket(control(Kind.STATE, 1, {"have": [[float("inf"), 1]], "baseline": False})))

        def close(self) -> None:
            pass

    link = Link()
    with pytest.raises(ProtocolError, match="state is malformed"):
        Outbound(lambda: (link, "t"), "x", BytesSource(bytes(100)), token="0" * 32, patience_s=0.0).run()  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    "text", ["host: 2024-13-45", "a: !!timestamp x", "a: !!bool x", "a: 0x_", "[" * 500, "a: !!int ''", f"a: {'9' * 5000}", "? [a]\n: b"]
)
def test_a_configuration_with_a_value_that_cannot_be_read_is_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=str(path)):
        load_config(path, AgentConfig)


def test_a_certificate_whose_path_cannot_be_one_is_a_sentence(tmp_path: Path) -> None:
    path, long = tmp_path / "agent.yaml", "/" + "x" * 300
    path.write_text(f"host: h\nsite: s\nlisten: 127.0.0.1\nstore: /s\ntls: {{ca: {long}, cert: {long}, key: {long}}}\n")
    with pytest.raises(BadInput, match=r"tls\.ca: there is no file"):
        load_config(path, AgentConfig)
