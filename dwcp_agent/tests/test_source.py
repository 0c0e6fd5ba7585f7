"""Sources give the same bytes each time, and hold no memory for what was released."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dwcp_agent.encoding.manifest import manifest_of
from dwcp_agent.encoding.moved import MovedPages
from dwcp_agent.phase4.mapped import MappedSource
from dwcp_agent.transport.frame import Flag
from dwcp_agent.transport.source import BytesSource, FileSource, Source
from dwcp_agent.transport.units import UNIT, Baseline, Units

SIZE = 40 * UNIT + 777


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(os.urandom(SIZE))
    return path


def mapped_kib(path: Path) -> int:
    """What of the file this process has mapped and in memory."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    return sum(
        int(next(each for each in lines if each.startswith("Rss:")).split()[1]) for line in lines if line.endswith(f" {path.resolve()}")
    )


@pytest.mark.parametrize("kind", [MappedSource, FileSource])
def test_what_was_released_is_read_again_as_it_was(file: Path, kind: type[Source]) -> None:
    source = kind(file)  # type: ignore[call-arg]
    content = file.read_bytes()
    for _ in range(2):
        for offset in range(0, SIZE, UNIT):
            length = min(UNIT, SIZE - offset)
            view = source.chunk(offset, length)
            assert view == content[offset : offset + length]
            source.release(offset, length)
            assert view == content[offset : offset + length]
            del view
    source.close()


def test_reading_all_of_a_file_leaves_nothing_of_it_mapped(file: Path) -> None:
    source = MappedSource(file)
    assert bytes(source.chunk(0, SIZE)) and mapped_kib(file) >= SIZE // 1024
    manifest = manifest_of(source)
    assert mapped_kib(file) < UNIT // 1024
    units = Units(BytesSource(file.read_bytes()), Baseline(manifest, source))
    units.prepare()
    assert mapped_kib(file) < UNIT // 1024
    assert bytes(source.chunk(3 * UNIT, UNIT)) and mapped_kib(file) >= UNIT // 1024
    units.release(3)
    assert mapped_kib(file) < UNIT // 1024
    source.close()


def test_asking_for_what_lies_ahead_leaves_none_of_it_mapped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[::UNIT] = bytes(255 - byte for byte in content[::UNIT])
    source = MappedSource(file)
    asked: list[tuple[int, int]] = []

    def pages(runs: list[tuple[int, int]]) -> dict[int, bytes]:
        asked.extend(runs)
        return {}

    units = Units(source, Baseline(manifest_of(BytesSource(bytes(content))), pages=pages))
    assert list(units.parts(0, 1, lambda chunk: (Flag.RAW, chunk)))
    assert len(asked) == 41
    units.release(0)
    assert mapped_kib(file) < UNIT // 1024
    source.close()


def test_an_index_of_a_source_that_cannot_release_is_the_same(file: Path) -> None:
    content = file.read_bytes()
    source = MappedSource(file)
    with_release = MovedPages(source.chunk, SIZE, source.release).made()
    assert with_release == MovedPages(lambda offset, length: content[offset : offset + length], SIZE).made()
    source.close()
