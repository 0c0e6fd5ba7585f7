"""A WAN link between two routers: a small compiled relay (``wanlink/``) that delays, limits and loses what passes.

The kernel's own tool for this, netem, is a module that many kernels (of cloud machines, of containers) come without. Each link is one
process with a TUN device in either namespace; it is there as long as the link is, and is asked over a socket under ``/run/dwcp-lab``.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import socket
import subprocess
import time
import zlib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from golive.environment import MARK
from golive.errors import BadInput, Refused, Unprepared, Unreachable
from golive.lab.commands import run
from golive.lab.image import cache_dir

__all__ = ["SOCKETS", "Wan", "ask", "change", "current", "end", "fault", "names", "setting_of", "start"]

JSON = dict[str, Any]

SOCKETS = Path("/run/dwcp-lab")
"""Short, because a socket's path is limited to 107 bytes; on a tmpfs, because no link outlives the machine."""

_SOURCES = Path(__file__).parent / "wanlink"
_ANSWER_S = 5.0
_START_S = 10.0
_QUEUE_S = 0.05
"""What waits for the wire when nothing else is said: 50 ms of it, which is what most peers' figures were measured with."""


@dataclass(frozen=True)
class Wan:
    """What a link does to packets, the same both ways.

    Args:
        rtt_ms: there and back; half of it each way.
        jitter_ms: a packet's delay each way is up to this much shorter or longer; packets stay in order.
        rate_mbit: of IP packets, in Mbit/s each way; None for no limit.
        loss_percent: of packets each way, each by its own chance.
        damage_percent: of packets each way, each by its own chance: one bit of what TCP carries is another, and TCP does not notice.
        queue_kb: bytes/1000 that wait for the wire before packets are dropped; None for 50 ms of the rate.
    """

    rtt_ms: float = 0.0
    jitter_ms: float = 0.0
    rate_mbit: int | None = None
    loss_percent: float = 0.0
    queue_kb: int | None = None
    damage_percent: float = 0.0

    def __post_init__(self) -> None:
        bounds = {
            "rtt_ms": (0, 10_000),
            "jitter_ms": (0, 5_000),
            "rate_mbit": (1, 100_000),
            "loss_percent": (0, 100),
            "damage_percent": (0, 100),
            "queue_kb": (2, 1_000_000),
        }
        for field in fields(self):
            value, (least, most) = getattr(self, field.name), bounds[field.name]
            if value is not None and not least <= value <= most:
                raise BadInput(f"{field.name} of a WAN link must be from {least} to {most}, not {value:g}.")
        for name in ("rate_mbit", "queue_kb"):
            if (value := getattr(self, name)) is not None and value != int(value):
                raise BadInput(f"{name} of a WAN link must be a whole number, not {value:g}.")
        if self.jitter_ms > self.rtt_ms / 2:
            raise BadInput(f"jitter_ms of a WAN link must not exceed half of rtt_ms, {self.rtt_ms / 2:g}; it is {self.jitter_ms:g}.")

    def words(self) -> str:
        """The setting as the relay reads it."""
        rate = (self.rate_mbit or 0) * 1_000_000
        queue = self.queue_kb * 1000 if self.queue_kb is not None else max(round(rate / 8 * _QUEUE_S), 16_000)
        values = {
            "delay_ns": round(self.rtt_ms / 2 * 1e6),
            "jitter_ns": round(self.jitter_ms * 1e6),
            "bits_per_s": rate,
            "queue_bytes": queue,
            "loss_per_million": round(self.loss_percent * 1e4),
            "damage_per_million": round(self.damage_percent * 1e4),
        }
        return " ".join(f"{name}={value}" for name, value in values.items())

    def __str__(self) -> str:
        told = [f"{self.rtt_ms:g} ms there and back"]
        told += [f"± {self.jitter_ms:g} ms"] if self.jitter_ms else []
        told += [f"{self.rate_mbit} Mbit/s" if self.rate_mbit else "rate not limited"]
        told += [f"{self.loss_percent:g} % lost"] if self.loss_percent else []
        told += [f"{self.damage_percent:g} % damaged"] if self.damage_percent else []
        return ", ".join(told)


def setting_of(*, rtt: str = "", jitter: str = "", rate: str = "", loss: str = "") -> dict[str, Any]:
    """What an operator typed ("80ms", "1gbit", "0.5%"), as arguments of ``Wan``; what is empty is absent.

    Raises:
        BadInput: a value without its unit, or no number.
    """
    units: dict[str, tuple[str, dict[str, float]]] = {
        "rtt": ("rtt_ms", {"us": 1e-3, "ms": 1, "s": 1e3}),
        "jitter": ("jitter_ms", {"us": 1e-3, "ms": 1, "s": 1e3}),
        "rate": ("rate_mbit", {"mbit": 1, "gbit": 1e3}),
        "loss": ("loss_percent", {"%": 1}),
    }
    found: dict[str, Any] = {}
    for name, text in {"rtt": rtt, "jitter": jitter, "rate": rate, "loss": loss}.items():
        if not text:
            continue
        target, known = units[name]
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z%]+)", text.strip().lower())
        if match is None or match[2] not in known:
            raise BadInput(f"--{name} {text!r} is not a number followed by {' or '.join(known)}.")
        value = round(float(match[1]) * known[match[2]], 6)
        found[target] = int(value) if value.is_integer() else value
    return found


