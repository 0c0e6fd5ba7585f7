"""What this machine must have before the lab changes anything on it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from golive.environment import Environment
from golive.errors import Unprepared

__all__ = ["check"]

_PROGRAMS = {
    "podman": "podman",
    "ip": "iproute2",
    "tc": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "mmdebstrap": "mmdebstrap",
    "ssh": "openssh-client",
}


def check(env: Environment) -> None:
    """This machine can hold the lab ``env``. Raises Unprepared naming everything that is missing, with the command that brings it."""
    if os.uname().sysname != "Linux":
        raise Unprepared(f"The lab needs Linux; this is {os.uname().sysname}. Use an environment with hosts of your own.")
    if os.geteuid() != 0:
        raise Unprepared(f"Environment {env.name} is a lab: it makes hosts and networks on this machine; run it as root or with sudo.")
    os.environ["PATH"] = os.pathsep.join(dict.fromkeys([*os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin", "/sbin"]))
    missing = sorted({package for program, package in _PROGRAMS.items() if shutil.which(program) is None})
    if not any(shutil.which(runtime) for runtime in ("runc", "crun")):
        missing.append("runc")
    if not any((Path(place) / "netavark").exists() for place in ("/usr/lib/podman", "/usr/libexec/podman", "/usr/local/libexec/podman")):
        missing.append("netavark")
    if missing:
        raise Unprepared(f"The lab needs more of this machine; nothing was changed. On Debian: apt-get install {' '.join(missing)}")
