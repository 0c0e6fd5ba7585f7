"""Disk images that the benchmarks of the data path move: a real file system, and versions of it.

The file system is ext4 and holds what this machine has in ``/usr``, up to a size, so it is another one on another machine; within a run
everything that is measured moves the same bytes. The versions are made from it by rule and seed.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import PeerMissing

__all__ = ["changed_at_random", "changed_realistically", "file_system", "random_file"]

BLOCK = 4096
_FULL = 0.9


def file_system(path: Path, size: int, place: Path) -> None:
    """An ext4 file system of ``size`` bytes, nine tenths full of files from ``/usr``. Raises PeerMissing without mkfs.ext4."""
    if shutil.which("mkfs.ext4") is None:
        raise PeerMissing("mkfs.ext4 is not installed: apt-get install e2fsprogs.")
    tree = place / "tree"
    room = int(size * _FULL)
    for file in _files(Path("/usr")):
        length = file.stat().st_size
        if length + 2 * BLOCK > room:
            continue
        room -= length + BLOCK
        to = tree / file.relative_to("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, to)
        if room < 1 << 20:
            break
    with path.open("wb") as made:
        made.truncate(size)
    done = subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-d", str(tree), str(path)], capture_output=True, text=True, check=False)
    shutil.rmtree(tree)
    if done.returncode:
        raise SystemExit(f"mkfs.ext4: {done.stderr.strip()}")


def _files(root: Path) -> Iterator[Path]:
    """Files below ``root``, in an order that is the same every time and mixes big and small."""
    found = []
    for directory, _, names in os.walk(root):
        found += [Path(directory, name) for name in names]
    for file in sorted(found, key=lambda file: hash_of(str(file))):
        if file.is_file() and not file.is_symlink():
            yield file


def hash_of(text: str) -> int:
    """The same in every process, unlike ``hash``."""
    value = 0xCBF29CE484222325
    for byte in text.encode(errors="surrogateescape"):
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def changed_realistically(old: Path, new: Path, share: float = 0.03, seed: int = 7) -> int:
    """A version in which ``share`` of the blocks of 4 KiB differ, in clusters of eight on average; returns how many bytes were touched.

    Of the clusters, six tenths are edited in place (one to five runs of up to 200 bytes a block, as databases and logs are), a quarter are
    blocks that stood elsewhere (files that were written again), the rest is text that was nowhere.
    """
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    shutil.copyfile(old, new)
    size = old.stat().st_size
    blocks, touched = size // BLOCK, 0
    text = _text(draw)
    with old.open("rb") as before, new.open("r+b") as after:
        while touched < share * size:
            length = min(1 + int(draw.expovariate(1 / 7)), 256)
            at = draw.randrange(blocks - length) * BLOCK
            kind = draw.random()
            if kind < 0.6:
                content = bytearray(os.pread(before.fileno(), length * BLOCK, at))
                if not any(content):
                    continue  # free space is not edited
                for block in range(length):
                    for _ in range(draw.randint(1, 5)):
                        run = draw.randint(4, 200)
                        begin = block * BLOCK + draw.randrange(BLOCK - run)
                        content[begin : begin + run] = draw.randbytes(run)
            elif kind < 0.85:
                content = bytearray(os.pread(before.fileno(), length * BLOCK, draw.randrange(blocks - length) * BLOCK))
            else:
                content = bytearray(b"".join(next(text) for _ in range(length)))
            os.pwrite(after.fileno(), content, at)
            touched += length * BLOCK
    return touched


def changed_at_random(old: Path, new: Path, share: float = 0.05, seed: int = 9) -> int:
    """A version in which ``share`` of the blocks of 4 KiB, anywhere, are random bytes; returns how many bytes those are."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    shutil.copyfile(old, new)
    blocks = old.stat().st_size // BLOCK
    chosen = draw.sample(range(blocks), int(share * blocks))
    with new.open("r+b") as after:
        for block in chosen:
            os.pwrite(after.fileno(), draw.randbytes(BLOCK), block * BLOCK)
    return len(chosen) * BLOCK


def random_file(path: Path, size: int) -> None:
    """``size`` bytes that nothing shrinks."""
    with path.open("wb") as made:
        for offset in range(0, size, 1 << 24):
            made.write(os.urandom(min(1 << 24, size - offset)))


def _text(draw: random.Random) -> Iterator[bytes]:
    """Blocks of log lines, no two alike."""
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(3, 10))) for _ in range(2000)]
    while True:
        lines = b""
        while len(lines) < BLOCK:
            stamp = f"2026-11-{draw.randint(1, 28):02d}T{draw.randint(0, 23):02d}:{draw.randint(0, 59):02d}:{draw.randint(0, 59):02d}Z"
            said = " ".join(draw.choices(words, k=draw.randint(4, 14)))
            lines += f"{stamp} host-{draw.randint(1, 99)} {said} pid={draw.randint(1, 65535)}\n".encode()
        yield lines[:BLOCK]
