"""Sites without a gateway: the agents of a host decide between them which slot takes a session, by the hash a gateway would use.

``dwcp-host`` writes a file that both slots watch: ``{"weights": {"slot_b": "<percent>"}, "slots": {"slot_a": "in"|"out", ...}}``.
Without the file there is nothing to decide, and an agent takes what it is asked to take.
"""

from __future__ import annotations

import json
import threading
import zlib
from pathlib import Path
from typing import Any

from dwcp_agent import log
from dwcp_agent.errors import AgentError, Refused

__all__ = ["Admission", "Elsewhere"]


class Elsewhere(AgentError):
    """The session belongs to the other slot of this host, whose control port is ``port``."""

    exit_code = 4

    def __init__(self, port: int) -> None:
        super().__init__(f"This session belongs to the other slot of this host; ask port {port}.")
        self.port = port


class Admission:
    """What the file at ``path`` says, for the agent in ``slot``. ``ports`` are the control ports by slot."""

    def __init__(self, path: Path, slot: str, ports: dict[str, int]) -> None:
        self._path = path
        self._slot = slot
        self._ports = ports
        self._seen: tuple[int, int, int] | None = None
        self._rules: tuple[int, frozenset[str]] | None = None
        self._lock = threading.Lock()

    def weight(self) -> int | None:
        """Percent of sessions that go to slot b as this agent goes by it now; None when nobody has said."""
        rules = self._current()
        return rules[0] if rules else None

    def check(self, session: str) -> None:
        """Raises Elsewhere when ``session`` belongs to the other slot, Refused (503) when the slot it belongs to is out."""
        rules = self._current()
        if rules is None:
            return
        weight, out = rules
        slot = "b" if zlib.crc32(session.encode()) % 100 < weight else "a"
        if slot in out:
            raise Refused("The release that this session belongs to takes no traffic here.", code="slot", status=503)
        if slot != self._slot:
            raise Elsewhere(self._ports[slot])

    def _current(self) -> tuple[int, frozenset[str]] | None:
        with self._lock:
            try:
                status = self._path.stat()
                seen = (status.st_ino, status.st_mtime_ns, status.st_size)
                if seen != self._seen:
                    self._rules = _parse(json.loads(self._path.read_bytes()))
                    self._seen = seen
            except FileNotFoundError:
                self._seen = self._rules = None
            except (OSError, ValueError, RecursionError) as error:
                # What was last understood stays in force: the weight must not jump because a file is damaged.
                log.warn("admission-unreadable", path=str(self._path), reason=str(error))
            return self._rules


def _parse(content: Any) -> tuple[int, frozenset[str]]:
    if not isinstance(content, dict):
        raise ValueError("expected an object")
    weights, slots = content.get("weights", {}), content.get("slots", {})
    if not isinstance(weights, dict) or not isinstance(slots, dict):
        raise ValueError("weights and slots must be objects")
    told = weights.get("slot_b", 0)
    if not isinstance(told, (int, str)):
        raise ValueError("a weight must be a whole number")
    weight = int(told)
    if not 0 <= weight <= 100:
        raise ValueError(f"a weight of {weight} is no percentage")
    return weight, frozenset(name.removeprefix("slot_") for name, state in slots.items() if state == "out")
