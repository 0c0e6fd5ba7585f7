"""One measurement, made on a host: runs there from standard input, prints one JSON object. Standard library only.

The toolkit sends this file's text (`golive.regress.ground`) with a task as its only argument; on the controller it is imported by tests
alone. The same client, of neither release, asks both of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import resource
import shutil
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

Task = dict[str, Any]
Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter

OBJECT_BYTES = 4096
CONNECTING_AT_ONCE = 50
REQUEST_S = 30.0
MIB = 1 << 20


def content(task: Task) -> Task:
    """A file like the memory and disks of a machine: a quarter random, a quarter zero, half records. The seed decides all of it."""
    source, path, size = _random(task), Path(task["path"]), task["mib"] * MIB
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, left = hashlib.sha256(), size
    records = [_record(source) for _ in range(4000)]
    with path.open("wb") as file:
        while left:
            kind = source.randrange(4)
            if kind == 0:
                part = source.randbytes(16384)
            elif kind == 1:
                part = bytes(16384)
            else:
                part = b"".join(source.choices(records, k=160))
            part = part[:left]
            file.write(part)
            digest.update(part)
            left -= len(part)
        if "length_mib" in task:  # the rest is a hole
            file.truncate(task["length_mib"] * MIB)
            for _ in range(task["length_mib"] - task["mib"]):
                digest.update(bytes(MIB))
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _random(task: Task) -> random.Random:
    return random.Random(task["seed"])  # noqa: S311 - the same content for both


def _record(source: random.Random) -> bytes:
    state = source.choice(["running", "paused", "migrating", "stopped"])
    numbers = {"vcpu_ns": source.randrange(10**12), "rss_kib": source.randrange(10**7), "rd_bytes": source.randrange(10**9)}
    return json.dumps({"domain": f"vm-{source.randrange(500)}", "state": state, **numbers}).encode() + b"\n"


def send(task: Task) -> Task:
    """`dwcp send`, as an operator types it; what it said, and the processor seconds of its process."""
    tls = task["tls"]
    words = [*task["program"], "send", task["path"], task["url"], "--ca", tls["ca"], "--cert", tls["cert"], "--key", tls["key"], "--json"]
    return _ran(words, task)


def put(task: Task) -> Task:
    """`dwcp put` of small state."""
    tls, count = task["tls"], task["count"]
    source = _random(task)
    lines = "".join(
        json.dumps({"key": f"{task['prefix']}-{n % task['keys']}", "value": _record(source).decode()}) + "\n" for n in range(count)
    )
    words = [*task["program"], "put", task["url"], "--from", "-", "--ca", tls["ca"], "--cert", tls["cert"], "--key", tls["key"], "--json"]
    return _ran(words, task, lines)


def _ran(words: list[str], task: Task, given: str | None = None) -> Task:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    try:
        done = subprocess.run(
            words,
            env={**os.environ, **task.get("environment", {})},
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            timeout=task.get("limit_s", 120),
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:300]}
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"told": json.loads(done.stdout), "wall_s": time.monotonic() - began, "cpu_s": cpu}


def usage(task: Task) -> Task:
    """Processor seconds of a process until now, and the most memory it held since it was last asked with ``clear``: proc(5)."""
    pid = task.get("pid") or _pid_of(task["unit"])
    if task.get("clear"):
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    return {"pid": pid, "cpu_s": (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), "peak_kib": peak}


def _pid_of(unit: str) -> int:
    done = subprocess.run(["systemctl", "show", "--property=MainPID", "--value", unit], capture_output=True, text=True, check=False)
    pid = int(done.stdout.strip() or 0)
    if not pid:
        raise ValueError(f"{unit} does not run")
    return pid


def remove(task: Task) -> Task:
    """Directories of measurements are gone; nothing else is ever removed."""
    for name in task["paths"]:
        path = Path(name)
        if not path.name.startswith("regress-"):
            raise ValueError(f"{path} is not one of a measurement")
        shutil.rmtree(path, ignore_errors=True)
    return {}


def forget(task: Task) -> Task:
    """Keys of small state are gone."""
    return asyncio.run(_forget(task))


async def _forget(task: Task) -> Task:
    to = f"{task['address']}:{task['port']}"
    reader, writer = await asyncio.open_connection(task["address"], task["port"], ssl=_context(task), server_hostname=task["address"])
    told = [(await _asked(reader, writer, to, "DELETE", f"/v1/state/{name}", b"", {}))[0] for name in task["names"]]
    writer.close()
    return {"statuses": sorted(set(told))}


def _context(task: Task) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=task["tls"]["ca"])
    context.load_cert_chain(task["tls"]["cert"], task["tls"]["key"])
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def digests(task: Task) -> Task:
    """SHA-256 of files, by the host's own hand; None of one that is not there."""
    found: Task = {}
    for name in task["paths"]:
        try:
            with Path(name).open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            found[name] = None
    return found


def requests(task: Task) -> Task:
    """Puts and gets of objects of 4 KiB over many connections to each of ``sides``: how long requests and connecting took, what failed.

    The sides are asked in turn, request by request, so that whatever else the machine does meets all of them alike. ``at_once`` requests
    are under way at any time; each connection asks ``each`` times, in turn a put and a get of what it put.
    """
    return asyncio.run(_requests(task))


