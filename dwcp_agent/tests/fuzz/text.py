"""Targets: what people and other programs write: tickets, subjects, URLs, answers, configuration, names."""

from __future__ import annotations

import functools
import http.client
import io
import json
import os
import ssl
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

from dwcp_agent.commands import http as ours
from dwcp_agent.commands import session as sessions
from dwcp_agent.commands.http import Endpoint, parse_url
from dwcp_agent.config import AgentConfig, LoadConfig, load_config
from dwcp_agent.cpus import format_cpu_list, parse_cpu_list
from dwcp_agent.errors import BadInput, Refused, Unreachable
from dwcp_agent.security.identity import Identity, caller_of, from_certificate
from dwcp_agent.sessions.ticket import TicketIssuer, check_session_id
from dwcp_agent.store.names import parts_of
from fuzz.given import Given, edited
from fuzz.place import fresh

__all__ = ["answer", "config", "cpu_list", "identity", "name", "ticket", "url"]

PEER = Identity("load", "load.host-2")
_KEYS = ("organizationalUnitName", "commonName", "countryName")


def _text(data: bytes) -> str:
    """Anything that a str can be, lone surrogates too."""
    return data.decode("utf-8", "surrogatepass" if b"\xed" in data else "replace") if _decodes(data) else data.decode("latin-1")


def _decodes(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


@functools.cache
def _issued() -> tuple[TicketIssuer, str, float]:
    issuer = TicketIssuer("boot", 60)
    return issuer, *issuer.issue("s-1", PEER, 1000.0)


def ticket(data: bytes) -> None:
    """What is no ticket of ours is refused; what is says what it was issued for, to nobody else and not for ever."""
    given = Given(data)
    issuer, genuine, expires = _issued()
    text = _text(edited(genuine.encode(), given) if given.number(1) else given.rest())
    try:
        found = issuer.check(text, PEER, 1000.0)
    except Refused:
        assert text != genuine
        return
    assert (found.session, found.identity, found.expires) == ("s-1", PEER, expires)
    for peer, now in ((Identity("load", "load.host-9"), 1000.0), (PEER, expires)):
        try:
            issuer.check(text, peer, now)
        except Refused:
            continue
        raise AssertionError("a ticket was good for someone else, or after its time")


def identity(data: bytes) -> None:
    """A subject is refused or safe as the name of a directory; a gateway's word is taken exactly, and nobody else's."""
    given = Given(data)
    subject = tuple(
        tuple((_KEYS[given.number(2)], _text(given.bytes(given.number(160)))) for _ in range(given.number(2)))
        for _ in range(given.number(4))
    )
    told = [_text(given.bytes(given.number(160))) for _ in range(given.number(2))]
    try:
        peer = from_certificate({"subject": subject} if subject else None)
        values = [value for group in subject for _, value in group]
        assert peer.ou in values and peer.cn in values
        _is_safe(peer)
    except Refused:
        peer = PEER
    for speaker in (peer, Identity("gateway", "gateway.host-1")):
        try:
            caller, forwarded = caller_of(speaker, told)
        except Refused:
            continue
        assert forwarded == bool(told) and (speaker.ou == "gateway" or not forwarded)
        if forwarded:
            assert str(caller) == told[0].strip()
            _is_safe(caller)
        else:
            assert caller == speaker


def _is_safe(who: Identity) -> None:
    name = who.directory
    assert len(name.encode()) <= 255 and "/" not in name and "\0" not in name and not name.startswith(".")
    ou, _, cn = name.partition(".")
    assert (ou, cn) == (who.ou, who.cn), "two identities could share a directory"
    assert caller_of(Identity("gateway", "gateway.host-1"), [str(who)]) == (who, True)


def url(data: bytes) -> None:
    """A URL is refused, or leads to a place that can be asked and that can be written again."""
    text = _text(data)
    try:
        found = parse_url(text)
    except BadInput:
        return
    assert 0 < found.port < 65536 and found.host
    http.client.HTTPSConnection(found.host, found.port, context=_context()).close()
    found.host.encode("idna")
    try:
        parts_of(found.path)
    except BadInput:
        return
    assert parse_url(f"{found}/{quote(found.path)}") == found


@functools.cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()


class _Answers(http.client.HTTPSConnection):
    """A server that has one answer to everything."""

    answer = b""

    def connect(self) -> None:
        self.sock: Any = self

    def sendall(self, data: object) -> None:
        """Whatever is asked."""

    def settimeout(self, timeout_s: float) -> None:
        """Nobody waits here."""

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self.answer)

    def close(self) -> None:
        self.sock = None
        super().close()


def answer(data: bytes) -> None:
    """Whatever is answered, it holds what a sender needs, or is refused, or was no answer."""
    _Answers.answer = data
    client = SimpleNamespace(HTTPSConnection=_Answers, HTTPException=http.client.HTTPException)
    nothing_kept = patch.multiple(sessions, data_port_of=lambda _: None, remember_data_port=lambda *_: None)
    with patch.object(ours, "http", SimpleNamespace(client=client)), nothing_kept:
        session = sessions.Session(Endpoint("127.0.0.1", 7400, "x"), _context(), "s-1")
        try:
            session.open()
            assert session.protocol <= 2
            assert 0 < session.endpoint.port < 65536
            assert isinstance(session.ticket(), str)
            link = session.link()
            assert isinstance(link.host, str) and 0 < link.port < 65536
        except (Refused, Unreachable) as error:
            assert isinstance(error.message, str)
        try:
            found = session.baseline("x")
        except (Refused, Unreachable):
            return
        assert found is None or (found.size >= 0 and len(found.id) == 64)
        pages = session.pages("x", found, [(0, 2), (5, 1)]) if found is not None else {}
        assert all(len(each) <= 256 for each in pages.values())


def config(data: bytes) -> None:
    """A configuration is one sentence about what is wrong with it, or within every limit."""
    path = fresh("config") / "agent.yaml"
    path.write_bytes(data.replace(b"@file", os.fsencode(path)))
    kind = LoadConfig if b"gateway" in data else AgentConfig
    try:
        found = load_config(path, kind)
    except BadInput as error:
        assert error.message.startswith(str(path))
        return
    assert 1 <= found.streams <= 64 and found.tls.ca.is_file()
    if isinstance(found, AgentConfig):
        assert found.streams <= found.limits.max_streams <= 1024
        assert found.data_host
    assert kind.model_validate(json.loads(found.model_dump_json(by_alias=True))) == found


def cpu_list(data: bytes) -> None:
    """A CPU list is a sentence or CPUs, and can be written again."""
    try:
        found = parse_cpu_list(_text(data))
    except ValueError as error:
        assert "is not a CPU list" in str(error)
        return
    assert found and min(found) >= 0 and max(found) < 8192
    assert parse_cpu_list(format_cpu_list(found)) == found


def name(data: bytes) -> None:
    """A name stays below its directory, and is one name only; a session's id is safe in a header."""
    text = _text(data)
    try:
        parts = parts_of(text)
    except BadInput:
        pass
    else:
        assert "/".join(parts) == text and len(text.encode()) <= 1024
        assert all(part and part[0] != "." and "\0" not in part and len(part.encode()) <= 255 for part in parts)
    try:
        assert check_session_id(text).isascii() and text.isprintable() and " " not in text
    except Refused:
        return
