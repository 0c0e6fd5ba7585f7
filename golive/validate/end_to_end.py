"""The whole, between hosts of two sites: volumes, images, connections, many operations at once. Measured of one release, against bars."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from golive.environment import ROOT
from golive.errors import GoliveError, Held, Occupied, Refused
from golive.regress.ground import Ground
from golive.regress.tolerances import EndToEnd
from golive.validate.integration import ABSENT
from golive.validate.rows import Row, measured, unmeasured, wrong

__all__ = ["end_to_end"]

MIB = 1 << 20
_LIMIT_S = 240.0
_ROUNDS = 3
_IMAGE_MIB = 64
CONNECTIONS = (10, 50, 100, 500, 1000)
OPERATIONS = 1000
_AT_ONCE = 100
"""Of the operations, those under way: an agent takes 128 at once and refuses more, whatever is offered."""

Tell = Callable[[str], None]


def end_to_end(ground: Ground, bars: EndToEnd, tell: Tell, *, long: bool) -> Iterator[Row]:
    """Rows, as soon as each is known. Raises Occupied when the ground is no longer ours."""
    whole = Whole(ground, bars)
    for mib in (1, 10, 100, 1024) if long else (1, 10, 100):
        yield _told(whole.volume(mib), tell)
    if not long:
        yield unmeasured("end-to-end-volume-1024MiB", "1 GiB in one file: rate", "left out; --long measures it", unit="MB/s")
    yield _told(whole.image("memory"), tell)
    yield _told(whole.image("disk"), tell)
    for count in CONNECTIONS:
        yield _told(whole.connections(count), tell)
    yield _told(whole.operations(), tell)
    for name, (case, why) in ABSENT.items():
        yield unmeasured(f"end-to-end-{name}", case, why)


def _told(row: Row, tell: Tell) -> Row:
    tell(f"{row['id']}: {row['verdict']} {row['samples_ours']} {row['unit']} {row['note']}".rstrip())
    return row


class Whole:
    """The candidate of ``ground`` at work."""

    def __init__(self, ground: Ground, bars: EndToEnd) -> None:
        self._ground, self._bars = ground, bars
        self._side = ground.candidate

    def volume(self, mib: int) -> Row:
        """One file of ``mib`` MiB; equal at both ends by the hosts' own sha256, each time."""
        id_, case = f"end-to-end-volume-{mib}MiB", f"{mib} MiB in one file, from the session's opening to the receipt: rate"

        def take(number: int) -> float:
            path = f"{self._ground.work}/volume"
            made = self._good(self._ground.sender({"do": "content", "path": path, "mib": mib, "seed": number + 1}, _LIMIT_S))
            seconds = self._moved(path, f"volume-{mib}-{number}", made["sha256"])
            return mib * MIB / seconds / 1e6

        return self._row(id_, case, "MB/s", take, above=self._bars.volume_MBps)

    def image(self, kind: str) -> Row:
        """A guest's memory, or a disk with holes, moved between two hosts at rest."""
        id_, case = f"end-to-end-{kind}", f"an image of {_IMAGE_MIB} MiB, a guest's {kind}, moved at rest and equal at both ends: rate"
        path, note = f"{self._ground.work}/{kind}", "an image and no running guest: see end-to-end-vm-migration"
        try:
            digest = self._memory(path) if kind == "memory" else self._disk(path)
        except GoliveError as error:
            return unmeasured(id_, case, str(error).rstrip("."), unit="MB/s")

        def take(number: int) -> float:
            return _IMAGE_MIB * MIB / self._moved(path, f"{kind}-{number}", digest) / 1e6

        return self._row(id_, case, "MB/s", take, above=self._bars.volume_MBps, note=note)

    def connections(self, count: int) -> Row:
        """So many connections side by side, each until the agent's first answer over it."""
        failed: list[str] = []

        def take(number: int) -> float:
            got = self._asked(count, 0, f"connect-{number}")
            side = got["sides"][0]
            if side["connections"] != count:
                failed.append(f"{count - side['connections']} of {count} were not made: {side['why']}")
            return 1000 * float(got["connecting_s"]) / count

        case = f"{count} TLS connections made side by side, each until its first answer: time for each"
        return self._row(f"end-to-end-connections-{count}", case, "ms", take, below=self._bars.connection_ms, failed=failed)

    def operations(self) -> Row:
        """Small operations offered at once, each over a connection of its own."""
        failed: list[str] = []

        def take(number: int) -> float:
            got = self._asked(OPERATIONS, 1, f"operations-{number}")
            side = got["sides"][0]
            if side["failed"] or side["requests"] != 2 * OPERATIONS:
                failed.append(f"{side['failed']} of {side['asked']} failed: {side['why']}")
            return float(side["requests"]) / 2 / float(got["asking_s"])

        case = f"{OPERATIONS} operations offered at once (4 KiB put and read back), a connection each, {_AT_ONCE} under way"
        note = "objects; not the migrations that the claim was about"
        above = self._bars.operations_per_s
        return self._row("end-to-end-operations", case, "operations/s", take, above=above, failed=failed, note=note)

    def _row(
        self,
        id_: str,
        case: str,
        unit: str,
        take: Callable[[int], float],
        *,
        above: float | None = None,
        below: float | None = None,
        failed: Sequence[str] = (),
        note: str = "",
    ) -> Row:
        samples: list[float] = []
        trouble = ""
        for number in range(-1, _ROUNDS):
            self._ground.still()
            try:
                sample = take(number)
            except Occupied:
                raise
            except Refused as error:
                return wrong(id_, case, str(error).rstrip("."), unit=unit)
            except GoliveError as error:
                trouble = str(error).rstrip(".")
                break
            if number >= 0:
                samples.append(sample)
        self._ground.receiver({"do": "remove", "paths": list(self._ground.stores)}, 60.0)
        said = "; ".join(text for text in (trouble, *failed[:1], note) if text)
        if trouble and not samples:
            return unmeasured(id_, case, said, unit=unit)
        # What broke in the middle has not been shown to work.
        return measured(id_, case, unit, samples, above=above, below=below, right=not failed and not trouble, note=said)

    def _moved(self, path: str, name: str, digest: str) -> float:
        """Seconds of a transfer whose content was then read by the receiving host. Raises Refused when it is not what was sent."""
        ground, side = self._ground, self._side
        url = f"https://{ground.address}:{side.port}/{ground.prefix}/{name}"
        task = {"do": "send", "program": list(side.program), "path": path, "url": url, "tls": dict(ground.sender_tls), "limit_s": 220}
        got = self._good(ground.sender({**task, "environment": {"XDG_CACHE_HOME": f"{ground.work}/cache"}}, _LIMIT_S))
        stored = f"{ground.stores[0]}/{name}"
        there = self._good(ground.receiver({"do": "digests", "paths": [stored]}, _LIMIT_S))[stored]
        if there != digest:
            raise Refused(f"{name}: the receiver has {'nothing' if there is None else 'other content than was sent'}")
        return float(got["told"]["seconds"])

    def _asked(self, connections: int, each: int, name: str) -> dict[str, Any]:
        ground, side = self._ground, self._side
        asked = [{"port": side.port, "release": side.release, "prefix": f"{ground.prefix}/{name}"}]
        many = {"connections": connections, "at_once": _AT_ONCE, "each": each}
        task = {"do": "requests", "address": ground.address, "tls": dict(ground.neighbour_tls), "sides": asked, **many}
        return self._good(ground.neighbour(task, _LIMIT_S))

    def _memory(self, path: str) -> str:
        """The model of a guest's memory that the benchmarks use, at the sender."""
        with tempfile.TemporaryDirectory(prefix="golive-validate-") as directory:
            image = Path(directory) / "memory"
            words = [sys.executable, str(ROOT / "benchmarks/memory_image.py"), str(image), "--size", str(_IMAGE_MIB)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Held(f"the image could not be made: {(done.stderr.strip() or 'it says nothing').splitlines()[-1][:200]}")
            content = image.read_bytes()
        self._ground.ship(path, content)
        return hashlib.sha256(content).hexdigest()

    def _disk(self, path: str) -> str:
        """A disk of which a quarter is in use, the rest holes."""
        made = self._ground.sender({"do": "content", "path": path, "mib": _IMAGE_MIB // 4, "seed": 7, "length_mib": _IMAGE_MIB}, _LIMIT_S)
        return str(self._good(made)["sha256"])

    @staticmethod
    def _good(answer: dict[str, Any]) -> dict[str, Any]:
        if "error" in answer:
            raise Held(str(answer["error"]))
        return answer
