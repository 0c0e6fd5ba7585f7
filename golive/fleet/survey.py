"""What an existing machine is, as seen over SSH: reachable by its pinned key, kernel, cores, NUMA nodes, CPU features."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from golive.errors import BadInput, GoliveError, Held
from golive.fleet.bastion import shared
from golive.fleet.connection import connected, execute, parse_host_key
from golive.fleet.model import Bastion

__all__ = ["Survey", "survey"]

_FEATURES = ("aes", "avx2", "avx512f", "avx512vbmi", "bmi2", "pclmulqdq", "sha_ni", "sse4_2", "vaes", "vpclmulqdq", "crc32", "asimd", "sve")
"""CPU flags that the agent has code paths for, or whose absence an operator wants to see."""

_LOOK = (
    "uname -r; getconf _NPROCESSORS_ONLN; "
    'set -- /sys/devices/system/node/node[0-9]*; if [ -e "$1" ]; then echo $#; else echo 1; fi; '
    "grep -m1 -iE '^(flags|features)' /proc/cpuinfo"
)


@dataclass(frozen=True)
class Survey:
    """Facts about one machine; None where it could not be asked."""

    reachable: bool
    reason: str
    fingerprint: str
    kernel: str | None = None
    cores: int | None = None
    numa_nodes: int | None = None
    cpu_features: list[str] | None = None


def survey(
    address: str, port: int, user: str, host_key: str, identity: Path, timeout_s: float = 10, bastion: Bastion | None = None
) -> Survey:
    """Looks at one machine, through its bastion where it has one; never raises because it is down.

    Raises BadInput when ``host_key`` is not a public key.
    """
    try:
        _, body = host_key.split()[:2]
        fingerprint = "SHA256:" + base64.b64encode(hashlib.sha256(base64.b64decode(body, validate=True)).digest()).decode().rstrip("=")
        key = parse_host_key(host_key)
    except (ValueError, GoliveError):
        raise BadInput(f"The pinned host key of {address} is not a public key like `ssh-ed25519 AAAA...`; correct hosts.yaml.") from None
    try:
        way = None if bastion is None else shared(identity).way(bastion)
        with connected(address, port, user, key, identity, timeout_s=timeout_s, through=way) as client:
            done = execute(client, ["sh", "-c", _LOOK], timeout_s=timeout_s)
    except Held as error:
        return Survey(False, error.message, fingerprint)
    try:
        kernel, cores, nodes, flags = done.stdout.decode("utf-8", "replace").splitlines()[:4]
        present = set(flags.split(":", 1)[1].split())
        return Survey(True, "", fingerprint, kernel, int(cores), int(nodes), [f for f in _FEATURES if f in present])
    except (ValueError, IndexError):
        return Survey(True, "", fingerprint)
