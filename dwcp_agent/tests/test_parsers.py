"""What strangers may write and this agent reads: anything is either understood or refused, never a crash."""

from __future__ import annotations

import base64
import http.client
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwcp_agent.commands.http import _body as body_of
from dwcp_agent.cpus import format_cpu_list, parse_cpu_list
from dwcp_agent.errors import Refused
from dwcp_agent.security.identity import Identity
from dwcp_agent.sessions.ticket import TicketIssuer

PEER = Identity("load", "load.host-2")
ISSUER = TicketIssuer("boot", 60)
GENUINE, EXPIRES = ISSUER.issue("s-1", PEER, 1000.0)


@given(
    ticket=st.one_of(
        st.text(max_size=300), st.binary(max_size=200).map(lambda b: base64.urlsafe_b64encode(b).decode()).map("{0}.{0}".format)
    )
)
@settings(max_examples=200, deadline=None)
def test_arbitrary_text_is_no_ticket(ticket: str) -> None:
    with pytest.raises(Refused):
        ISSUER.check(ticket, PEER, 1000.0)


@given(position=st.integers(0, len(GENUINE) - 1), put=st.characters(codec="ascii"))
@settings(max_examples=200, deadline=None)
def test_a_ticket_with_one_character_changed_is_refused_or_says_the_same(position: int, put: str) -> None:
    changed = GENUINE[:position] + put + GENUINE[position + 1 :]
    try:
        found = ISSUER.check(changed, PEER, 1000.0)
    except Refused:
        return
    # The last character of a base64 text has bits that stand for nothing.
    assert (found.session, found.identity, found.expires) == ("s-1", PEER, EXPIRES)
    assert changed == GENUINE or position in (GENUINE.index(".") - 1, len(GENUINE) - 1)


@given(text=st.one_of(st.text(max_size=40), st.text("0123456789-, ", max_size=40)))
@settings(max_examples=300, deadline=None)
def test_arbitrary_text_is_a_cpu_list_or_a_sentence(text: str) -> None:
    try:
        found = parse_cpu_list(text)
    except ValueError as error:
        assert "is not a CPU list" in str(error)
    else:
        assert found and min(found) >= 0 and max(found) < 8192
        assert parse_cpu_list(format_cpu_list(found)) == found


class _Response(http.client.HTTPResponse):
    """What a server says, from its first line on."""

    def __init__(self, said: bytes) -> None:
        self.said = said
        super().__init__(self)  # type: ignore[arg-type]
        self.begin()

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self.said)


@pytest.mark.parametrize(
    ("said", "body"),
    [
        (b"HTTP/1.1 200 x\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 200 x\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", b"abc"),
        (b"HTTP/1.1 200 x\r\nConnection: close\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 200 x\r\nContent-Length: 4\r\n\r\nabc", None),
        (b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", None),
        (b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"4" * 70 + b"\r\nab", None),
        (b"HTTP/1.1 200 x\r\nContent-Length: 1152921504606846976\r\n\r\nabc", None),
    ],
)
def test_an_answer_is_whole_or_none_and_costs_no_more_than_it_has(said: bytes, body: bytes | None) -> None:
    if body is not None:
        assert body_of(_Response(said)) == body
    else:
        with pytest.raises(http.client.HTTPException):
            body_of(_Response(said))
