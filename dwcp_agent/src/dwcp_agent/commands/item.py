"""What a command is to send, and what holds for the transfer."""

from __future__ import annotations

import argparse
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from dwcp_agent.commands.http import Endpoint
from dwcp_agent.encoding.rounding import Rounding
from dwcp_agent.errors import BadInput, Failed
from dwcp_agent.profiles.table import Profile, profile_named
from dwcp_agent.transport.device import DeviceSource
from dwcp_agent.transport.source import Source

__all__ = ["Item", "Terms", "is_stable", "profile_of", "token_of"]


@dataclass(frozen=True)
class Terms:
    """What holds for a transfer, as the command line says it."""

    streams: int | None = None
    """None for as many as the path is worth."""
    limit_bytes_per_s: int | None = None
    patience_s: float = 60.0
    profile: Profile | None = None
    """None to choose by the path and the size."""
    weight: float = 1.0
    """Of the command, where it shares a link with others."""
    plain: bool = False
    """Content goes without TLS if the receiver offers that."""


def profile_of(arguments: argparse.Namespace) -> Profile | None:
    """The profile that was asked for. Raises BadInput when there is none of that name."""
    try:
        return profile_named(arguments.profile) if arguments.profile is not None else None
    except ValueError as error:
        raise BadInput(f"--profile: {error}.") from None


@dataclass(frozen=True)
class Item:
    """What is sent: ``path`` is what it is called on this side, ``name`` at the receiver."""

    path: Path
    name: str
    source: Source
    baseline_path: Path | None = None
    baseline: Source | None = None
    rounding: Rounding | None = None
    """How the numbers of both sources are rounded."""


def token_of(item: Item, endpoint: Endpoint, at: Path | None = None) -> str:
    """The same for the same version of a source on its way to the same place, so that a later run goes on with it. Raises Failed.

    ``at`` is where the source was opened, if that is not the item's path.
    What a device has may be another version each time it is asked, unless its writes are counted: then no later run can go on.
    """
    what: list[object] = [str(endpoint), item.name]
    if item.rounding is not None:
        what.append(item.rounding.mark)
    if isinstance(item.source, DeviceSource):
        version = item.source.version
        if version is None:
            return secrets.token_hex(16)
        what += version
    else:
        try:
            status = (at or item.path).stat()
        except OSError as error:
            raise Failed(f"{item.path} cannot be read any more: {error.strerror or error}.") from None
        what += [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns]
    return blake3(json.dumps(what).encode()).hexdigest(16)


def is_stable(source: Source) -> bool:
    """Whether a write to the source would have been noticed."""
    return source.stable if isinstance(source, DeviceSource) else True
