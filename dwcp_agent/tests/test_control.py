"""The control port: who may do what, and what every answer carries."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import aiohttp
import pytest
import zstandard

from fixtures import RELEASE, Agent, context_of, sha256

CONTENT = b"state of a machine " * 200


async def put(agent: Agent, who: str, name: str, content: bytes = CONTENT, **headers: str) -> tuple[int, dict[str, Any], Any]:
    sent = {"X-DWCP-SHA256": sha256(content), "X-DWCP-Session": "s-1"} | {key.replace("_", "-"): value for key, value in headers.items()}
    async with agent.as_(who).put(f"/v1/objects/{name}", data=content, headers=sent) as response:
        return response.status, await response.json(), response.headers


async def test_object_is_committed_under_its_owner_and_read_back(agent: Agent) -> None:
    status, answer, headers = await put(agent, "load", "vm/7/state")
    assert (status, answer) == (201, {"name": "vm/7/state", "sha256": sha256(CONTENT), "bytes": len(CONTENT)})
    assert headers["X-DWCP-Release"] == RELEASE.id
    assert (agent.store / "load.load.host-2/vm/7/state").read_bytes() == CONTENT
    async with agent.as_("load").get("/v1/objects/vm/7/state") as response:
        assert response.headers["X-DWCP-SHA256"] == sha256(await response.read()) == sha256(CONTENT)
    async with agent.as_("other").get("/v1/objects/vm/7/state") as response:
        assert response.status == 404
    assert agent.files() == ["load.load.host-2/vm/7/state"]


async def test_compressed_object_is_stored_as_its_content(agent: Agent) -> None:
    packed = zstandard.ZstdCompressor().compress(CONTENT)
    headers = {"X-DWCP-SHA256": sha256(CONTENT), "Content-Encoding": "zstd"}
    async with agent.as_("load").put("/v1/objects/z", data=packed, headers=headers) as response:
        assert (response.status, (await response.json())["sha256"]) == (201, sha256(CONTENT))
    assert (agent.store / "load.load.host-2/z").read_bytes() == CONTENT


@pytest.mark.parametrize("announce_size", [True, False])
async def test_compressed_object_cannot_blow_up(agent: Agent, announce_size: bool) -> None:
    bomb = zstandard.ZstdCompressor(write_content_size=announce_size).compressobj(size=64 << 20 if announce_size else -1)
    packed = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(64)) + bomb.flush()
    headers = {"X-DWCP-SHA256": sha256(b""), "Content-Encoding": "zstd"}
    async with agent.as_("load").put("/v1/objects/z", data=packed, headers=headers) as response:
        assert (response.status, (await response.json())["error"]) == (400, "bad-content")
    assert agent.files() == []


async def test_content_that_does_not_match_its_hash_is_corrupt_and_leaves_nothing(agent: Agent) -> None:
    status, answer, _ = await put(agent, "load", "x", X_DWCP_SHA256=sha256(b"other"))
    assert (status, answer["error"]) == (422, "corrupt")
    assert agent.files() == []
    async with agent.as_("monitor").get("/metrics") as response:
        assert "dwcp_corruption_total 1.0" in await response.text()


async def test_too_large_an_object_is_refused(agent: Agent) -> None:
    status, answer, headers = await put(agent, "load", "x", bytes((1 << 20) + 1))
    assert (status, answer["error"], headers["X-DWCP-Release"]) == (413, "too-large", RELEASE.id)
    assert agent.files() == []


@pytest.mark.parametrize(
    ("name", "content", "headers", "status", "code"),
    [
        ("x", CONTENT, {"X_DWCP_SHA256": "abc"}, 400, "bad-hash"),
        ("x", CONTENT, {"Content_Encoding": "gzip"}, 415, "bad-encoding"),
        ("x", CONTENT, {"X_DWCP_Session": "a b"}, 400, "bad-session"),
        ("a%00b", CONTENT, {}, 400, "bad-name"),
        (".hidden", CONTENT, {}, 400, "bad-name"),
        ("a//b", CONTENT, {}, 400, "bad-name"),
        ("a/" * 20 + "b", CONTENT, {}, 400, "bad-name"),
        ("n" * 256, CONTENT, {}, 400, "bad-name"),
    ],
)
async def test_bad_requests_are_refused_with_a_code(
    agent: Agent, name: str, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    got, answer, _ = await put(agent, "load", name, content, **headers)
    assert (got, answer["error"]) == (status, code)
    assert agent.files() == []


@pytest.mark.parametrize(
    "path", ["../../escape", "%2e%2e/%2e%2e/escape", "/etc/escape", "%2fetc%2fescape", "a/../../../escape", "..%2f..%2fescape"]
)
async def test_paths_cannot_leave_the_callers_directory(agent: Agent, path: str) -> None:
    """Written to the socket as they are: a client library would have tidied them up."""
    context = context_of(agent.people["load"])
    reader, writer = await asyncio.open_connection("127.0.0.1", agent.service.ports.control, ssl=context)
    head = f"PUT /v1/objects/{path} HTTP/1.1\r\nHost: x\r\nX-DWCP-SHA256: {sha256(b'x')}\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"
    writer.write(head.encode())
    status_line = (await reader.read()).split(b"\r\n")[0]
    writer.close()
    assert status_line.split()[1] in (b"400", b"404")
    assert agent.files() == []
    assert not (agent.store.parent / "escape").exists()


async def test_links_inside_the_store_are_not_followed(agent: Agent) -> None:
    outside = agent.store.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    own = agent.store / "load.load.host-2"
    own.mkdir()
    (own / "dir").symlink_to(outside)
    (own / "file").symlink_to(outside / "secret")
    assert (await put(agent, "load", "dir/new"))[:1] == (409,)
    for name in ("dir/secret", "file"):
        async with agent.as_("load").get(f"/v1/objects/{name}") as response:
            assert response.status == 409
    assert (await put(agent, "load", "file"))[0] == 201
    assert (outside / "secret").read_bytes() == b"secret"
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]


ALLOWED = {
    ("POST", "/v1/sessions"): {"load", "operator", "agent"},
    ("PUT", "/v1/objects/x"): {"load", "operator", "agent"},
    ("GET", "/v1/objects/x"): {"load", "operator", "agent"},
    ("GET", "/v1/status"): {"monitor", "operator", "agent"},
    ("GET", "/metrics"): {"monitor", "operator"},
    ("GET", "/ready"): {"load", "operator", "agent", "monitor", "gateway"},
}


@pytest.mark.parametrize(("method", "path"), sorted(ALLOWED))
async def test_roles_are_authorised_by_their_unit(agent: Agent, method: str, path: str) -> None:
    headers = {"X-DWCP-Session": "s-1", "X-DWCP-SHA256": sha256(b"x")}
    for who in ("load", "operator", "agent", "monitor", "gateway"):
        async with agent.as_(who).request(method, path, headers=headers, data=b"x" if method == "PUT" else None) as response:
            answer = await response.read()
            assert (response.status == 403) == (who not in ALLOWED[method, path]), (who, response.status, answer)
            assert response.headers["X-DWCP-Release"] == RELEASE.id


async def test_gateway_speaks_for_its_client_and_nobody_else_does(agent: Agent) -> None:
    forwarded = {"X_DWCP_Client": "OU=load,CN=load.host-2"}
    assert (await put(agent, "gateway", "via", **forwarded))[0] == 201
    assert agent.files() == ["load.load.host-2/via"]
    for who in ("load", "operator", "agent", "monitor"):
        status, answer, _ = await put(agent, who, "forged", **forwarded)
        assert (status, answer["error"]) == (403, "impersonation")
    for value in ("CN=load.host-2,OU=load", "OU=load", "OU=load,CN=../x", "OU=load,CN=a,CN=b", ""):
        assert (await put(agent, "gateway", "forged", X_DWCP_Client=value))[0] == 403
    assert (await put(agent, "gateway", "forged", X_DWCP_Client="OU=monitor,CN=monitor.ops"))[1]["error"] == "forbidden"
    assert agent.files() == ["load.load.host-2/via"]


async def test_two_client_headers_are_refused(agent: Agent) -> None:
    headers = [("X-DWCP-Client", "OU=operator,CN=operator"), ("X-DWCP-Client", "OU=load,CN=load.host-2"), ("X-DWCP-Session", "s")]
    async with agent.as_("gateway").post("/v1/sessions", headers=headers) as response:
        assert (response.status, (await response.json())["error"]) == (403, "impersonation")


async def test_session_answers_with_a_ticket_and_the_data_port(agent: Agent) -> None:
    answer = await agent.open_session()
    assert answer["session"] == "s-1" and answer["release"] == RELEASE.id
    assert answer["data"] == {"host": "127.0.0.1", "port": agent.service.ports.data}
    async with agent.as_("operator").get("/v1/status") as response:
        assert (await response.json())["sessions"] == 1


async def test_ready_names_the_release(agent: Agent) -> None:
    async with agent.as_("agent").get("/ready") as response:
        answer = await response.json()
    assert {key: answer[key] for key in ("ready", "version", "digest", "id", "slot")} == {
        "ready": True,
        "version": RELEASE.version,
        "digest": RELEASE.digest,
        "id": RELEASE.id,
        "slot": "a",
    }
    assert isinstance(answer["pid"], int) and answer["boot_id"]


async def test_health_is_plain_and_nothing_else_is_there(agent: Agent) -> None:
    async with aiohttp.ClientSession(agent.health) as client:
        async with client.get("/health") as response:
            answer = await response.json()
            assert (response.status, answer["status"]) == (200, "ok")
            assert answer["features"]["kernels"]["crc32c"]["active"]
            assert all(role["as_configured"] for role in answer["affinity"]["roles"].values())
        for path in ("/metrics", "/ready", "/v1/status"):
            async with client.get(path) as response:
                assert response.status == 404


async def test_metrics_have_the_names_of_the_contract(agent: Agent) -> None:
    await put(agent, "load", "x")
    async with agent.as_("monitor").get("/metrics") as response:
        text = await response.text()
    for line in (
        f'dwcp_build_info{{digest="{RELEASE.digest}",version="3.0.0"}} 1.0',
        'dwcp_requests_total{code="201",op="put"} 1.0',
        'dwcp_request_seconds_bucket{le="0.1",op="put"} 1.0',
        'dwcp_transfers_total{result="ok"} 0.0',
        f'dwcp_bytes_total{{direction="in"}} {float(len(CONTENT))}',
        "dwcp_corruption_total 0.0",
        "dwcp_sessions_active 0.0",
        "dwcp_start_time_seconds ",
        "process_resident_memory_bytes ",
    ):
        assert line in text, line


@pytest.mark.parametrize("port", ["control", "data"])
@pytest.mark.parametrize("flaw", ["tls-1.2", "no-certificate", "foreign-ca"])
async def test_handshake_without_tls_1_3_and_a_certificate_is_refused(agent: Agent, tmp_path: Any, port: str, flaw: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(agent.people["load"].ca)
    if flaw == "tls-1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(agent.people["load"].cert, agent.people["load"].key)
    if flaw == "foreign-ca":
        from pki import Authority

        foreign = Authority(tmp_path / "foreign").issue("load", "load.host-2")
        context.load_cert_chain(foreign.cert, foreign.key)

    def connect() -> bytes:
        raw = socket.create_connection(("127.0.0.1", getattr(agent.service.ports, port)), timeout=5)
        with context.wrap_socket(raw, server_hostname="localhost") as secure:
            # In TLS 1.3 the client learns of the refusal with its first read.
            secure.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
            return secure.recv(100)

    with pytest.raises((ssl.SSLError, ConnectionError)):
        assert not await asyncio.to_thread(connect)
        raise ConnectionError("closed without an answer")


async def test_certificate_without_a_unit_is_nobody(agent: Agent, authority: Any) -> None:
    agent.people = agent.people | {"nobody": authority.issue(None, "nobody")}
    async with agent.as_("nobody").get("/ready") as response:
        assert (response.status, (await response.json())["error"]) == (403, "identity")


async def test_unknown_paths_and_methods_answer_json(agent: Agent) -> None:
    async with agent.as_("load").get("/v1/nothing") as response:
        assert (response.status, (await response.json())["error"], response.headers["X-DWCP-Release"]) == (404, "not-found", RELEASE.id)
    async with agent.as_("load").delete("/v1/objects/x") as response:
        assert (response.status, (await response.json())["error"]) == (405, "method")


async def test_sessions_are_bounded(start_agent: Any) -> None:
    async with start_agent(limits={"max_sessions": 2}) as agent:
        await agent.open_session(session="a")
        await agent.open_session(session="b")
        await agent.open_session(session="a")
        async with agent.as_("load").post("/v1/sessions", headers={"X-DWCP-Session": "c"}) as response:
            assert (response.status, (await response.json())["error"]) == (503, "busy")
