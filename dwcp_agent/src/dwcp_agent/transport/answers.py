"""What a sender by protocol 2 waits for, and the errors that come instead."""

from __future__ import annotations

from typing import Any

from dwcp_agent.errors import AgentError, Corrupt, ProtocolError, Refused
from dwcp_agent.transport.frame import Kind, parse_control
from dwcp_agent.transport.wire import Wire

__all__ = ["answer", "refusal"]


def answer(wire: Wire, kind: Kind) -> dict[str, Any]:
    """The fields of the receiver's next frame, which is of this kind. Raises Refused or Corrupt when it is an ERROR."""
    frame = wire.read()
    assert frame is not None
    fields = parse_control(frame.payload)
    if frame.header.kind == Kind.ERROR:
        raise refusal(fields)
    if frame.header.kind != kind:
        raise ProtocolError(f"The agent said {Kind(frame.header.kind).name} where {kind.name} was due.")
    return fields


def refusal(fields: dict[str, Any]) -> AgentError:
    """The error that an ERROR frame tells of."""
    status = fields.get("status")
    message, code = _printable(fields.get("message", "no reason given")), _printable(fields.get("error", "refused"))
    if code == "corrupt":
        return Corrupt(message)
    return Refused(message, code=code, status=status if isinstance(status, int) else 403)


def _printable(said: object) -> str:
    """What an operator's terminal may be given: without TLS anybody on the way may have said it."""
    return "".join(character if character.isprintable() else "?" for character in str(said)[:1000])
