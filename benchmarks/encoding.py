"""Bytes that trained dictionaries and rounded numbers save, beside what the agent makes of the same content without them.

    ./inv bench encoding [--json]                       measures, and writes docs/results/encoding.json
    .venv/bin/python benchmarks/encoding.py --table     runs nothing; writes the committed result into docs/benchmarks.md

Content is made by seed (``benchmarks/records.py``), so bytes are the same in every round; only processor time is not. A dictionary is
trained as the agent does it, from 160 puts, and measured on 5,000 others.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zstandard

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import Case, document, measured, now, rewrite
from benchmarks.programs import built
from benchmarks.records import SERIES, puts, series
from golive.environment import ROOT

RESULT = ROOT / "docs/results/encoding.json"
MEASURED = 5000
HEADER = 36
VALUES = 1 << 20
SPEED_BYTES = 64 << 20


class Agent:
    """The parts of the agent that are measured, as built from this tree."""

    def __init__(self, place: Path) -> None:
        sys.path.insert(0, str(built(place)))
        self.trained = importlib.import_module("dwcp_agent.encoding.trained")
        self.entries = importlib.import_module("dwcp_agent.transport.entries")
        self.training = importlib.import_module("dwcp_agent.transport.training")
        self.rounding = importlib.import_module("dwcp_agent.encoding.rounding")
        self.chunk = importlib.import_module("dwcp_agent.encoding.chunk")


def dictionaries(agent: Agent) -> Iterator[Case]:
    """Batches with a dictionary beside batches without, and dictionaries of other sizes."""
    encode, entries = agent.trained.encode, agent.entries.encode_entries
    samples = [entries([put]) for put in puts(agent.training.SAMPLES, seed=1)]
    ours = agent.trained.train(samples)
    held = puts(MEASURED, seed=2)

    def batches(size: int) -> list[bytes]:
        return [entries(held[at : at + size]) for at in range(0, MEASURED - size + 1, size)]

    def frames(size: int, dictionary: Any) -> float:
        made = batches(size)
        return sum(HEADER + len(encode(batch, dictionary)[1]) for batch in made) / len(made)

    def taken(size: int, dictionary: Any) -> float:
        made = batches(size)
        for batch in made[:20]:
            encode(batch, dictionary)
        began = time.process_time()
        for batch in made:
            encode(batch, dictionary)
        return (time.process_time() - began) / len(made) * 1e6

    for size in (1, 4, 10, 32, 64, 100, 256, 1000):
        limit = len(batches(size)[0]) > agent.trained.LARGEST_BATCH
        note = "too large for one: the same frame" if limit else ""
        turns = _of(frames, size, ours), _of(frames, size, None)
        yield Case(f"batch-{size}", f"frame of {size} puts", "bytes", "zstd alone", *turns, less=True, note=note)
    for size in (100, 256, 1000):
        forced = lambda size=size: sum(HEADER + len(ours.encode(batch)) for batch in batches(size)) / len(batches(size))  # noqa: E731
        case = f"frame of {size} puts, if a dictionary were used"
        yield Case(f"above-{size}", case, "bytes", "zstd alone", forced, _of(frames, size, None), less=True, note="not done")
    fetched = len(zstandard.ZstdCompressor(level=9).compress(ours.content))
    case, saved = "the dictionary as it is fetched", frames(1, None) - frames(1, ours)
    note = f"as much as {fetched / saved:.0f} single puts save"
    yield Case("dictionary", case, "bytes", "as it is", lambda: fetched, lambda: len(ours.content), less=True, note=note)
    for size in (1, 10, 64):
        yield Case(f"time-{size}", f"encoding {size} puts", "us", "zstd alone", _of(taken, size, ours), _of(taken, size, None), less=True)
    chosen = agent.trained.DICTIONARY_BYTES
    for kib in (4, 8, 32, 64):
        agent.trained.DICTIONARY_BYTES, most = kib << 10, agent.trained.MAX_DICTIONARY_BYTES
        agent.trained.MAX_DICTIONARY_BYTES = 1 << 20
        other = agent.trained.train(samples)
        agent.trained.MAX_DICTIONARY_BYTES, agent.trained.DICTIONARY_BYTES = most, chosen
        for size in (1, 10):
            peer = f"a dictionary of {kib} KiB"
            case = f"frame of {size} puts with a dictionary of {chosen >> 10} KiB"
            yield Case(f"size-{kib}-{size}", case, "bytes", peer, _of(frames, size, ours), _of(frames, size, other), less=True)


def numbers(agent: Agent) -> Iterator[Case]:
    """Series that are rounded beside the same as they are; and how fast rounding is."""
    for code, numeric in (("f", "float32"), ("d", "float64")):
        for kind in SERIES:
            content = series(kind, code, VALUES, seed=3)
            plain = _packed(agent, content)
            for error in (1e-2, 1e-3, 1e-6):
                rounded = bytes(agent.rounding.Rounding(numeric, error, False).rounded(content))
                packed, shuffled = _packed(agent, rounded), _packed(agent, _shuffled(rounded, len(content) // VALUES))
                yield Case(
                    f"{kind}-{numeric}-{error:g}",
                    f"{kind}, {numeric}, error {error:g}",
                    "bytes a number",
                    "as it is",
                    lambda packed=packed: packed / VALUES,
                    lambda plain=plain: plain / VALUES,
                    less=True,
                    note=f"with bytes shuffled it would be {shuffled / VALUES:.2f}",
                )
        large = content * (SPEED_BYTES // len(content))
        for relative in (False, True):
            rounding = agent.rounding.Rounding(numeric, 1e-3, relative)
            case = f"rounding {numeric}, {'relative' if relative else 'absolute'}, with the copy that it is done in"
            turns = _speed(rounding.rounded, large), _speed(bytearray, large)
            yield Case(f"speed-{numeric}-{'relative' if relative else 'absolute'}", case, "GB/s", "the copy alone", *turns)


def _of(measure: Callable[[int, Any], float], size: int, dictionary: Any) -> Callable[[], float]:
    return lambda: measure(size, dictionary)


def _packed(agent: Agent, content: bytes) -> int:
    """Bytes of the frames' payloads, of a MiB each, at the agent's level for near links."""
    return sum(len(agent.chunk.encode_chunk(content[at : at + (1 << 20)])[1]) for at in range(0, len(content), 1 << 20))


def _shuffled(content: bytes, item: int) -> bytes:
    """First bytes of all numbers of a MiB, then second ones, and so on; what the protocol has no flag for."""
    parts = (content[at : at + (1 << 20)] for at in range(0, len(content), 1 << 20))
    return b"".join(part[place::item] for part in parts for place in range(item))


def _speed(work: Callable[[bytes], Any], content: bytes) -> Callable[[], float]:
    def sample() -> float:
        began = time.process_time()
        for at in range(0, len(content), 1 << 20):
            work(content[at : at + (1 << 20)])
        return len(content) / (time.process_time() - began) / 1e9

    return sample


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true", help="run nothing; write the committed result into docs/benchmarks.md")
    options = parser.parse_args()
    if options.table:
        rewrite(RESULT)
        return 0
    started = now()
    with tempfile.TemporaryDirectory(prefix="dwcp-bench-") as directory:
        agent = Agent(Path(directory))
        cases = [*dictionaries(agent), *numbers(agent)]
        rows = measured(cases, options.rounds, lambda line: print(line, file=sys.stderr, flush=True))
    result = document("./inv bench encoding", started, rows)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
