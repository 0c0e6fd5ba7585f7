"""Where an agent's data port was the last time: a connection to it can be begun before the agent has said where it is now."""

from __future__ import annotations

import contextlib
import json
import secrets
from pathlib import Path

from blake3 import blake3

from dwcp_agent.commands.cache import cache_directory
from dwcp_agent.commands.http import Endpoint, is_port

__all__ = ["data_port_of", "remember_data_port"]


def data_port_of(endpoint: Endpoint) -> tuple[str, int] | None:
    """Host and port that the agent behind ``endpoint`` named last; None when nothing is known. It may be elsewhere by now."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(_file_of(endpoint).read_bytes())
        if isinstance(found["host"], str) and is_port(found["port"]):
            return found["host"], found["port"]
    return None


def remember_data_port(endpoint: Endpoint, host: str, port: int) -> None:
    """For the next transfer; when it cannot be kept, that one takes some round trips longer."""
    with contextlib.suppress(OSError):
        path = _file_of(endpoint)
        temporary = path.with_name(secrets.token_hex(8))
        try:
            temporary.write_text(json.dumps({"host": host, "port": port}))
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def _file_of(endpoint: Endpoint) -> Path:
    return cache_directory("agents") / f"{blake3(str(endpoint).encode()).hexdigest(16)}.json"
