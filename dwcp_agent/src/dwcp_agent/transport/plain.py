"""Streams without TLS, for a link that is encrypted by itself (WireGuard, IPsec, MACsec): who may open one, and how it proves to be one.

A transfer that goes so is begun and ended over streams with TLS all the same. The first is given a *grant* for this one transfer; a stream
without TLS shows, with a proof that is good once, that its sender has it, and may then put ranges into that transfer and nothing else.
What ends the transfer, and says what the content has to be, never goes without TLS. ``docs/protocol.md`` says what that is worth.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

__all__ = ["Grant", "Networks", "Offer", "parse_network"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_CONTEXT = b"dwcp plain stream v1"
_NAME = re.compile(r"[0-9a-f]{32}")
_KEY = re.compile(r"[0-9a-f]{64}")


def parse_network(text: str) -> Network:
    """The network that ``text`` writes as ``address/bits``. Raises ValueError, also for one that is every address."""
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no network like 10.8.0.0/24: {error}") from None
    if network.prefixlen == 0:
        raise ValueError(f"{text} is every address; name those of the encrypted link")
    return network


class Networks:
    """Where streams without TLS may come from; nowhere when there is none."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = [parse_network(text) for text in networks]

    def have(self, sock: socket.socket) -> bool:
        """True when the other side of a connection is in one of them."""
        if not self._networks:
            return False
        try:
            peer = ipaddress.ip_address(sock.getpeername()[0].partition("%")[0])
        except (OSError, ValueError):
            return False
        peer = getattr(peer, "ipv4_mapped", None) or peer
        return any(peer in network for network in self._networks)


class Grant:
    """What lets streams without TLS into one transfer. Not safe from several threads."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(16)
        self._key = secrets.token_bytes(32)
        self._used: set[str] = set()

    def fields(self) -> dict[str, str]:
        """What the sender is given, over TLS."""
        return {"name": self.name, "key": self._key.hex()}

    def takes(self, number: int, once: object, proof: object) -> bool:
        """True when whoever begins a stream of transfer ``number`` so has the grant, and nobody began one with ``once`` before."""
        if not isinstance(once, str) or not _NAME.fullmatch(once) or once in self._used or not isinstance(proof, str):
            return False
        if not hmac.compare_digest(proof.encode(), _proof(self._key, self.name, number, once).encode()):
            return False
        self._used.add(once)
        return True


@dataclass(frozen=True)
class Offer:
    """A grant as the sender has it."""

    name: str
    key: bytes

    @classmethod
    def of(cls, state: dict[str, Any]) -> Offer | None:
        """What a STATE offers; None when it offers nothing, or nothing that can be used."""
        told = state.get("plain")
        name, key = (told.get("name"), told.get("key")) if isinstance(told, dict) else (None, None)
        if not isinstance(name, str) or not _NAME.fullmatch(name) or not isinstance(key, str) or not _KEY.fullmatch(key):
            return None
        return cls(name, bytes.fromhex(key))

    def hello(self, number: int) -> dict[str, Any]:
        """The fields of a HELLO that begins one stream of transfer ``number``; another every time."""
        once = secrets.token_hex(16)
        return {"grant": self.name, "once": once, "proof": _proof(self.key, self.name, number, once)}


def _proof(key: bytes, name: str, number: int, once: str) -> str:
    return blake3(_CONTEXT + bytes.fromhex(name) + number.to_bytes(8, "big") + bytes.fromhex(once), key=key).hexdigest()
