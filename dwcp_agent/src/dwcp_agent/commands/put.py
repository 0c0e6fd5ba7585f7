"""``dwcp put https://HOST:PORT --from FILE|-``: small state, one JSON object a line."""

from __future__ import annotations

import argparse
import base64
import binascii
import contextlib
import json
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from dwcp_agent import features
from dwcp_agent.commands.http import parse_url, tls_of
from dwcp_agent.commands.session import Session
from dwcp_agent.commands.shelf import CachedShelf
from dwcp_agent.errors import BadInput, Refused
from dwcp_agent.sessions.ticket import check_session_id
from dwcp_agent.transport.offered import Offered
from dwcp_agent.transport.puts import Puts
from dwcp_agent.transport.sender import Link

__all__ = ["put"]

_MAX_LINE_BYTES = 1 << 20
_FETCH_S = 2.0
"""How long the command waits at its end for a dictionary that will do for the next one."""


def put(arguments: argparse.Namespace) -> None:
    """Sends the puts of a file or of standard input, and prints what became durable, and how long each took."""
    features.configure()
    endpoint = parse_url(arguments.url)
    if endpoint.path:
        raise BadInput("The URL of dwcp put ends with the port; the keys come from --from.")
    if arguments.rate is not None and arguments.rate <= 0:
        raise BadInput("--rate must be above 0.")
    name = arguments.session or f"put-{secrets.token_hex(8)}"
    try:
        check_session_id(name)
    except Refused as error:
        raise BadInput(error.message.replace("X-DWCP-Session", "--session")) from None
    session = Session(endpoint, tls_of(arguments.ca, arguments.cert, arguments.key), name, for_state=True)
    offered = Offered(CachedShelf(session))

    def connect() -> tuple[Link, str]:
        session.open()
        if session.answer.get("state") != 1:
            raise Refused(f"{endpoint} takes no puts: its release {session.answer.get('release')} has no small state.", code="no-state")
        offered.begin(session.answer.get("dictionary"))
        return session.link(), session.ticket()

    latencies: list[float] = []
    size = 0
    with _opened(arguments.source) as lines:
        started = time.perf_counter()
        puts = Puts(connect, patience_s=arguments.patience, offered=offered)
        try:
            if arguments.rate is not None:
                puts.wait()
            first = time.perf_counter()
            for number, (key, value) in enumerate(_entries(lines, puts)):
                due = None
                if arguments.rate is not None:
                    due = first + number / arguments.rate
                    time.sleep(max(0.0, due - time.perf_counter()))
                with _told(number + 1, puts):
                    puts.put(key, value, latencies.append, began=due)
                size += len(value)
            puts.close()
        except BaseException:
            puts.abort()
            raise
    seconds = time.perf_counter() - started
    offered.close(_FETCH_S)
    latencies.sort()
    report = {
        "schema": 1,
        "session": session.id,
        "release": session.answer.get("release"),
        "puts": puts.acknowledged,
        "bytes": size,
        "wire_bytes": puts.wire_bytes,
        "batches": puts.batches,
        "dictionary_batches": puts.dictionary_batches,
        "batching": features.report()["batch"],
        "broken_streams": puts.broken_streams,
        "seconds": round(seconds, 6),
        "puts_per_s": round(puts.acknowledged / seconds, 1),
        "latency_p50_ms": _percentile_ms(latencies, 50),
        "latency_p99_ms": _percentile_ms(latencies, 99),
    }
    print(json.dumps(report) if arguments.json else _in_words(report))


@contextlib.contextmanager
def _opened(source: str) -> Iterator[IO[bytes]]:
    if source == "-":
        yield sys.stdin.buffer
        return
    with contextlib.ExitStack() as opened:
        try:
            file = opened.enter_context(Path(source).open("rb"))
        except OSError as error:
            raise BadInput(f"{source}: {error.strerror}.") from None
        yield file


def _entries(lines: IO[bytes], puts: Puts) -> Iterator[tuple[str, bytes]]:
    number = 0
    try:
        while line := lines.readline(_MAX_LINE_BYTES + 1):
            number += 1
            with _told(number, puts):
                entry = _entry(line)
            yield entry
    except OSError as error:
        puts.flush()
        raise BadInput(f"After line {number} nothing can be read: {error.strerror}; the {number} puts before are durable.") from None


def _entry(line: bytes) -> tuple[str, bytes]:
    """Key and value of one line. Raises BadInput."""
    if len(line) > _MAX_LINE_BYTES:
        raise BadInput("It is too long.")
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        raise BadInput("It is not valid JSON.") from None
    if not isinstance(fields, dict) or not isinstance(key := fields.get("key"), str) or ("value" in fields) == ("value_b64" in fields):
        raise BadInput('It is not an object like {"key": "...", "value": "..."}, or with "value_b64" for bytes.')
    value: Any = fields.get("value", fields.get("value_b64"))
    try:
        if "value_b64" in fields:
            return key, base64.b64decode(value, validate=True)
        return key, value.encode() if isinstance(value, str) else json.dumps(value, separators=(",", ":")).encode()
    except (TypeError, binascii.Error, ValueError):
        raise BadInput(f"Its {'value_b64 is not Base64' if 'value_b64' in fields else 'value is not Unicode text'}.") from None


@contextlib.contextmanager
def _told(line: int, puts: Puts) -> Iterator[None]:
    """What is wrong with a line is said with its number, once what came before it is durable."""
    try:
        yield
    except BadInput as error:
        puts.flush()
        raise BadInput(f"Line {line}: {error.message.rstrip('.')}; the {puts.acknowledged} puts before it are durable.") from None


def _percentile_ms(latencies: list[float], percent: int) -> float | None:
    return round(1000 * latencies[min(len(latencies) - 1, len(latencies) * percent // 100)], 3) if latencies else None


def _in_words(report: dict[str, Any]) -> str:
    rate, p50, p99 = report["puts_per_s"], report["latency_p50_ms"], report["latency_p99_ms"]
    took = f"; half within {p50} ms, 99 % within {p99} ms" if p50 is not None else ""
    line = f"{report['puts']} puts, {report['bytes']} bytes, in {report['seconds']:.3f} s ({rate:.0f}/s){took}"
    return f"{line}\ndurable at release {report['release']}"
