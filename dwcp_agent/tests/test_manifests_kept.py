"""Kept manifests are bounded in number and bytes, and those that were used last stay."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dwcp_agent.encoding.manifest import HASH_BYTES, Manifest
from dwcp_agent.store import manifests
from dwcp_agent.store.manifests import load_manifest, purge_manifests, save_manifest


class Kept:
    """A directory of manifests, of files that all have the same content."""

    def __init__(self, place: Path) -> None:
        (place / "kept").mkdir()
        (place / "content").write_bytes(b"x")
        self.place = place / "kept"
        self.directory = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        self.content = os.open(place / "content", os.O_RDONLY)
        self.manifest = Manifest(1, bytes(HASH_BYTES))
        self._now = 1_000

    def save(self, name: str) -> None:
        save_manifest(self.directory, name, self.content, self.manifest)
        self._age(name)

    def load(self, name: str) -> bool:
        found = load_manifest(self.directory, name, self.content)
        if found is not None:
            self._age(name)
        return found is not None

    def _age(self, name: str) -> None:
        """Later than all before it, also where a file system's clock ticks slowly; earlier than now, so that what is not aged shows."""
        self._now += 1
        path = manifests._key(name)
        assert os.stat(path, dir_fd=self.directory).st_mtime > 1e9, "it was not marked as used"
        os.utime(path, (self._now, self._now), dir_fd=self.directory)

    def names(self) -> int:
        return sum(1 for _ in self.place.iterdir())


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    yield made
    os.close(made.directory)
    os.close(made.content)


def test_what_was_used_longest_ago_goes_first(kept: Kept) -> None:
    for name in "abcd":
        kept.save(name)
    assert kept.load("a")
    assert purge_manifests(kept.directory, most_files=2) == 2
    assert [name for name in "abcd" if kept.load(name)] == ["a", "d"]


def test_bytes_are_bounded_too_and_the_last_one_stays(kept: Kept) -> None:
    for name in "abc":
        kept.save(name)
    size = os.stat(manifests._key("a"), dir_fd=kept.directory).st_size
    assert purge_manifests(kept.directory, most_bytes=2 * size) == 1
    assert [name for name in "abc" if kept.load(name)] == ["b", "c"]
    assert purge_manifests(kept.directory, most_bytes=1) == 1 and kept.load("c")


def test_one_that_is_too_large_goes_and_older_small_ones_stay(kept: Kept) -> None:
    kept.save("small")
    kept.manifest = Manifest(1 << 30, bytes(HASH_BYTES * (1 << 14)))
    kept.save("large")
    kept.manifest = Manifest(1, bytes(HASH_BYTES))
    kept.save("last")
    assert purge_manifests(kept.directory, most_bytes=10_000) == 1
    assert [name for name in ("small", "last") if kept.load(name)] == ["small", "last"]


def test_saving_keeps_to_the_bounds(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge_manifests, "__defaults__", (50, 10_000_000))
    monkeypatch.setattr(manifests, "_PURGE_FILES", 20)
    most = 0
    for number in range(300):
        kept.save(str(number))
        most = max(most, kept.names())
    assert 50 <= most <= 50 + 20 + 1
    assert kept.load("299") and not kept.load("0")


def test_a_process_looks_at_what_others_left_with_its_first_one(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender keeps one each time it is run."""
    monkeypatch.setattr(purge_manifests, "__defaults__", (5, 10_000_000))
    for number in range(12):
        manifests._saved.clear()
        kept.save(str(number))
        assert kept.names() <= 5


def test_bytes_that_were_saved_make_it_look_too(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge_manifests, "__defaults__", (1000, 3_000))
    monkeypatch.setattr(manifests, "_PURGE_BYTES", 3_000)
    for number in range(100):
        kept.save(str(number))
    assert kept.names() * 200 <= 2 * 3_000 + 1_000
