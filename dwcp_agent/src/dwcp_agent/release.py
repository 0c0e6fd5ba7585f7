"""Which release this process runs from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from dwcp_agent._build import VERSION
from dwcp_agent.errors import BadInput

__all__ = ["Release", "of_directory"]


@dataclass(frozen=True)
class Release:
    """Identity of a release: ``digest`` is the SHA-256 of its manifest, ``id`` is ``<version>-<first 12 digits>``, or ``dev`` without one.

    A ``+`` of the version is ``_`` in the id, because the id is the instance of a systemd unit, where ``+`` is not legal.
    """

    id: str
    version: str
    digest: str


def of_directory(directory: Path | None) -> Release:
    """The release installed in ``directory``; ``dev`` when there is no manifest.

    Raises BadInput when the manifest cannot be read or belongs to other code.
    """
    if directory is None:
        return Release("dev", VERSION, "dev")
    path = directory / "manifest.json"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return Release("dev", VERSION, "dev")
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}.") from None
    try:
        version = json.loads(content)["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadInput(f"{path} is not a release manifest.") from None
    if version != VERSION:
        raise BadInput(f"{path} is of release {version!r}, but the code beside it is {VERSION!r}.")
    digest = hashlib.sha256(content).hexdigest()
    return Release(f"{VERSION.replace('+', '_')}-{digest[:12]}", VERSION, digest)
