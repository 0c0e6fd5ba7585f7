"""``dwcp send`` of a block device: a loop device, which is as real to the kernel as a disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dwcp_agent.errors import BadInput
from dwcp_agent.transport.device import DeviceSource
from dwcp_agent.transport.source import open_source
from fixtures import Done, Host, one_sentence

SIZE = 16 << 20


@dataclass
class Loop:
    """``path`` is the device over ``file``."""

    path: Path
    file: Path

    def write(self, offset: int, data: bytes) -> None:
        """As anybody else on the host; nothing waits until the device has it."""
        descriptor = os.open(self.path, os.O_WRONLY)
        try:
            os.pwrite(descriptor, data, offset)
        finally:
            os.close(descriptor)

    def set(self, name: str, value: str) -> None:
        (Path("/sys/block") / self.path.name / name).write_text(value)


def run(*command: str | Path) -> str:
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    if os.geteuid() != 0 or shutil.which("losetup") is None:
        pytest.fail("A loop device takes root and losetup: apt-get install mount, and run this as root.")
    file = tmp_path / "disk"
    file.write_bytes(os.urandom(SIZE // 2) + bytes(SIZE // 2))
    try:
        path = Path(run("losetup", "-f", "--show", file))
    except subprocess.CalledProcessError as error:
        pytest.fail(f"A loop device cannot be made here: {error.stderr.strip()}")
    try:
        yield Loop(path, file)
    finally:
        run("losetup", "-d", path)


@pytest.fixture
def mounted(loop: Loop, tmp_path: Path) -> Iterator[Path]:
    if shutil.which("mkfs.ext4") is None:
        pytest.fail("There is no mkfs.ext4: apt-get install e2fsprogs.")
    # Without a journal and lazy initialisation nothing writes to it but the test.
    run("mkfs.ext4", "-q", "-O", "^has_journal", "-E", "lazy_itable_init=0,nodiscard", loop.path)
    directory = tmp_path / "mounted"
    directory.mkdir()
    run("mount", "-o", "noatime", loop.path, directory)
    try:
        yield directory
    finally:
        run("umount", directory)


def test_a_device_arrives_whole_and_a_second_time_only_what_was_written_goes(dwcp: Callable[..., Done], host: Host, loop: Loop) -> None:
    done = dwcp("send", str(loop.path), *host.to("device/disk"))
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["bytes"], report["source"], report["source_stable"]) == (SIZE, "device", True)
    assert report["zero_bytes"] == SIZE // 2
    assert (host.store / "device/disk").read_bytes() == loop.file.read_bytes()
    loop.write(0, b"written")
    again = json.loads(dwcp("send", str(loop.path), *host.to("device/disk")).stdout)
    assert (again["sent_bytes"], again["same_bytes"]) == (4096, SIZE - 4096)
    assert (host.store / "device/disk").read_bytes()[:7] == b"written"


def test_a_device_that_is_written_to_while_it_is_sent_is_not_committed(
    dwcp: Callable[..., Done], host: Host, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk, written = DeviceSource.chunk, []

    def disturbed(self: DeviceSource, offset: int, length: int) -> bytes:
        if not written:
            written.append(loop.write(SIZE - 4096, b"x" * 4096))
        return chunk(self, offset, length)

    monkeypatch.setattr(DeviceSource, "chunk", disturbed)
    done = dwcp("send", str(loop.path), *host.to("device/torn"))
    assert written and done.returncode == 4 and "was changed while it was sent" in done.stderr and one_sentence(done.stderr)
    assert not (host.store / "device/torn").exists()


def test_a_device_is_known_by_what_was_written_to_it(loop: Loop) -> None:
    def version() -> list[object] | None:
        source = DeviceSource(loop.path)
        try:
            assert not source.changed()
            source.chunk(0, 1 << 20)
            assert not source.changed()
            return source.version
        finally:
            source.close()

    first = version()
    assert first is not None and version() == first
    loop.write(0, b"x")
    assert version() != first


def test_a_mounted_device_needs_the_operators_word_and_no_stale_page_is_sent(
    dwcp: Callable[..., Done], host: Host, loop: Loop, mounted: Path
) -> None:
    done = dwcp("send", str(loop.path), *host.to("device/mounted"))
    assert done.returncode == 2 and "in use" in done.stderr and "--quiescent" in done.stderr and one_sentence(done.stderr)
    for content in (b"1", b"2"):
        # The file system writes past the cache that the first run's reading left.
        with (mounted / "file").open("wb") as file:
            file.write(content * (4 << 20))
        run("sync", "-f", mounted)
        sent = dwcp("send", str(loop.path), *host.to("device/mounted"), "--quiescent")
        assert sent.returncode == 0, sent.stderr
        assert json.loads(sent.stdout)["source_stable"] is True
        assert (host.store / "device/mounted").read_bytes() == loop.file.read_bytes()


def test_nobody_takes_a_device_into_use_while_it_is_sent(loop: Loop) -> None:
    source = open_source(loop.path)
    try:
        with pytest.raises(BadInput, match="in use"):
            open_source(loop.path)
        open_source(loop.path, quiescent=True).close()
    finally:
        source.close()
    open_source(loop.path).close()


def test_a_device_whose_writes_are_not_counted_is_sent_on_the_operators_word_and_the_report_says_so(
    dwcp: Callable[..., Done], host: Host, loop: Loop
) -> None:
    loop.set("queue/iostats", "0")
    try:
        done = dwcp("send", str(loop.path), *host.to("device/uncounted"))
        assert done.returncode == 2 and "not counted" in done.stderr and "--quiescent" in done.stderr and one_sentence(done.stderr)
        sent = dwcp("send", str(loop.path), *host.to("device/uncounted"), "--quiescent")
        assert sent.returncode == 0, sent.stderr
        assert json.loads(sent.stdout)["source_stable"] is False
    finally:
        loop.set("queue/iostats", "1")


def test_a_device_without_content_is_refused(tmp_path: Path, loop: Loop) -> None:
    (tmp_path / "nothing").touch()
    empty = Path(run("losetup", "-f", "--show", tmp_path / "nothing"))
    try:
        with pytest.raises(BadInput, match="its size is 0"):
            open_source(empty)
    finally:
        run("losetup", "-d", empty)