class _Side:
    """One agent, and what was counted of it."""

    def __init__(self, told: Task) -> None:
        self.port, self.release, self.prefix = told["port"], told["release"], told["prefix"]
        self.latencies_ms: list[float] = []
        self.setups_ms: list[float] = []
        self.failed = 0
        self.asked = 0
        self.why = ""

    def fail(self, why: str) -> None:
        self.failed += 1
        self.why = self.why or why[:200]

    def told(self) -> Task:
        took, made = sorted(self.latencies_ms), len(self.setups_ms)
        return {
            "connections": made,
            "setup_ms": sum(self.setups_ms) / made if made else None,
            "requests": len(took),
            "mean_ms": sum(took) / len(took) if took else None,
            "p99_ms": took[min(len(took) - 1, len(took) * 99 // 100)] if took else None,
            "failed": self.failed,
            "asked": self.asked,
            "why": self.why,
        }


_TROUBLE = (OSError, asyncio.TimeoutError, ValueError, asyncio.IncompleteReadError)


async def _requests(task: Task) -> Task:
    context = _context(task)
    sides, connecting = [_Side(told) for told in task["sides"]], asyncio.Semaphore(CONNECTING_AT_ONCE)

    async def connected(side: _Side) -> tuple[Reader, Writer] | None:
        async with connecting:
            began = time.perf_counter()
            side.asked += 1
            try:
                reader, writer = await asyncio.wait_for(
                    asyncio.open_connection(task["address"], side.port, ssl=context, server_hostname=task["address"]), REQUEST_S
                )
                # TLS 1.3: only an answer shows that the agent took our certificate.
                status, release, _ = await _asked(reader, writer, f"{task['address']}:{side.port}", "GET", "/ready", b"", {})
            except _TROUBLE as error:
                side.fail(f"connecting: {type(error).__name__}: {error}")
                return None
            if status != 200 or release != side.release:
                side.fail(f"/ready: {status} by {release}")
                writer.close()
                return None
            side.setups_ms.append(1000 * (time.perf_counter() - began))
            return reader, writer

    began = time.perf_counter()
    wanted = [side for number in range(task["connections"]) for side in _in_turn(sides, number)]
    made = await asyncio.gather(*(connected(side) for side in wanted))
    connecting_s, gate = time.perf_counter() - began, asyncio.Semaphore(task["at_once"])
    rows = [list(zip(wanted, made, strict=True))[at : at + len(sides)] for at in range(0, len(wanted), len(sides))]
    began = time.perf_counter()
    await asyncio.gather(*(_turns(number, row, task, gate) for number, row in enumerate(rows)))
    asking_s = time.perf_counter() - began
    for each in made:
        if each is not None:
            each[1].close()
    return {"connecting_s": connecting_s, "asking_s": asking_s, "sides": [side.told() for side in sides]}


def _in_turn(sides: list[_Side], number: int) -> list[_Side]:
    first = number % len(sides)
    return sides[first:] + sides[:first]


async def _turns(number: int, row: list[tuple[_Side, tuple[Reader, Writer] | None]], task: Task, gate: asyncio.Semaphore) -> None:
    """One connection to each side, which take turns."""
    open_ = {side: connection for side, connection in row if connection is not None}
    for turn in range(task["each"]):
        body = os.urandom(OBJECT_BYTES // 2) + bytes(OBJECT_BYTES // 2)
        digest = hashlib.sha256(body).hexdigest()
        for method, good, sent in (("PUT", 201, body), ("GET", 200, b"")):
            for side in _in_turn([side for side, _ in row], number + turn):
                if side not in open_:
                    continue
                path, to = f"/v1/objects/{side.prefix}/{number}", f"{task['address']}:{side.port}"
                async with gate:
                    side.asked += 1
                    began = time.perf_counter()
                    try:
                        headers = {"X-DWCP-SHA256": digest} if sent else {}
                        status, release, got = await _asked(*open_[side], to, method, path, sent, headers)
                    except _TROUBLE as error:
                        side.fail(f"{method}: {type(error).__name__}: {error}")
                        del open_[side]  # what the connection is in the middle of is not known
                        continue
                    took = time.perf_counter() - began
                if status != good or (method == "GET" and got != body):
                    side.fail(f"{method}: {status} {got[:100]!r}" if status != good else "GET: other content than was put")
                elif release != side.release:
                    side.fail(f"{method}: answered by {release}")
                else:
                    side.latencies_ms.append(1000 * took)


async def _asked(
    reader: Reader, writer: Writer, to: str, method: str, path: str, body: bytes, headers: dict[str, str]
) -> tuple[int, str, bytes]:
    """Status, release and body of the answer. Raises ValueError for what is no HTTP, OSError, IncompleteReadError, TimeoutError."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {to}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    return await asyncio.wait_for(_answer(reader), REQUEST_S)


async def _answer(reader: Reader) -> tuple[int, str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    status = int(head[0].split()[1])
    if fields.get("transfer-encoding", "").lower() == "chunked":
        got = b""
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            got += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
    else:
        got = await reader.readexactly(int(fields.get("content-length", "0")))
    return status, fields.get("x-dwcp-release", ""), got


_DOES = {
    "content": content,
    "send": send,
    "put": put,
    "usage": usage,
    "remove": remove,
    "digests": digests,
    "forget": forget,
    "requests": requests,
}


def main() -> None:
    task = json.loads(sys.argv[1])
    try:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        answer = _DOES[task["do"]](task)
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"[:300]}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
