"""``inv lab.wan``: links are shown and changed; what cannot be is refused before any link is touched. The relay is a stand-in."""

from __future__ import annotations

from typing import Any

import pytest

from golive import environment
from golive.errors import BadInput, Unprepared
from golive.lab import wan as links
from golive.verbs.wan import wan


class Relays:
    """Links by name, with the settings that they were last told."""

    def __init__(self, **settings: links.Wan) -> None:
        self.told = {f"dwcp-lab-{name.replace('_', '--dwcp-lab-')}": self._read(setting.words()) for name, setting in settings.items()}
        self.changed: list[str] = []

    @staticmethod
    def _read(words: str) -> dict[str, Any]:
        return {key: int(value) for key, value in (word.split("=") for word in words.split())}

    def exchange(self, name: str, message: str) -> dict[str, Any] | None:
        if name in self.told and message.startswith("set "):
            self.told[name] = self._read(message.removeprefix("set "))
            self.changed.append(name)
        return self.told.get(name)


@pytest.fixture
def relays(monkeypatch: pytest.MonkeyPatch) -> Relays:
    made = Relays(ams_nyc=links.Wan(rtt_ms=20, rate_mbit=1000), ams_sgp=links.Wan(rtt_ms=20, rate_mbit=1000, queue_kb=300))
    monkeypatch.setattr(links, "_exchange", made.exchange)
    monkeypatch.setattr(links, "names", lambda prefix: sorted(made.told) if prefix == "dwcp-lab-" else [])
    return made


def test_links_are_shown_and_not_touched(relays: Relays) -> None:
    shown = wan(environment.load("lab"))
    assert shown.text == "ams-nyc: 20 ms there and back, 1000 Mbit/s\nams-sgp: 20 ms there and back, 1000 Mbit/s"
    assert [row["link"] for row in shown.data["links"]] == ["ams-nyc", "ams-sgp"]
    assert relays.changed == []


def test_what_is_given_changes_and_the_rest_stays(relays: Relays) -> None:
    shown = wan(environment.load("lab"), rtt="80ms", rate="200mbit", loss="0.5%")
    assert shown.text.splitlines()[0] == "ams-nyc: 80 ms there and back, 200 Mbit/s, 0.5 % lost"
    assert len(relays.changed) == 2
    first, second = relays.told.values()
    assert (first["delay_ns"], first["bits_per_s"], first["loss_per_million"]) == (40_000_000, 200_000_000, 5000)
    # A queue that follows the rate goes on following it, one that was asked for stays.
    assert (first["queue_bytes"], second["queue_bytes"]) == (1_250_000, 300_000)
    wan(environment.load("lab"), link="ams-nyc", loss="0%")
    first, second = relays.told.values()
    assert (first["loss_per_million"], first["delay_ns"], second["loss_per_million"]) == (0, 40_000_000, 5000)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"link": "ams-lon"}, "no link 'ams-lon' in lab; there are ams-nyc, ams-sgp"),
        ({"rtt": "80"}, "not a number followed by us or ms or s"),
        ({"loss": "150%"}, "loss_percent of a WAN link must be from 0 to 100, not 150"),
        ({"jitter": "15ms"}, "must not exceed half of rtt_ms, 10; it is 15"),
        ({"rate": "0.5mbit"}, "from 1 to 100000"),
    ],
)
def test_bad_input_is_refused_before_any_link_changes(relays: Relays, words: dict[str, str], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        wan(environment.load("lab"), **words)
    assert relays.changed == []


def test_no_lab_and_no_links_are_said(relays: Relays) -> None:
    with pytest.raises(BadInput, match="prod is no lab"):
        wan(environment.load("prod"))
    relays.told.clear()
    with pytest.raises(Unprepared, match=r"no WAN links now; run `./inv provision --env lab`"):
        wan(environment.load("lab"))
