"""What a release asks of a host before it can run there: Python, machine, glibc, room. Read off its wheels, which are what runs."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass

from golive.errors import Refused
from golive.releases.model import Release
from golive.releases.verify import FILES

__all__ = ["Needs", "needs"]

_MANYLINUX = re.compile(r"manylinux_([0-9]+)_([0-9]+)_")
_LEGACY = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_SYMBOL = re.compile(rb"GLIBC_([0-9]+)\.([0-9]+)")
_ROOM = 5
"""An installation takes at most this many times the files' size, as ``dwcp-host install`` reckons."""


@dataclass(frozen=True)
class Needs:
    """Of one release."""

    release: str
    python: str
    """Minor version, as in ``3.11``; the host's own Python has to be of it."""
    machine: str
    """As ``uname -m`` says."""
    glibc: tuple[int, int]
    room_bytes: int


def needs(release: Release) -> Needs:
    """What ``release`` needs. Raises Refused for a wheel that is not readable."""
    glibc, size = (2, 0), 0
    for name in release.files:
        path = release.path / FILES / name
        size += path.stat().st_size
        if name.endswith(".whl"):
            glibc = max(glibc, _glibc(release, name))
    return Needs(release.id, release.manifest.python, release.manifest.platform.partition("-")[2], glibc, size * _ROOM)


def _glibc(release: Release, name: str) -> tuple[int, int]:
    """The glibc that a wheel was made for: by its tag, and without one by the newest symbol that its libraries use."""
    tag = name.removesuffix(".whl").rsplit("-", 1)[-1]
    named = [(int(major), int(minor)) for major, minor in _MANYLINUX.findall(tag)]
    named += [version for legacy, version in _LEGACY.items() if tag.startswith(legacy) or f".{legacy}_" in tag]
    if named:
        return min(named)
    if not tag.startswith("linux"):
        return (2, 0)
    try:
        with zipfile.ZipFile(release.path / FILES / name) as wheel:
            libraries = [wheel.read(entry) for entry in wheel.namelist() if ".so" in entry]
    except (OSError, zipfile.BadZipFile) as error:
        raise Refused(f"{release.path / FILES / name} is not a readable wheel ({error}).") from None
    return max(((int(a), int(b)) for content in libraries for a, b in _SYMBOL.findall(content)), default=(2, 0))
