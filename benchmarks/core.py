"""The compiled core beside its peers and beside its own scalar paths.

    ./inv bench core [--json]                        measures, and writes docs/results/core.json
    .venv/bin/python benchmarks/core.py --table      runs nothing; writes the committed result into docs/benchmarks.md

Kernels and queues are measured in C, by programs built here from the agent's sources; what Python users would install instead is measured
from Python, both sides through the same kind of call.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import Case, PeerMissing, document, measured, now, rewrite
from benchmarks.programs import Programs, native_module
from benchmarks.veth import FAR, veth
from golive.environment import ROOT

RESULT = ROOT / "docs/results/core.json"
KIB, MIB = 1 << 10, 1 << 20


def peer(module: str) -> Any:
    """An installed peer. Raises PeerMissing."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise PeerMissing(f"The peer {module} is not installed; run this by `./inv bench core`, which installs it.") from None


def rate(call: Callable[[], object], size: int) -> Callable[[], float]:
    """GB/s of a Python call that works on ``size`` bytes; the best of three rounds of 50 ms."""

    def sample() -> float:
        best = 0.0
        for _ in range(3):
            calls, began = 0, time.perf_counter()
            while (took := time.perf_counter() - began) < 0.05:
                for _ in range(max(1, MIB // size)):
                    call()
                calls += max(1, MIB // size)
            best = max(best, size * calls / took)
        return best / 1e9

    return sample


def checksum(programs: Programs, native: Any, best: str) -> Iterator[Case]:
    """CRC-32C: the best path beside slicing-by-8, ISA-L, and what Python users install."""
    google, wheel = peer("google_crc32c"), peer("crc32c")
    for name, size in (("4 KiB", 4 * KIB), ("64 KiB", 64 * KIB), ("4 MiB", 4 * MIB)):
        ours = programs.kernel("crc32c", best, size)
        yield Case(
            f"crc32c-scalar-{name}",
            f"CRC-32C {name}, {best}",
            "GB/s",
            "slicing by eight",
            ours,
            programs.kernel("crc32c", "scalar", size),
            10,
        )
        yield Case(f"crc32c-isal-{name}", f"CRC-32C {name}, {best}", "GB/s", "ISA-L", ours, programs.kernel("crc32c", "isal", size), 1)
        content = os.urandom(size)
        from_python = rate(lambda content=content: native.crc32c(content), size)
        for title, theirs in (
            ("google-crc32c", lambda content=content: google.value(content)),
            ("crc32c wheel", lambda content=content: wheel.crc32c(content)),
            ("zlib.crc32", lambda content=content: zlib.crc32(content)),
        ):
            yield Case(
                f"crc32c-{title.split()[0]}-{name}", f"CRC-32C {name}, from Python", "GB/s", title, from_python, rate(theirs, size), 1
            )
    dram = 256 * MIB
    yield Case(
        "crc32c-isal-dram",
        f"CRC-32C 256 MiB, {best}",
        "GB/s",
        "ISA-L",
        programs.kernel("crc32c", best, dram),
        programs.kernel("crc32c", "isal", dram),
        1,
    )


def memory(programs: Programs, best: dict[str, str]) -> Iterator[Case]:
    """Exclusive or, and the scans."""
    for name, size, bar in (("256 KiB", 256 * KIB, 2.48), ("256 MiB", 256 * MIB, None)):
        for path in dict.fromkeys(("avx2", best["xor"])):
            note = "" if bar else "from memory there is nothing to gain"
            yield Case(
                f"xor-{path}-{name}",
                f"XOR {name}, {path}",
                "GB/s",
                "64-bit scalar",
                programs.kernel("xor", path, size),
                programs.kernel("xor", "scalar", size),
                bar if path == "avx2" else None,
                note=note,
            )
    for name, size in (("16 KiB", 16 * KIB), ("256 KiB", 256 * KIB)):
        ours = programs.kernel("pagescan", best["pagescan"], size)
        scan = f"zero scan {name}, {best['pagescan']}"
        scalar = programs.kernel("pagescan", "scalar", size)
        yield Case(f"zero-scalar-{name}", scan, "GB/s", "word-wise scalar", ours, scalar, 2.5)
        shifted = programs.kernel("pagescan", "memcmp", size)
        yield Case(f"zero-memcmp-{name}", scan, "GB/s", "memcmp with itself, shifted", ours, shifted, 1)
    large = 512 * MIB
    yield Case(
        "zero-dram",
        f"zero scan 512 MiB, {best['pagescan']}",
        "GB/s",
        "reading it (AVX2)",
        programs.kernel("pagescan", best["pagescan"], large),
        programs.kernel("pagescan", "read", large),
        0.8,
    )


def chunker(native: Any, programs: Programs, best: str) -> Iterator[Case]:
    """Content-defined chunks: the vector scan beside the scalar one, and beside PyPI's fastcdc."""
    size = 16 * MIB
    yield Case(
        "chunker-scalar",
        f"chunks of 64 KiB, 16 MiB, {best}",
        "GB/s",
        "scalar",
        programs.kernel("chunker", best, size),
        programs.kernel("chunker", "scalar", size),
    )
    fastcdc = peer("fastcdc")
    content = os.urandom(size)
    for average in (8 * KIB, 64 * KIB):
        least, most = average // 4, average * 4

        def theirs(least: int = least, average: int = average, most: int = most) -> object:
            return deque(fastcdc.fastcdc(content, min_size=least, avg_size=average, max_size=most), maxlen=0)

        yield Case(
            f"chunker-fastcdc-{average // KIB}k",
            f"chunks of {average // KIB} KiB, 16 MiB, from Python",
            "GB/s",
            "fastcdc",
            rate(lambda average=average: native.chunk_ends(content, average), size),
            rate(theirs, size),
            1,
        )


def through(make: Callable[[], Any], put: str, get: str, items: int, batch: int) -> Callable[[], float]:
    """Million objects a second from one Python thread to another."""

    def sample() -> float:
        channel = make()
        send, take = getattr(channel, put), getattr(channel, get)

        def produce() -> None:
            if batch == 1:
                for item in range(items):
                    send(item)
            else:
                for at in range(0, items, batch):
                    send(range(at, at + batch))

        thread = Thread(target=produce)
        began = time.perf_counter()
        thread.start()
        if batch == 1:
            for _ in range(items):
                take()
        else:
            left = items
            while left:
                left -= len(take(batch))
        thread.join()
        return items / (time.perf_counter() - began) / 1e6

    return sample


def queues(programs: Programs, native: Any) -> Iterator[Case]:
    """Between threads, in C and from Python."""
    mutex = "mutex queue in C"
    elsewhere = "on such a machine rigtorp's queue reached 153, its ring 512"
    one = programs.queue("queue", 1, 1, 20_000_000, 1)
    yield Case("mpmc-1+1", "MPMC queue 1+1", "M items/s", mutex, one, programs.queue("mutex", 1, 1, 3_000_000, 1), 5, 100, elsewhere)
    bulk = programs.queue("queue", 1, 1, 100_000_000, 32)
    yield Case("mpmc-1+1-bulk", "MPMC queue 1+1, 32 at once", "M items/s", mutex, bulk, programs.queue("mutex", 1, 1, 20_000_000, 32))
    ring = programs.queue("ring", 1, 1, 50_000_000, 1)
    yield Case("spsc", "SPSC ring", "M items/s", mutex, ring, programs.queue("mutex", 1, 1, 3_000_000, 1), None, 300, elsewhere)
    many = programs.queue("queue-wait", 8, 8, 2_000_000, 1)
    yield Case(
        "mpmc-16", "MPMC queue, 16 workers that sleep", "M items/s", mutex, many, programs.queue("mutex", 8, 8, 2_000_000, 1), 1, 1.2
    )
    calm = programs.queue("queue-wait", 8, 8, 2_000_000, 1, per="meetings")
    crowd = programs.queue("mutex", 8, 8, 2_000_000, 1, per="meetings")
    yield Case("mpmc-16-contention", "MPMC queue, 16 workers: items per failed exchange or wait", "items", mutex, calm, crowd, 6.67)
    stack = programs.queue("stack", 8, 8, 2_000_000, 1)
    yield Case("stack-16", "stack, 16 workers", "M items/s", mutex, stack, programs.queue("mutex", 8, 8, 2_000_000, 1))
    python = through(lambda: Queue(4096), "put", "get", 50_000, 1)
    single = through(lambda: native.Queue(4096), "push", "pop", 200_000, 1)
    yield Case("queue-python", "queue between Python threads", "M items/s", "queue.Queue", single, python, 1)
    batched = through(lambda: native.Queue(4096), "push_many", "pop_many", 1_000_000, 100)
    yield Case("queue-python-batch", "queue between Python threads, 100 at once", "M items/s", "queue.Queue", batched, python, 1)


def zero_copy(programs: Programs, port: int, content: Path) -> Iterator[Case]:
    """A file over a veth pair, by what a second of the sender's processor time moves."""
    unit = "GB per processor second"
    for name, chunk in (("64 KiB", 64 * KIB), ("1 MiB", MIB)):
        peer_of = programs.sends("readsend", FAR, port, content, chunk)
        for way, bar, note in (
            ("by-size", 1.25, "sendfile below 256 KiB, splice from there on"),
            ("sendfile", None, ""),
            ("splice", None, ""),
            ("zerocopy", None, "after 16 copies by the kernel a plain send of mapped pages"),
        ):
            ours = programs.sends(way, FAR, port, content, chunk)
            yield Case(f"zerocopy-{way}-{name}", f"{way} over veth, {name}", unit, "read + send", ours, peer_of, bar, note=note)
    loop = programs.sends("readsend", FAR, port, content, 64 * KIB)
    whole = programs.sends("by-size", FAR, port, content, MIB)
    yield Case("zerocopy-claim", "1 MiB over veth", unit, "read + send, 64 KiB loop", whole, loop, note="the old claim: +50 %")


def together(native: Any, address: str, port: int, size: int, *, batch: bool) -> Callable[[], float]:
    """Thousand messages of ``size`` bytes a second from Python into a TCP connection."""

    def sample() -> float:
        count = 20_000
        messages = [bytes(size)] * 100
        with socket.create_connection((address, port)) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            began = time.perf_counter()
            for _ in range(count // 100):
                if batch:
                    native.send_many(sock, messages)
                else:
                    for message in messages:
                        sock.sendall(message)
            return count / (time.perf_counter() - began) / 1e3

    return sample


def batches(native: Any, port: int) -> Iterator[Case]:
    """A hundred messages together beside one by one, from Python and onto the wire."""
    for name, size, bar in (("64 B", 64, None), ("1 KiB", KIB, 20), ("4 KiB", 4 * KIB, 8.3)):
        ours, theirs = (together(native, FAR, port, size, batch=batch) for batch in (True, False))
        yield Case(f"batch-{name}", f"100 messages of {name} together, veth", "thousand/s", "one by one", ours, theirs, bar)
    batcher_of = importlib.import_module("dwcp_agent.phase4.batch").Batcher
    gathered, alone = (waited(native, batcher_of, port, *how) for how in ((100, 0.0005), (1, 0.0)))
    case = "20,000 messages of 1 KiB a second, 20 each ms, onto veth: p99 from submit to sent"
    yield Case("batch-wait", case, "ms", "one by one", gathered, alone, less=True, most=1)


def waited(native: Any, batcher_of: Any, port: int, most: int, delay_s: float) -> Callable[[], float]:
    """Milliseconds from submit until a message is in the connection, the 99th of a hundred. Messages come in bursts of twenty."""

    def sample() -> float:
        waits: list[float] = []
        message = bytes(KIB)
        with socket.create_connection((FAR, port)) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def work(submitted: list[float]) -> None:
                native.send_many(sock, [message] * len(submitted))
                now = time.perf_counter()
                waits.extend(now - at for at in submitted)

            batcher = batcher_of(work, most=most, delay_s=delay_s)
            due = time.perf_counter()
            for _ in range(1_000):
                time.sleep(max(0.0, due - time.perf_counter()))
                for _ in range(20):
                    batcher.submit(time.perf_counter())
                due += 0.001
            batcher.close()
        said = batcher.statistics()
        if said["items"] != len(waits) or (most > 1 and said["items"] < 2 * said["batches"]):
            raise SystemExit(f"this measures no batches: {said}")
        return sorted(waits)[len(waits) * 99 // 100] * 1000

    return sample


def pools(programs: Programs) -> Iterator[Case]:
    """Buffers from 64 KiB to 4 MiB, two threads, every page touched."""
    what = "pool, 64 KiB to 4 MiB, 2 threads, pages touched"
    ours = programs.pool("pool")
    yield Case("pool-glibc", what, "thousand/s", "glibc malloc", ours, programs.pool("malloc"), 4)
    yield Case("pool-mimalloc", what, "thousand/s", "mimalloc", ours, programs.pool("malloc", "mimalloc"), 1)


def affinity(programs: Programs) -> Iterator[Case]:
    """Two threads that hand items over, each on a CPU of its own, beside the same left to the scheduler."""
    note = "this machine counts no cache misses" if not counts_cache_misses() else ""
    ours, theirs = programs.queue("ring", 1, 1, 100_000_000, 32), programs.queue("ring-free", 1, 1, 100_000_000, 32)
    yield Case("affinity-ring", "SPSC ring, 32 at once, threads pinned", "M items/s", "left to the scheduler", ours, theirs, note=note)


def counts_cache_misses() -> bool:
    """Whether perf is here and its processor lets it count."""
    try:
        done = subprocess.run(["perf", "stat", "-x,", "-e", "cache-misses", "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0 and "<not" not in done.stderr


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="cases whose id begins so, or with any of several, separated by commas")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true", help="run nothing; write the committed result into docs/benchmarks.md")
    options = parser.parse_args()
    if options.table:
        rewrite(RESULT)
        return 0
    started = now()
    with tempfile.TemporaryDirectory(prefix="dwcp-bench-") as directory:
        place = Path(directory)
        native, programs = native_module(place), Programs(place)
        best = native.active()
        content = place / "content"
        content.write_bytes(os.urandom(64 * MIB))
        try:
            with veth() as far, programs.listening(FAR, far) as port:
                every = [
                    *checksum(programs, native, best["crc32c"]),
                    *memory(programs, best),
                    *chunker(native, programs, best["chunker"]),
                    *queues(programs, native),
                    *pools(programs),
                    *zero_copy(programs, port, content),
                    *batches(native, port),
                    *affinity(programs),
                ]
                chosen = [case for case in every if case.id.startswith(tuple(options.only.split(",")))]
                rows = measured(chosen, options.rounds, lambda line: print(line, file=sys.stderr, flush=True))
        except PeerMissing as error:
            print(error)  # who called says it
            return 2
    result = document("./inv bench core", started, rows)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
