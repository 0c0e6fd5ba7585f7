"""The memory image of the benchmark: the same bytes everywhere, with the mix that it says; and the row says what was asked."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from benchmarks.memory import made_of
from benchmarks.memory_image import SHARES, layout, memory_image, without_zeros
from benchmarks.memory_pages import KINDS, PAGE, Draw

MIB = 1 << 20
SMALL_DIGEST = "3cd7fbd506e3eed074986049103e02ca91d807a4cd9c99cb2d1a3d631a716e3d"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("memory") / "image"
    memory_image(path, 8 * MIB)
    return path


def test_the_same_bytes_come_out_on_every_machine(image: Path) -> None:
    assert image.stat().st_size == 8 * MIB
    assert hashlib.sha256(image.read_bytes()).hexdigest() == SMALL_DIGEST


def test_kinds_have_their_shares() -> None:
    counts = np.bincount(layout(20_000), minlength=len(SHARES))
    assert sum(SHARES.values()) == 1000
    for found, share in zip(counts, SHARES.values(), strict=True):
        assert abs(found / 20_000 - share / 1000) < 0.002


def test_zero_and_equal_pages_are_as_many_as_said(image: Path, tmp_path: Path) -> None:
    counted = without_zeros(image, tmp_path / "dense")
    pages = np.fromfile(tmp_path / "dense", dtype=np.uint8).reshape(-1, PAGE)
    assert pages.any(axis=1).all()
    assert counted == pages.nbytes
    assert counted / (8 * MIB) == pytest.approx(1 - SHARES["zero"] / 1000, abs=0.01)
    different = len({page.tobytes() for page in pages})
    assert 1 - different / len(pages) == pytest.approx(SHARES["copies"] / (1000 - SHARES["zero"]), abs=0.01)


def test_near_copies_differ_from_another_page_in_a_few_words(image: Path) -> None:
    words = np.fromfile(image, dtype="<u8").reshape(-1, PAGE // 8)
    kinds = layout(len(words))
    own = words[np.isin(kinds, [list(SHARES).index(name) for name in KINDS])]
    for page in words[kinds == list(SHARES).index("near")][:5]:
        assert 0 < (own != page).sum(axis=1).min() <= 12


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_fills_the_pages_it_is_given(kind: str) -> None:
    made = KINDS[kind](Draw(1), np.array([3, 4, 9]))
    assert made.shape == (3, PAGE)
    assert made.any(axis=1).all()


@pytest.mark.parametrize(("ratio", "cpu_s", "ok"), [(2.0, 900.0, True), (1.97, 9.9, True), (1.97, 10.1, False), (1.95, 1.0, False)])
def test_the_row_is_met_near_the_peer_at_a_tenth_of_its_time_or_ahead_of_it(ratio: float, cpu_s: float, ok: bool) -> None:
    rows = made_of([(ratio, cpu_s)], [(2.0, 100.0)], 512, [15])
    assert rows[0]["ok"] is ok
    assert "3.2x was claimed" in rows[0]["note"]
    assert rows[1]["samples_ours"] == [cpu_s]
