"""A release: its manifest, and the directory that holds it."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from golive.errors import Refused

__all__ = ["ID", "MANIFEST", "SIGNATURE", "Manifest", "Release", "Source", "canonical", "digest_of", "id_of", "read_release"]

MANIFEST = "manifest.json"
SIGNATURE = "manifest.json.sig"
ID = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(_defect\.[a-z]+)?-[0-9a-f]{12}")
_HEX = r"^[0-9a-f]{64}$"


class Source(BaseModel):
    """Where the agent's code came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    commit: str | None
    """Last commit that touched the agent; None when the sources were not committed."""
    tree: str | None
    digest: str = Field(pattern=_HEX)
    """SHA-256 over the names, modes and contents of all source files (see golive.releases.source)."""


class Manifest(BaseModel):
    """``manifest.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal[1] = Field(alias="schema")
    name: Literal["dwcp-agent"]
    version: str = Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+(\+defect\.[a-z]+)?$")
    kind: Literal["agent", "load"]
    phase4: bool
    defect: dict[str, float | bool] | None
    source: Source
    python: str
    platform: str
    files: dict[str, str]
    """SHA-256 of every file, by its path below ``files/``."""


@dataclass(frozen=True)
class Release:
    """One built and signed release."""

    path: Path
    digest: str
    """SHA-256 of ``manifest.json``."""
    manifest: Manifest

    @property
    def id(self) -> str:
        return id_of(self.manifest.version, self.digest)

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def kind(self) -> Literal["agent", "load"]:
        return self.manifest.kind

    @property
    def phase4(self) -> bool:
        return self.manifest.phase4

    @property
    def defect(self) -> dict[str, float | bool] | None:
        return self.manifest.defect

    @property
    def files(self) -> dict[str, str]:
        return self.manifest.files


def id_of(version: str, digest: str) -> str:
    """``<version>-<digest12>``; ``+`` becomes ``_``, because the id is the instance of a systemd unit, where ``+`` is not legal."""
    return f"{version.replace('+', '_')}-{digest[:12]}"


def canonical(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no blanks, UTF-8, one newline at the end."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode() + b"\n"


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_release(path: Path) -> Release:
    """The release in directory ``path``, its manifest parsed, nothing verified yet. Raises Refused when there is no sound manifest."""
    try:
        content = (path / MANIFEST).read_bytes()
        manifest = Manifest.model_validate_json(content, strict=True)
    except OSError as error:
        raise Refused(f"{path} holds no readable {MANIFEST} ({error.strerror}); build the release again.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "content"
        raise Refused(f"{path / MANIFEST}: {where}: {first['msg']}.") from None
    return Release(path, hashlib.sha256(content).hexdigest(), manifest)
