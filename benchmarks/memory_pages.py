"""What stands in a guest's pages, kind by kind: the content of a memory image, made by seed and by integers alone.

Every function fills whole pages (rows of 4,096 bytes) for the page numbers that it is given; pointers point to where things then stand. The
bit generator's raw stream, which numpy keeps the same from version to version, is the only source of chance, and no floating point is
used, so that the bytes are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["KINDS", "PAGE", "Draw", "Pages"]

PAGE = 4096
_WORDS = PAGE // 8
_DIRECT_MAP = 0xFFFF888000000000  # x86-64, Documentation/arch/x86/x86_64/mm.rst
_KERNEL_TEXT = 0xFFFFFFFF81000000
_HEAP = 0x0000558A3C000000
_LIBRARIES = 0x00007F3A10000000
_STACK = 0x00007FFD5E000000

Pages = np.ndarray[Any, np.dtype[np.uint8]]
Numbers = np.ndarray[Any, np.dtype[np.uint64]]
Indices = np.ndarray[Any, np.dtype[np.int64]]


class Draw:
    """Numbers by seed."""

    def __init__(self, *seed: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(list(seed)))

    def raw(self, count: int) -> Numbers:
        """``count`` numbers of 64 bits."""
        return self._bits.random_raw(count).astype(np.uint64)

    def below(self, limit: int, count: int) -> Numbers:
        """``count`` numbers from 0 to ``limit`` - 1, which has 32 bits at most."""
        return ((self.raw(count) >> np.uint64(32)) * np.uint64(limit)) >> np.uint64(32)

    def often_low(self, limit: int, count: int) -> Indices:
        """``count`` numbers below ``limit``, number k about as often as 1 / (k + 1): as words, types and call targets are used."""
        weights = (1 << 40) // (np.arange(limit, dtype=np.int64) + 2)
        bounds = np.cumsum(weights)
        drawn = self.raw(count) % np.uint64(bounds[-1])
        return np.searchsorted(bounds, drawn.astype(np.int64), side="right")


class Table:
    """Byte strings of different length that are strung together by number."""

    def __init__(self, entries: list[bytes]) -> None:
        self.lengths = np.array([len(entry) for entry in entries], dtype=np.int64)
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        self._bytes = np.frombuffer(b"".join(entries), dtype=np.uint8)

    def strung(self, ids: Indices) -> Pages:
        """The entries of ``ids``, one after the other."""
        lengths = self.lengths[ids]
        begins = np.cumsum(lengths) - lengths
        at = np.repeat(self._starts[ids] - begins, lengths) + np.arange(int(lengths.sum()), dtype=np.int64)
        return self._bytes[at]

    def filling(self, choose: Callable[[int], Indices], size: int) -> Pages:
        """``size`` bytes of entries that ``choose`` draws."""
        parts, made = [], 0
        while made < size:
            parts.append(self.strung(choose(1 << 18)))
            made += len(parts[-1])
        return np.concatenate(parts)[:size]


def _words_of_language(draw: Draw, count: int) -> list[bytes]:
    letters = b"etaoinshrdlucmfwypvbgkjqxz"
    lengths = draw.below(8, count) + np.uint64(2)
    return [bytes(letters[index] for index in draw.often_low(26, int(length))) for length in lengths]


def text(draw: Draw, at: Indices) -> Pages:
    """Cached text: logs, source, JSON and prose, of phrases that come again and of numbers that do not."""
    words = _words_of_language(draw, 6000)
    phrases = [b" ".join(words[index] for index in draw.often_low(6000, 2 + number % 7)) for number in range(3000)]
    marks = [b" ", b" ", b" ", b", ", b"\n", b"\n    ", b" = ", b"(", b");\n", b'": "', b'",\n  "', b".", b"_", b": "]
    numbers = [str(int(number)).encode() for number in draw.below(100_000, 6000)]
    hexadecimal = [f"{int(number) >> 24:010x}".encode() for number in draw.raw(20_000)]
    stamps = [f"2026-03-{1 + n // 1440:02d}T{n // 60 % 24:02d}:{n % 60:02d}:".encode() for n in range(4000)]
    groups = [words, phrases, marks, numbers, hexadecimal, stamps]
    begins = np.concatenate([[0], np.cumsum([len(group) for group in groups])])
    table = Table([entry for group in groups for entry in group])
    often = np.repeat(np.arange(6), [42, 8, 0, 8, 2, 2])

    def choose(count: int) -> Indices:
        ids = np.empty(count, dtype=np.int64)
        ids[1::2] = begins[2] + draw.often_low(len(marks), count // 2)
        which = often[draw.below(len(often), count - count // 2).astype(np.int64)]
        for group in (0, 1, 3, 4, 5):
            mine = which == group
            ids[0::2][mine] = begins[group] + draw.often_low(len(groups[group]), int(mine.sum()))
        return ids

    return table.filling(choose, len(at) * PAGE).reshape(-1, PAGE)


def code(draw: Draw, at: Indices) -> Pages:
    """Cached programs: instructions (an opcode out of few, an operand out of many), and functions that come again."""
    opcodes = [bytes(draw.below(256, 1 + number % 3).astype(np.uint8)) for number in range(400)]
    small = [bytes([int(number)]) for number in draw.below(256, 256)]
    offsets = [int(number).to_bytes(4, "little") for number in draw.below(4096, 3000)]
    calls = [(int(number) | 0xFF000000 * (int(number) & 1)).to_bytes(4, "little") for number in draw.below(1 << 22, 60_000)]
    groups = [opcodes, [b""], small, offsets, calls]
    begins = np.concatenate([[0], np.cumsum([len(group) for group in groups])])
    often = np.repeat(np.arange(5), [0, 34, 34, 14, 18])

    def choose(count: int) -> Indices:
        ids = np.empty(count, dtype=np.int64)
        ids[0::2] = draw.often_low(len(opcodes), count - count // 2)
        which = often[draw.below(len(often), count // 2).astype(np.int64)]
        for group in (1, 2, 3, 4):
            mine = which == group
            ids[1::2][mine] = begins[group] + draw.often_low(len(groups[group]), int(mine.sum()))
        return ids

    plain = Table([entry for group in groups for entry in group])
    idioms = [bytes(plain.strung(choose(8 + 2 * (number % 20)))) for number in range(2000)]
    whole = Table([entry for group in groups for entry in group] + idioms)

    def choose_with_idioms(count: int) -> Indices:
        ids = choose(count)
        again = np.flatnonzero(draw.below(25, count) == 0)
        ids[again] = begins[-1] + draw.often_low(len(idioms), len(again))
        return ids

    return whole.filling(choose_with_idioms, len(at) * PAGE).reshape(-1, PAGE)


def packed(draw: Draw, at: Indices) -> Pages:
    """What is compressed or encrypted already."""
    return draw.raw(len(at) * _WORDS).astype("<u8").view(np.uint8).reshape(-1, PAGE)


def page_tables(draw: Draw, at: Indices) -> Pages:
    """Entries of 8 bytes, in runs: frames that follow one another for a while, and the flags of a user's or the kernel's page."""
    count = len(at) * _WORDS
    jumps = draw.below(3, count) == 0
    steps = np.where(jumps, draw.below(1 << 17, count), np.uint64(1))
    frames = np.cumsum(steps, dtype=np.uint64) % np.uint64(1 << 18)
    flags = np.array([0x8000000000000067, 0x25, 0x8000000000000025, 0x8000000000000063], dtype=np.uint64)
    run = np.repeat(draw.often_low(4, -(-count // 16)), 16)[:count]
    entries = (frames << np.uint64(12)) | flags[run]
    entries[np.repeat(draw.below(5, -(-count // 8)) < 2, 8)[:count]] = 0
    return entries.astype("<u8").view(np.uint8).reshape(-1, PAGE)


# What a word of an object is. The first group is drawn for each object, the rest is the same in all of a type.
ZERO, SMALL, NEAR, FAR, TYPE, HASH, LETTERS, SELF, COUNTER, HALVES, FLAGS = range(11)


class Objects:
    """Pages of objects of several types, each a row of words of some meaning."""

    def __init__(self, draw: Draw, types: int, lengths: list[int], meanings: list[int], base: int, code_base: int) -> None:
        self._draw, self._base, self._code_base = draw, base, code_base
        sizes = [lengths[int(index)] for index in draw.below(len(lengths), types)]
        first = TYPE if code_base else FLAGS
        rows = [[first, *(meanings[int(index)] for index in draw.below(len(meanings), size - 1))] for size in sizes]
        self._table = Table([bytes(row) for row in rows])
        self._types = types
        constants = draw.raw(int(self._table.lengths.sum()))
        self._constants = constants % np.uint64(1 << 12)
        self._targets = draw.below(1 << 22, 400) << np.uint64(3)
        self._known = draw.below(1 << 23, 1 << 12) << np.uint64(5)

    def fill(self, at: Indices, run: int) -> Pages:
        """Pages whose objects come in runs of one type, of ``run`` on average."""
        draw, count = self._draw, len(at) * _WORDS
        short = -(-count // int(self._table.lengths.min()))
        ids = np.repeat(draw.often_low(self._types, -(-short // run)), run)[:short]
        lengths = self._table.lengths[ids]
        number = np.repeat(np.arange(short), lengths)[:count]
        meaning = self._table.strung(ids)[:count]
        place = np.repeat(at.astype(np.uint64), _WORDS) * np.uint64(PAGE) + np.tile(
            np.arange(_WORDS, dtype=np.uint64) * np.uint64(8), len(at)
        )
        words = np.zeros(count, dtype=np.uint64)
        base, letters = np.uint64(self._base), Table(_words_of_language(draw, 3000))
        string = letters.filling(lambda wanted: draw.often_low(3000, wanted), 8 * count).view("<u8")
        for what in range(1, 11):
            mine = meaning == what
            n = int(mine.sum())
            if what == SMALL:
                words[mine] = draw.often_low(2000, n).astype(np.uint64)
            elif what == NEAR:
                shift = draw.often_low(1 << 9, n).astype(np.uint64) << np.uint64(5)
                words[mine] = base + (place[mine] & ~np.uint64(31)) - shift
            elif what == FAR:
                words[mine] = base + self._known[draw.often_low(len(self._known), n)]
            elif what == TYPE:
                words[mine] = np.uint64(self._code_base) + self._targets[ids[number[mine]] % 400]
            elif what == HASH:
                words[mine] = draw.raw(n) >> np.uint64(32)
            elif what == LETTERS:
                words[mine] = string[:count][mine]
            elif what == SELF:
                words[mine] = base + place[mine]
            elif what == COUNTER:
                words[mine] = np.uint64(0x6A00_0000) + number[mine].astype(np.uint64) * np.uint64(3)
            elif what == HALVES:
                words[mine] = (draw.below(1 << 20, n) << np.uint64(35)) | draw.often_low(500, n).astype(np.uint64)
            elif what == FLAGS:
                words[mine] = np.uint64(1) + self._constants[ids[number[mine]]]
        return words.astype("<u8").view(np.uint8).reshape(-1, PAGE)


def slab(draw: Draw, at: Indices) -> Pages:
    """The kernel's objects: lists that point to themselves or neighbours, tables of functions, counters, flags, short names."""
    meanings = [ZERO] * 20 + [SMALL] * 3 + [NEAR] * 4 + [FAR] * 2 + [TYPE] * 2 + [SELF] * 3 + [HASH] + [LETTERS] + [COUNTER] + [FLAGS] * 3
    return Objects(draw, 60, [8, 16, 24, 32, 64, 128], meanings, _DIRECT_MAP, _KERNEL_TEXT).fill(at, 64)


