"""A guest's memory as the benchmarks of the data path move it: made by seed, the same bytes on every machine.

    .venv/bin/python benchmarks/memory_image.py FILE [--size MIB]

No memory of a real machine can be committed, so this is a model of one: kinds of pages that are known to be in every guest, in shares that
are ours. What published studies say of it, and no more than that, stands behind two of the shares:

- Zero pages are a large part of the memory of idle and moderately used guests (Gupta et al., "Difference Engine", OSDI 2008; Wood et al.,
  "Memory Buddies", VEE 2009). Here a fifth. They are not counted where a ratio is given.
- Pages that are equal to another one and not zero are below 15 % of memory, nearly all of them within one machine (Barker et al., "An
  Empirical Study of Memory Sharing in Virtual Machines", USENIX ATC 2012). Here 5 %, and 2 % more that differ from another page in a few
  words, as Difference Engine finds pages to do.

The rest (cached files, kernel objects, heaps, stacks) is divided as seemed fair for a server with a runtime or two. Extents are short, as a
buddy allocator that has run for a while leaves them; copies stand anywhere. One real guest's figures beside this one's are in
``docs/benchmarks.md``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.memory_pages import KINDS, PAGE, Draw

__all__ = ["DIGEST", "FULL_MIB", "SHARES", "layout", "memory_image", "without_zeros"]

FULL_MIB = 512
DIGEST = "32ea4ada8b0b51ab4d635cfc651652af3dbf5ba787ca3169982efe432b9b9fdc"
"""SHA-256 of the image of ``FULL_MIB``."""
SHARES = {
    **{"zero": 200, "text": 190, "code": 220, "packed": 50, "page_tables": 10, "slab": 80, "heap": 70},
    **{"managed": 60, "stacks": 30, "numbers": 20, "copies": 50, "near": 20},
}
"""In thousandths of all pages."""
_MEAN_EXTENT = 16
_SEED = 20261125


def layout(pages: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The kind of each page, as its number in ``SHARES``; extents of 1 to twice ``_MEAN_EXTENT`` pages."""
    draw = Draw(_SEED, 0)
    kinds = np.repeat(np.arange(len(SHARES)), [-(-pages * share // 1000) for share in SHARES.values()])[:pages]
    lengths = draw.below(2 * _MEAN_EXTENT, pages).astype(np.int64) + 1
    ends = np.cumsum(lengths)
    extents = int(np.searchsorted(ends, pages)) + 1
    # Pages of a kind, in order, cut into extents; extents then shuffled by random keys.
    keys = np.repeat(draw.raw(extents), lengths[:extents])[:pages]
    return kinds[np.argsort(keys, kind="stable")]


def memory_image(path: Path, size: int) -> None:
    """Writes an image of ``size`` bytes, whole pages."""
    pages = size // PAGE
    kinds = layout(pages)
    memory = np.zeros((pages, PAGE), dtype=np.uint8)
    names = list(SHARES)
    for number, name in enumerate(names):
        at = np.flatnonzero(kinds == number)
        if name in KINDS and len(at):
            memory[at] = KINDS[name](Draw(_SEED, 1, number), at)
    draw = Draw(_SEED, 2)
    own = np.flatnonzero(np.isin(kinds, [names.index(name) for name in KINDS]))
    for name in ("copies", "near"):
        at = np.flatnonzero(kinds == names.index(name))
        memory[at] = memory[own[draw.below(len(own), len(at)).astype(np.int64)]]
    # A few words of each near copy are others: what ran on after a fork, an older version of a file.
    rows = np.repeat(np.flatnonzero(kinds == names.index("near")), 12)
    words = memory.view("<u8")
    words[rows, draw.below(PAGE // 8, len(rows)).astype(np.int64)] = draw.raw(len(rows)) >> np.uint64(24)
    memory.tofile(path)


def without_zeros(image: Path, path: Path) -> int:
    """Writes the image's pages that are not zero, in order; returns their bytes."""
    pages = np.fromfile(image, dtype=np.uint8).reshape(-1, PAGE)
    kept = pages[pages.any(axis=1)]
    kept.tofile(path)
    return int(kept.nbytes)


def main() -> int:
    """Writes an image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--size", type=int, default=FULL_MIB, help="in MiB")
    options = parser.parse_args()
    memory_image(options.file, options.size << 20)
    return 0


if __name__ == "__main__":
    sys.exit(main())
