"""What small state is measured beside: HTTP/1.1 and gRPC, both in plain text, both keeping what they are sent in memory alone.

    python benchmarks/state_peers.py http-server|grpc-server ADDRESS PORT
    python benchmarks/state_peers.py http|grpc ADDRESS PORT FILE COUNT [RATE]

A client sends the first COUNT lines of FILE and prints JSON: ``puts``, ``seconds`` of the puts alone, ``latency_p99_ms``. With RATE, puts
are due at that rate, once the connection stands and whatever the answers do, and latency counts from when each was due.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

METHOD = "/state.State/Put"
_KEY = struct.Struct(">H")


def http_server(address: str, port: int) -> None:
    """Keeps bodies by path."""
    from aiohttp import web

    kept: dict[str, bytes] = {}

    async def put(request: web.Request) -> web.Response:
        kept[request.match_info["key"]] = await request.read()
        return web.Response(status=204)

    app = web.Application()
    app.router.add_put("/state/{key:.+}", put)
    web.run_app(app, host=address, port=port, print=lambda *_: None, access_log=None)


def grpc_server(address: str, port: int) -> None:
    """Keeps values by key and answers each message with an empty one.

    On loopback this server with a client of threads took 1.1 s for 10,000 messages; any other pairing of threads and asyncio took 1.3 s or
    more.
    """
    import grpc.aio

    kept: dict[bytes, bytes] = {}

    async def put(messages: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
        async for message in messages:
            (length,) = _KEY.unpack_from(message)
            kept[message[2 : 2 + length]] = message[2 + length :]
            yield b""

    async def serve() -> None:
        server = grpc.aio.server()
        service, method = METHOD[1:].split("/")
        handler = grpc.method_handlers_generic_handler(service, {method: grpc.stream_stream_rpc_method_handler(put)})
        server.add_generic_rpc_handlers((handler,))
        server.add_insecure_port(f"{address}:{port}")
        await server.start()
        await server.wait_for_termination()

    asyncio.run(serve())


def lines(file: str, count: int) -> list[tuple[str, bytes]]:
    """Keys and values."""
    with open(file, encoding="utf-8") as opened:  # noqa: PTH123
        fields = [json.loads(line) for _, line in zip(range(count), opened, strict=False)]
    return [(each["key"], each["value"].encode()) for each in fields]


def http(address: str, port: int, file: str, count: int, _: float) -> dict[str, Any]:
    """One kept connection; each put waits for the answer to the one before."""
    from http.client import HTTPConnection

    took, started = [], time.perf_counter()
    connection = HTTPConnection(address, port)
    for key, value in lines(file, count):
        began = time.perf_counter()
        connection.request("PUT", f"/state/{quote(key)}", value)
        response = connection.getresponse()
        response.read()
        if response.status != 204:
            raise SystemExit(f"answered {response.status}")
        took.append(time.perf_counter() - began)
    return report(took, time.perf_counter() - started)


def grpc_client(address: str, port: int, file: str, count: int, rate: float) -> dict[str, Any]:
    """One bidirectional stream; each message is answered, and none waits for an answer."""
    import grpc

    began: list[float] = []
    took: list[float] = []
    started = time.perf_counter()

    def messages() -> Iterator[bytes]:
        for number, (key, value) in enumerate(lines(file, count)):
            due = time.perf_counter()
            if rate:
                due = (began[0] + number / rate) if began else due
                time.sleep(max(0.0, due - time.perf_counter()))
            began.append(due)
            name = key.encode()
            yield _KEY.pack(len(name)) + name + value

    with grpc.insecure_channel(f"{address}:{port}") as channel:
        if rate:
            grpc.channel_ready_future(channel).result()
        for number, _ in enumerate(channel.stream_stream(METHOD)(messages())):
            took.append(time.perf_counter() - began[number])
    if len(took) != count:
        raise SystemExit(f"{len(took)} of {count} were answered")
    return report(took, time.perf_counter() - started)


def report(took: list[float], seconds: float) -> dict[str, Any]:
    """What a client prints."""
    took = sorted(took)
    return {"puts": len(took), "seconds": round(seconds, 6), "latency_p99_ms": round(1000 * took[len(took) * 99 // 100], 3)}


def main(what: str, address: str, port: str, *more: str) -> None:
    """Runs what the module's words say."""
    if what in ("http-server", "grpc-server"):
        {"http-server": http_server, "grpc-server": grpc_server}[what](address, int(port))
        return
    file, count, rate = more[0], int(more[1]), float(more[2]) if len(more) > 2 else 0.0
    print(json.dumps({"http": http, "grpc": grpc_client}[what](address, int(port), file, count, rate)))


if __name__ == "__main__":
    main(*sys.argv[1:])
