"""Whether a release is built for this host: its machine, Python and C library. Asked before anything is changed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping

# Not from typing: that module alone would take a short call as long as its work.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["misfit"]

_MANYLINUX = re.compile(r"manylinux_([0-9]+)_([0-9]+)_")
_LEGACY = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where an installation looks for the system's Python."""


def misfit(manifest: Mapping[str, Any], *, path: str = PATH) -> str:
    """Why this host cannot run the release of ``manifest``; empty when nothing speaks against it."""
    system = os.uname()
    built = str(manifest.get("platform", "")).partition("-")[2]
    if built and built != system.machine:
        return f"it is built for {built} and this host is {system.machine}"
    python = f"python{manifest['python']}"
    if shutil.which(python, path=path) is None:
        return f"it needs {python}, which is not here (apt-get install {python})"
    libc = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else None
    have = tuple(int(part) for part in libc.split()[-1].split(".")[:2]) if libc else (0, 0)
    for name in manifest["files"]:
        wanted = _glibc(name)
        if wanted > have:
            return f"{name} needs glibc {wanted[0]}.{wanted[1]} and this host has {libc or 'another C library'}"
    return ""


def _glibc(name: str) -> tuple[int, int]:
    """The oldest glibc that a wheel says it runs with; a wheel that says nothing asks for nothing here."""
    tag = name[:-4].rsplit("-", 1)[-1] if name.endswith(".whl") else ""
    named = [(int(major), int(minor)) for major, minor in _MANYLINUX.findall(tag + "_")]
    named += [version for legacy, version in _LEGACY.items() if tag.startswith(legacy) or f".{legacy}_" in tag]
    return min(named) if named else (0, 0)
