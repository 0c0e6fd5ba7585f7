"""The releases that lie on this host. Complete is what bears its final name and a manifest that hashes to its id; nothing else counts."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golive.onhost import durable, play, units
from golive.onhost.command import Call, verb
from golive.onhost.failures import BadInput, Refused
from golive.onhost.places import Places
from golive.onhost.units import Unit

__all__ = ["ID", "KINDS", "Installed", "complete", "listed", "require", "slot_of", "sweep"]

ID = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(_defect\.[a-z]+)?-[0-9a-f]{12}")
KINDS = ("agent", "load")
PARTIAL = ".partial"


@dataclass(frozen=True)
class Installed:
    """One complete release on this host."""

    id: str
    kind: str
    path: Path
    version: str
    digest: str
    slot: str | None
    """``a`` or ``b`` for an agent's release, None for a load client's."""

    @property
    def unit(self) -> str:
        return units.named(self.kind, self.id)


def complete(places: Places, kind: str, release: str) -> Installed | None:
    """The release called ``release``, or None when it is not there whole. Raises BadInput for something that is no id."""
    if not ID.fullmatch(release):
        raise BadInput(f"{release!r} is not a release id like 3.0.0-0123456789ab.")
    path = places.releases(kind) / release
    try:
        content = (path / "manifest.json").read_bytes()
        manifest: Any = json.loads(content)
        version = str(manifest["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    digest = hashlib.sha256(content).hexdigest()
    if release != f"{version.replace('+', '_')}-{digest[:12]}":
        return None
    return Installed(release, kind, path, version, digest, slot_of(places, release) if kind == "agent" else None)


def listed(places: Places, kind: str) -> Sequence[Installed]:
    """All complete releases of a kind, the most recently installed first."""
    found = []
    for path in _directories(places, kind):
        release = complete(places, kind, path.name) if ID.fullmatch(path.name) else None
        if release is not None:
            found.append(release)
    return sorted(found, key=lambda r: ((r.path / "manifest.json").stat().st_mtime_ns, r.id), reverse=True)


def slot_of(places: Places, release: str) -> str | None:
    """The slot that ``install`` gave to an agent's release."""
    try:
        text = places.slot_file(release).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    match = re.fullmatch(r"DWCP_SLOT=([ab])\n", text)
    return match[1] if match else None


def sweep(places: Places) -> int:
    """What killed installs and prunes left is gone; says how much there was. Call it with the lock held."""
    left = [p for kind in KINDS for p in _directories(places, kind) if p.name.endswith(PARTIAL)]
    for path in left:
        shutil.rmtree(path)
    return len(left)


@verb("status", help="what is installed here, and what runs", changes=False)
def _status(call: Call) -> dict[str, Any]:
    from golive.onhost import fence

    releases = {kind: listed(call.places, kind) for kind in KINDS}
    states = units.show(r.unit for kind in KINDS for r in releases[kind])
    odd = [p.name for kind in KINDS for p in _directories(call.places, kind) if not any(p == r.path for r in releases[kind])]
    token = fence.read(call.places)
    return {
        "fence": None if token is None else {"token": token.number, "owner": token.owner},
        "releases": [_row(r, states) for r in releases["agent"]],
        "load": [_row(r, states) for r in releases["load"]],
        "incomplete": sorted(odd),
        "plays": play.recorded(call.places),
    }


@verb(
    "prune",
    help="remove the oldest releases, never one that is enabled or runs",
    changes=True,
    arguments=lambda parser: parser.add_argument("--keep", type=int, required=True, help="how many releases to keep, newest first"),
)
def _prune(call: Call) -> dict[str, Any]:
    if call.options.keep < 1:
        raise BadInput(f"--keep must be at least 1, not {call.options.keep}.")
    swept = sweep(call.places)
    releases = listed(call.places, "agent")
    states = units.show(r.unit for r in releases)
    removed = []
    for release in releases[call.options.keep :]:
        unit = states[release.unit]
        if unit.enabled or not unit.idle:
            continue
        # Under its final name a release is always whole: it loses the name first.
        release.path.replace(release.path.with_name(release.id + PARTIAL))
        durable.sync_directory(release.path.parent)
        shutil.rmtree(release.path.with_name(release.id + PARTIAL))
        durable.remove(call.places.slot_file(release.id))
        removed.append(release.id)
    return {"changed": bool(removed or swept), "removed": removed}


def require(places: Places, kind: str, release: str) -> Installed:
    """Like ``complete``, but raises Refused when the release is not there whole."""
    found = complete(places, kind, release)
    if found is None:
        raise Refused(f"Release {release} is not installed completely under {places.releases(kind)}; install it first.")
    return found


def _row(release: Installed, states: Mapping[str, Unit]) -> dict[str, Any]:
    unit = states[release.unit]
    return {
        "id": release.id,
        "version": release.version,
        "digest": release.digest,
        "slot": release.slot,
        "unit": release.unit,
        "active": unit.active,
        "state": unit.state,
        "enabled": unit.enabled,
        "invocation_id": unit.invocation_id,
        "main_pid": unit.main_pid,
    }


def _directories(places: Places, kind: str) -> list[Path]:
    try:
        return sorted(p for p in places.releases(kind).iterdir() if p.is_dir() and not p.is_symlink())
    except FileNotFoundError:
        return []