def start(name: str, a: tuple[str, str], b: tuple[str, str], wan: Wan) -> None:
    """The link ``name`` joins two (namespace, interface); interfaces are made, addresses and routes are the caller's.

    Raises:
        Unprepared: no compiler, or no TUN devices here.
        Refused: the relay did not start; its own words are told.
    """
    end(name)
    SOCKETS.mkdir(mode=0o700, exist_ok=True)
    places = [part for namespace, interface in (a, b) for part in (f"/run/netns/{namespace}", interface)]
    clean = {key: value for key, value in os.environ.items() if key != MARK}
    # Its own session: it outlives Terraform's provider, which started it. Its seed is its name's, so a link loses the same packets again.
    relay = subprocess.Popen(
        [str(_binary()), str(_path(name)), str(zlib.crc32(name.encode())), *places],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=clean,
        cwd="/",
    )
    assert relay.stdout is not None and relay.stderr is not None
    with relay.stdout, relay.stderr:
        if relay.stdout.readline() != b"ready\n":
            relay.wait(_START_S)
            raise Refused(f"The WAN link {name} did not start: {relay.stderr.read().decode(errors='replace').strip()}.")
    change(name, wan)


def names(prefix: str) -> list[str]:
    """Links whose name begins with ``prefix``, whether or not their relay still lives."""
    return sorted(path.stem for path in SOCKETS.glob(f"{prefix}*.wan"))


def ask(name: str) -> JSON | None:
    """Setting and counts of a link, as the relay tells them; None when there is no such link."""
    return _exchange(name, "show")


def current(name: str) -> Wan:
    """What a link does now. Raises Refused when there is no such link."""
    told = ask(name)
    if told is None:
        raise Refused(f"There is no WAN link {name}.")
    found = Wan(
        rtt_ms=told["delay_ns"] * 2 / 1e6,
        jitter_ms=told["jitter_ns"] / 1e6,
        rate_mbit=told["bits_per_s"] // 1_000_000 or None,
        loss_percent=told["loss_per_million"] / 1e4,
        damage_percent=told["damage_per_million"] / 1e4,
    )
    # A queue that nobody asked for follows the rate.
    usual = f"queue_bytes={told['queue_bytes']}" in found.words().split()
    return found if usual else replace(found, queue_kb=told["queue_bytes"] // 1000)


def fault(name: str, wan: Wan) -> str | None:
    """How the link differs from what ``wan`` says, in words; None when it does not."""
    told = ask(name)
    if told is None:
        return f"no relay for {name}"
    wanted = dict(word.split("=") for word in wan.words().split())
    differing = [f"{key} is {told[key]} and not {value}" for key, value in wanted.items() if str(told[key]) != value]
    return f"{name}: {', '.join(differing)}" if differing else None


def change(name: str, wan: Wan) -> JSON:
    """The link does what ``wan`` says, at once. Raises Refused when there is no such link."""
    told = _exchange(name, f"set {wan.words()}")
    if told is None:
        raise Refused(f"There is no WAN link {name}.")
    if "error" in told:
        raise Refused(f"The WAN link {name} took no setting: {told['error']}.")
    return told


def end(name: str) -> None:
    """The link and its interfaces are gone."""
    if _exchange(name, "stop") is not None:
        _until_silent(name)
    _path(name).unlink(missing_ok=True)


def _until_silent(name: str) -> None:
    """The relay removes its socket when its devices are closed or about to be; a new one may have the names only then."""
    deadline = time.monotonic() + _ANSWER_S
    while _path(name).exists():
        if time.monotonic() > deadline:
            raise Unreachable(f"The WAN link {name} was told to end and did not.")
        time.sleep(0.002)


def _path(name: str) -> Path:
    return SOCKETS / f"{name}.wan"


def _exchange(name: str, message: str) -> JSON | None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        asking.settimeout(_ANSWER_S)
        asking.bind("")  # Linux picks an address, to which the answer goes
        try:
            asking.connect(str(_path(name)))
            asking.send(message.encode())
            return dict(json.loads(asking.recv(4096)))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except TimeoutError:
            raise Unreachable(f"The WAN link {name} did not answer within {_ANSWER_S:.0f} s.") from None


def _binary() -> Path:
    """The relay, compiled once for each version of its sources."""
    sources = sorted(_SOURCES.glob("*.[ch]"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    built = cache_dir() / f"wanlink-{digest}"
    with (cache_dir() / "wanlink.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            for old in cache_dir().glob("wanlink-*"):
                old.unlink()
            new = built.with_name("wanlink.new")
            flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"]
            ran = run(["gcc", *flags, "-o", str(new), *(str(path) for path in sources if path.suffix == ".c"), "-lm"])
            if not ran.ok:
                raise Unprepared(f"The WAN link's relay could not be compiled: {ran.complaint}.")
            new.rename(built)
    return built