def heap(draw: Draw, at: Indices) -> Pages:
    """malloc's: a size, then pointers, small numbers, strings, in types that alternate."""
    meanings = [ZERO] * 9 + [SMALL] * 6 + [NEAR] * 4 + [FAR] * 2 + [LETTERS] * 4 + [HASH] + [FLAGS] * 2 + [COUNTER]
    return Objects(draw, 120, [4, 4, 6, 8, 8, 12, 18, 34], meanings, _HEAP, 0).fill(at, 3)


def managed(draw: Draw, at: Indices) -> Pages:
    """A runtime's objects: a type, a count or mark, references of 64 bits (Python) or two of 32 in a word (a JVM)."""
    meanings = [SMALL] * 6 + [NEAR] * 6 + [FAR] * 2 + [HALVES] * 3 + [ZERO] * 5 + [LETTERS] * 2 + [HASH]
    return Objects(draw, 80, [2, 3, 3, 4, 6, 8, 10], meanings, _LIBRARIES, _LIBRARIES).fill(at, 4)


def stacks(draw: Draw, at: Indices) -> Pages:
    """Partly used pages: zeros, then frames of saved registers and return addresses."""
    meanings = [ZERO] * 5 + [SMALL] * 4 + [SELF] * 3 + [TYPE] * 3 + [FAR] * 2 + [HASH]
    made = Objects(draw, 300, [4, 6, 8, 12, 20], meanings, _STACK, _LIBRARIES).fill(at, 1)
    used = draw.below(_WORDS, len(at)) * np.uint64(8)
    made[np.arange(PAGE)[None, :] < used[:, None]] = 0
    return made


def numbers(draw: Draw, at: Indices) -> Pages:
    """Arrays: doubles between 1 and 2 of 20 significant bits or of all 52, and ascending integers of 32 bits, page by page."""
    count = len(at) * _WORDS
    mantissa = draw.raw(count) >> np.uint64(12)
    coarse = np.uint64(0x3FF0000000000000) | (mantissa & ~np.uint64((1 << 32) - 1))
    fine = np.uint64(0x3FF0000000000000) | mantissa
    steps = np.cumsum(draw.below(9, 2 * count), dtype=np.uint64).astype("<u4").view("<u8")
    kind = np.repeat(draw.below(3, len(at)), _WORDS)
    return np.choose(kind.astype(np.int64), [coarse, fine, steps]).astype("<u8").view(np.uint8).reshape(-1, PAGE)


KINDS: dict[str, Callable[[Draw, Indices], Pages]] = {
    **{"text": text, "code": code, "packed": packed, "page_tables": page_tables, "slab": slab, "heap": heap},
    **{"managed": managed, "stacks": stacks, "numbers": numbers},
}
"""What has content of its own, by name."""
