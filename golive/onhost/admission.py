"""Sites without a gateway: the same commands as HAProxy's runtime, carried out by the agents of this host.

``/etc/dwcp/traffic.json`` with ``{"mode": "admission"}`` says that this host is one. The weight, the labels and which slots are in stand
in ``/var/lib/dwcp/admission.json``; the agents watch that file, admit the sessions of their own slot and answer the rest with the other
slot's port. Each says on its health port which weight it goes by: that is what is read back.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from golive.onhost import durable
from golive.onhost.failures import Refused
from golive.onhost.haproxy import Server
from golive.onhost.places import Places

# Not from typing: that module alone would take a short call as long as its work.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["HEALTH_PORTS", "AdmissionRuntime", "admits"]

HEALTH_PORTS = {"a": 7402, "b": 7412}
_KEYS = {"weights.map": "weights", "releases.map": "releases", "slots.map": "slots"}
_SETTLE_S = 3.0
_POLL_S = 0.05


def admits(places: Places) -> bool:
    """Whether the agents of this host decide themselves which of them takes a session."""
    try:
        value = json.loads((places.etc / "traffic.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except ValueError:
        raise Refused(f"{places.etc / 'traffic.json'} is not JSON; the play of the agents writes it.") from None
    return isinstance(value, dict) and value.get("mode") == "admission"


class AdmissionRuntime:
    """What the agents of this host go by. The methods are those of `golive.onhost.haproxy.Runtime`."""

    def __init__(self, places: Places, host: str = "127.0.0.1", ports: dict[str, int] | None = None) -> None:
        self._file = places.root / "var/lib/dwcp/admission.json"
        self._host = host
        self._ports = HEALTH_PORTS if ports is None else ports
        self._name = os.uname().nodename

    def show_map(self, path: Path) -> dict[str, str]:
        """One part of the file, and for the weight: as the agents that run go by it."""
        entries: dict[str, str] = dict(self._read().get(_KEYS[path.name], {}))
        if path.name == "weights.map":
            said = self._agents_go_by(int(entries.get("slot_b", "0")))
            entries["slot_b"] = str(said)
        return entries

    def set_map(self, path: Path, key: str, value: str) -> None:
        """``key`` is ``value`` in the file, and every agent that runs goes by it. Raises Refused when one does not."""
        content = self._read()
        part = content.setdefault(_KEYS[path.name], {})
        if part.get(key) != value:
            part[key] = value
            durable.write_json(self._file, content)
        if path.name == "weights.map":
            deadline = time.monotonic() + _SETTLE_S
            while (said := self._agents_go_by(int(value))) != int(value):
                if time.monotonic() >= deadline:
                    raise Refused(f"The agents of this host were told {value} % for slot b and go by {said} %.")
                time.sleep(_POLL_S)

    def servers(self, backend: str) -> dict[str, Server]:
        """The one server that a slot has here: this host's agent."""
        slot = backend[-1]
        if self._read().get("slots", {}).get(backend, "out") == "out":
            return {self._name: Server("MAINT", "")}
        healthy = self._health(slot) is not None
        return {self._name: Server("UP" if healthy else "DOWN", "L7OK" if healthy else "L4CON")}

    def set_server_out(self, backend: str, name: str, out: bool) -> None:
        """Nothing more than what the file already says of the slot."""

    def _read(self) -> dict[str, Any]:
        try:
            value = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            raise Refused(f"{self._file} cannot be read as JSON; remove it, then set the weight again.") from None
        return value if isinstance(value, dict) else {}

    def _agents_go_by(self, written: int) -> int:
        """The weight by which the agents of this host go; one that does not run reads the file when it starts."""
        for slot in sorted(self._ports):
            health = self._health(slot)
            if health is None:
                continue
            said = (health.get("admission") or {}).get("slot_b")
            if not isinstance(said, int):
                raise Refused(f"The agent in slot {slot} does not say which sessions it admits; its release cannot do without a gateway.")
            if said != written:
                return said
        return written

    def _health(self, slot: str) -> dict[str, Any] | None:
        """What the agent in ``slot`` says of itself; None when nothing listens there. Raises Refused when it makes no sense."""
        import http.client

        connection = http.client.HTTPConnection(self._host, self._ports[slot], timeout=2)
        try:
            connection.request("GET", "/health")
            value = json.loads(connection.getresponse().read(1 << 20))
        except ConnectionRefusedError:
            return None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Refused(f"The agent in slot {slot} does not answer on its health port ({type(error).__name__}).") from None
        finally:
            connection.close()
        return value if isinstance(value, dict) else {}
