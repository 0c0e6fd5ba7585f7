"""The profile that is chosen for a path is better there than the one for another path. Needs root, and a processor that is free: where
none is, no level is raised, and the profiles send the same.

Near: content is sent in less time. Far: in fewer bytes, which is what a slow link makes time of. Memory's content, so that levels differ.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.memory_image import memory_image
from benchmarks.wan_hosts import Hosts, hosts
from golive.lab.wan import Wan

MIB = 1 << 20

pytestmark = [pytest.mark.timeout(300), pytest.mark.alone]


class Way:
    """Two hosts, an image on one of them, and its way to the other."""

    def __init__(self, at: Hosts) -> None:
        self._at = at
        self._image = at.place / "image"

    def lies_over(self, link: Wan, *, image_mib: int) -> None:
        self._at.link(link, congestion="bbr")
        self._at.serve()
        memory_image(self._image, image_mib * MIB)

    def sent(self, name: str, more: str = "") -> tuple[dict[str, Any], str]:
        """The report, and the profile that was in force at the end."""
        command = self._at.sending(self._image, name, streams=None, more=more)
        sender = self._at.on(self._at.near, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = sender.communicate(timeout=100)
        assert sender.returncode == 0, err.decode()
        [record] = [told for told in self._records() if told["url"].endswith(f"/{name}")]
        return json.loads(out), [each["value"] for each in record["decisions"] if each["policy"] == "profile"][-1]

    def _records(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in (self._at.place / "cache/dwcp/transfers").glob("*.json")]


@pytest.fixture
def way(monkeypatch: pytest.MonkeyPatch, agent: Path) -> Iterator[Way]:
    with tempfile.TemporaryDirectory(prefix="dwcp-profiles-", dir="/dev/shm") as directory:
        monkeypatch.setenv("GOLIVE_STATE", str(Path(directory) / "golive"))
        with hosts(Path(directory), agent) as at:
            yield Way(at)


def test_near_the_chosen_profile_takes_less_time_than_one_for_a_long_path(way: Way) -> None:
    way.lies_over(Wan(rtt_ms=1, rate_mbit=1000), image_mib=384)  # of less, most is sent before the level has risen
    chosen, other = [], []
    for number in range(3):
        report, profile = way.sent(f"chosen{number}")
        assert profile == "low-latency"
        chosen.append(report["seconds"])
        other.append(way.sent(f"other{number}", "--profile high-throughput")[0]["seconds"])
    print(chosen, other)
    assert sorted(other)[1] > 1.1 * sorted(chosen)[1], (chosen, other)


def test_far_the_chosen_profile_sends_fewer_bytes_than_one_for_a_short_path(way: Way) -> None:
    way.lies_over(Wan(rtt_ms=120, rate_mbit=25), image_mib=192)  # of less, half is sent before the level has risen
    report, profile = way.sent("chosen")
    assert profile == "high-throughput"
    other, _ = way.sent("other", "--profile low-latency")
    print(report["wire_bytes"], other["wire_bytes"])
    assert report["wire_bytes"] < 0.99 * other["wire_bytes"]
