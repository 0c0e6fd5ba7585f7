"""Tickets: a signed statement that an identity may send data within a session until a moment."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass

from dwcp_agent.errors import Refused
from dwcp_agent.security.identity import Identity

__all__ = ["MAX_TICKET_BYTES", "Ticket", "TicketIssuer", "check_session_id"]

MAX_TICKET_BYTES = 2048
_SESSION_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def check_session_id(session: str) -> str:
    """``session`` if it can be one. Raises Refused (400)."""
    if not _SESSION_ID.fullmatch(session):
        raise Refused("X-DWCP-Session must be 1 to 128 letters, digits and characters out of _ - : and .", code="bad-session", status=400)
    return session


@dataclass(frozen=True)
class Ticket:
    """What a ticket says once its signature held."""

    session: str
    identity: Identity
    expires: float
    """Unix time."""


class TicketIssuer:
    """Issues and checks tickets with a key of this process alone: a restarted agent takes none of its predecessor's."""

    def __init__(self, boot_id: str, ttl_s: float) -> None:
        self._key = secrets.token_bytes(32)
        self._boot_id = boot_id
        self._ttl_s = ttl_s

    def issue(self, session: str, identity: Identity, now: float) -> tuple[str, float]:
        """A ticket and the Unix time it expires."""
        expires = now + self._ttl_s
        claims = {"sid": session, "ou": identity.ou, "cn": identity.cn, "exp": expires, "boot": self._boot_id}
        body = json.dumps(claims, separators=(",", ":")).encode()
        return f"{_encode(body)}.{_encode(self._sign(body))}", expires

    def check(self, ticket: str, peer: Identity, now: float) -> Ticket:
        """What ``ticket`` says. Raises Refused when it is not ours, has expired, or belongs to someone else than ``peer``."""
        body_text, _, signature_text = ticket.partition(".")
        try:
            body, signature = _decode(body_text), _decode(signature_text)
        except (binascii.Error, ValueError):
            raise Refused("The ticket is malformed.", code="ticket-invalid") from None
        if len(ticket) > MAX_TICKET_BYTES or not hmac.compare_digest(signature, self._sign(body)):
            raise Refused("The ticket was not issued by this agent.", code="ticket-invalid")
        claims = json.loads(body)
        identity = Identity(claims["ou"], claims["cn"])
        if identity != peer:
            raise Refused(f"The ticket belongs to {identity}, not to {peer}.", code="ticket-identity")
        if now >= claims["exp"]:
            raise Refused("The ticket has expired; open the session again.", code="ticket-expired")
        return Ticket(claims["sid"], identity, claims["exp"])

    def _sign(self, body: bytes) -> bytes:
        return hmac.new(self._key, b"dwcp-ticket-1\0" + body, hashlib.sha256).digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
