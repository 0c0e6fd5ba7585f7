"""``dwcp-host cores``: the core dumps that a release left on this host, or why there are none to be had.

A release runs in a directory of its own (``/var/lib/dwcp/cores/<id>``, its unit's WorkingDirectory), so where the kernel writes ``core``
beside the process, that is where they are. ``core_pattern`` is the machine's: where it pipes dumps to systemd-coredump, that is asked;
where it names a place elsewhere, the agent's sandbox lets no dump through, and that is said.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from golive.onhost import installed, units
from golive.onhost.command import Call, verb

__all__ = ["cores"]

_PATTERN = Path("/proc/sys/kernel/core_pattern")
_ASK_S = 20.0
_LISTED = 20


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="release id, <version>-<digest12>")


@verb("cores", help="core dumps that a release left here, newest first", changes=False, arguments=_arguments)
def cores(call: Call) -> dict[str, Any]:
    """Each with what prints it: ``read`` is a command's words."""
    release = call.options.id
    installed.complete(call.places, "agent", release)  # refuses what is no id
    pattern = _pattern()
    directory = call.places.root / "var/lib/dwcp/cores" / release
    found = _in(directory)
    if pattern.startswith("|"):
        piped = _piped(units.named("agent", release)) if "systemd-coredump" in pattern else None
        why = "" if piped is not None else f"the kernel pipes dumps to {pattern[1:].split()[0]}, which keeps them where it likes"
        found += piped or []
    elif "/" in pattern:
        why = (
            f"the kernel writes dumps to {pattern}, where the agent's sandbox lets nothing be written; `sysctl kernel.core_pattern=core.%p`"
        )
    else:
        why = ""
    found.sort(key=lambda core: -float(core["at"]))
    none = "" if found else why or "the release left none: it was not ended by a signal that dumps"
    told = {"id": release, "pattern": pattern, "directory": str(directory), "none": none}
    return {**told, "cores": found[:_LISTED], "more": len(found[_LISTED:])}


def _pattern() -> str:
    try:
        return _PATTERN.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "core"


def _in(directory: Path) -> list[dict[str, Any]]:
    found = []
    for path in directory.glob("core*") if directory.is_dir() else ():
        status = path.lstat()
        if path.is_file() and not path.is_symlink():
            found.append({"name": path.name, "bytes": status.st_size, "at": status.st_mtime, "read": ["cat", "--", str(path)]})
    return found


def _piped(unit: str) -> list[dict[str, Any]] | None:
    """What systemd-coredump has of the unit; None when it cannot be asked."""
    try:
        done = subprocess.run(
            ["coredumpctl", "--json=short", "--no-pager", "list", f"COREDUMP_UNIT={unit}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_ASK_S,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": os.environ.get("HOME", "/root")},
        )
        listed = json.loads(done.stdout or "[]")
        return [
            {
                "name": f"core.{entry['pid']}",
                "bytes": int(entry.get("size") or 0),
                "at": float(entry["time"]) / 1e6,
                "read": ["coredumpctl", "dump", str(int(entry["pid"]))],
            }
            for entry in listed
            if entry.get("corefile") == "present"
        ]
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired):
        return None
