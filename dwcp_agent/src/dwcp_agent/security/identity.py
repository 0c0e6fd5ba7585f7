"""Identities: the subject of a client certificate, or of the client a gateway speaks for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dwcp_agent.errors import Refused

__all__ = ["CONTENT_ROLES", "METRICS_ROLES", "STATUS_ROLES", "Identity", "caller_of", "from_certificate"]

CONTENT_ROLES = frozenset({"load", "operator", "agent"})
"""May open sessions, put and get objects, and send data."""
METRICS_ROLES = frozenset({"monitor", "operator"})
STATUS_ROLES = frozenset({"monitor", "operator", "agent"})

_COMMON_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_UNIT = re.compile(r"[a-z]{1,32}")
_FORWARDED = re.compile(r"OU=([^,=]*),CN=([^,=]*)")


@dataclass(frozen=True)
class Identity:
    """``cn`` says who, ``ou`` in which role. Both are safe as parts of a file name."""

    ou: str
    cn: str

    def __str__(self) -> str:
        return f"OU={self.ou},CN={self.cn}"

    @property
    def directory(self) -> str:
        """Name of this identity's own directory in a store."""
        return f"{self.ou}.{self.cn}"


def _identity(ou: str, cn: str) -> Identity:
    if not _UNIT.fullmatch(ou) or not _COMMON_NAME.fullmatch(cn):
        raise Refused("The certificate's OU and CN cannot be used as an identity.", code="identity")
    return Identity(ou, cn)


def from_certificate(certificate: Mapping[str, Any] | None) -> Identity:
    """Identity of what ``getpeercert()`` returned. Raises Refused when subject has not exactly one OU and one CN."""
    subject: Sequence[Sequence[tuple[str, str]]] = (certificate or {}).get("subject", ())
    fields: dict[str, list[str]] = {}
    for group in subject:
        for key, value in group:
            fields.setdefault(key, []).append(value)
    units, names = fields.get("organizationalUnitName", []), fields.get("commonName", [])
    if len(units) != 1 or len(names) != 1:
        raise Refused("The client certificate must have one OU and one CN.", code="identity")
    return _identity(units[0], names[0])


def caller_of(peer: Identity, forwarded: Sequence[str]) -> tuple[Identity, bool]:
    """Who a request is from, and whether a gateway forwarded it.

    ``forwarded`` are the values of ``X-DWCP-Client``. Raises Refused when anyone but a gateway sent one, or a gateway sent several or a
    malformed one.
    A gateway without the header speaks for itself, which entitles it to very little.
    """
    if not forwarded:
        return peer, False
    if peer.ou != "gateway":
        raise Refused("Only a gateway may speak for another (X-DWCP-Client).", code="impersonation")
    match = _FORWARDED.fullmatch(forwarded[0].strip()) if len(forwarded) == 1 else None
    if not match:
        raise Refused("X-DWCP-Client must be exactly one OU=...,CN=....", code="impersonation")
    return _identity(match[1], match[2]), True
