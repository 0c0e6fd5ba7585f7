"""Content of the kinds that clusters have, the same for the same seed: state records as JSON, and series that sensors make."""

from __future__ import annotations

import array
import json
import math
import random
from collections.abc import Iterator

__all__ = ["SERIES", "puts", "series"]

SITES = ("ams", "fra", "sin", "nyc")


def puts(count: int, seed: int) -> list[tuple[bytes, bytes]]:
    """Keys and values: machines, nodes, volumes and leases, 0.25 to 1.4 KB each, 950 bytes on average."""
    source = random.Random(seed)  # noqa: S311 - the same content in every run
    makers = (_machine, _node, _volume, _lease)
    found = []
    for _ in range(count):
        kind, fields = source.choices(makers, (60, 15, 20, 5))[0](source)
        name = fields["metadata"]["name"]  # type: ignore[index]
        content = {"apiVersion": "cluster/v1", "kind": kind, **fields}
        found.append((f"{kind.lower()}/{name}".encode(), json.dumps(content, separators=(",", ":")).encode()))
    return found


def _time(source: random.Random) -> str:
    clock = ":".join(f"{source.randrange(limit):02}" for limit in (24, 60, 60))
    return f"2026-11-{source.randrange(1, 29):02}T{clock}.{source.randrange(1000):03}Z"


def _meta(source: random.Random, name: str) -> dict[str, object]:
    return {"name": name, "uid": source.randbytes(16).hex(), "resourceVersion": source.randrange(10**9)}


def _node_name(source: random.Random) -> str:
    return f"{source.choice(SITES)}-{source.randrange(64)}"


def _conditions(source: random.Random, *kinds: str) -> list[dict[str, str]]:
    return [{"type": kind, "status": source.choice(("True", "True", "False")), "lastTransitionTime": _time(source)} for kind in kinds]


def _machine(source: random.Random) -> tuple[str, dict[str, object]]:
    labels = {"team": source.choice(("payments", "search", "video", "core")), "tier": source.randrange(4)}
    image = f"registry.internal/{source.choice(('debian', 'alpine', 'centos'))}:{source.randrange(8, 14)}"
    memory = source.choice((1, 2, 4, 8, 16)) << 30
    disks = [
        {"id": f"disk-{n}", "readBytes": source.randrange(10**11), "writtenBytes": source.randrange(10**11), "latencyMs": _ms(source)}
        for n in range(source.randrange(1, 4))
    ]
    interfaces = [
        {
            "name": f"eth{n}",
            "address": ".".join(["10", *(str(source.randrange(256)) for _ in range(3))]),
            "mac": ":".join(source.randbytes(1).hex() for _ in range(6)),
            "rxBytes": source.randrange(10**12),
            "txBytes": source.randrange(10**12),
        }
        for n in range(source.randrange(1, 3))
    ]
    return "VirtualMachine", {
        "metadata": {**_meta(source, f"vm-{source.randrange(10_000):05}"), "labels": labels},
        "spec": {"vcpus": source.choice((2, 4, 8, 16)), "memoryBytes": memory, "image": image, "node": _node_name(source)},
        "status": {
            "phase": source.choice(("Running", "Paused", "Migrating", "Stopped")),
            "cpu": round(source.random() * 16, 3),
            "memoryUsedBytes": source.randrange(memory),
            "startedAt": _time(source),
            "heartbeatAt": _time(source),
            "disks": disks,
            "interfaces": interfaces,
            "conditions": _conditions(source, "Ready", "Scheduled", "NetworkReady"),
        },
    }


def _ms(source: random.Random) -> float:
    return round(source.expovariate(1), 3)


def _node(source: random.Random) -> tuple[str, dict[str, object]]:
    return "Node", {
        "metadata": _meta(source, _node_name(source)),
        "status": {
            "capacity": {"cpu": source.choice((32, 64, 128)), "memoryBytes": source.choice((128, 256, 512)) << 30},
            "load": [round(source.random() * 40, 2) for _ in range(3)],
            "temperatureC": [round(35 + source.random() * 40, 1) for _ in range(8)],
            "heartbeatAt": _time(source),
            "agent": {"version": f"3.{source.randrange(4)}.{source.randrange(10)}", "digest": source.randbytes(32).hex()},
            "conditions": _conditions(source, "DiskPressure", "MemoryPressure", "PIDPressure", "Ready"),
        },
    }


def _volume(source: random.Random) -> tuple[str, dict[str, object]]:
    replicas = [
        {
            "node": _node_name(source),
            "state": source.choice(("InSync", "Syncing")),
            "offset": source.randrange(10**11),
            "checksum": source.randbytes(32).hex(),
        }
        for _ in range(3)
    ]
    return "Volume", {
        "metadata": _meta(source, f"vol-{source.randrange(100_000):06}"),
        "spec": {"sizeBytes": source.choice((10, 20, 50, 100, 500)) << 30, "class": source.choice(("ssd", "nvme", "hdd"))},
        "status": {
            "phase": source.choice(("Bound", "Available", "Released")),
            "attachedTo": f"vm-{source.randrange(10_000):05}",
            "replicas": replicas,
            "snapshotId": source.randbytes(16).hex(),
            "updatedAt": _time(source),
        },
    }


def _lease(source: random.Random) -> tuple[str, dict[str, object]]:
    times = {"acquiredAt": _time(source), "renewedAt": _time(source)}
    spec = {"holder": _node_name(source), **times, "durationS": 15, "term": source.randrange(10**6)}
    return "Lease", {"metadata": _meta(source, f"lease-{source.randrange(1000)}"), "spec": spec}


SERIES = ("temperature", "load", "noise")


def series(kind: str, code: str, count: int, seed: int) -> bytes:
    """``count`` numbers, ``f`` or ``d`` of the module ``array``.

    ``temperature`` drifts slowly around 20 with a daily wave and a sensor's noise of 0.02; ``load`` is between 0 and 100 with jumps and
    noise of 0.5; ``noise`` is normal around 0 with deviation 1, in which there is nothing to find but the bits that nobody needs.
    """
    source = random.Random(seed)  # noqa: S311 - the same content in every run
    return array.array(code, _values(kind, count, source)).tobytes()


def _values(kind: str, count: int, source: random.Random) -> Iterator[float]:
    level = 20.0
    for number in range(count):
        if kind == "temperature":
            level += source.gauss(0, 0.003) + (20.0 - level) * 1e-4
            yield level + 3 * math.sin(number / 8640 * math.tau) + source.gauss(0, 0.02)
        elif kind == "load":
            if source.random() < 0.002:
                level = source.random() * 100
            yield min(100.0, max(0.0, level + source.gauss(0, 0.5)))
        else:
            yield source.gauss(0, 1)
