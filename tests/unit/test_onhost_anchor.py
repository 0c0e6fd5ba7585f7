"""A host keeps the heads of the controller's journal, and says no to one that goes back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from golive.onhost import durable
from golive.onhost.main import main
from golive.onhost.places import Places

JOURNAL, OTHER = "a" * 64, "b" * 64
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "x" * 20


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def leave(
    places: Places, seq: int, digest: str = "1" * 64, *, journal: str = JOURNAL, token: int = 7, key: str = "", run: str = "run-1"
) -> int:
    words = [
        "anchor",
        "set",
        "--token",
        str(token),
        "--run",
        run,
        "--env",
        "sim",
        "--journal",
        journal,
        "--seq",
        str(seq),
        "--hash",
        digest,
    ]
    return main(["--root", str(places.root), *words, *(["--key", key] if key else [])])


def told(places: Places, capsys: pytest.CaptureFixture[str], env: str = "sim") -> dict:
    capsys.readouterr()
    assert main(["--root", str(places.root), "anchor", "get", "--env", env]) == 0
    return json.loads(capsys.readouterr().out)


def test_heads_are_kept_in_order_and_said(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert [leave(places, 4, "4" * 64), leave(places, 9, "9" * 64)] == [0, 0]
    assert [(head["seq"], head["hash"], head["journal"], head["token"]) for head in told(places, capsys)["heads"]] == [
        (4, "4" * 64, JOURNAL, 7),
        (9, "9" * 64, JOURNAL, 7),
    ]
    assert told(places, capsys, "other")["heads"] == []


def test_the_same_head_twice_changes_nothing(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(places, 4) == 0
    capsys.readouterr()
    assert leave(places, 4) == 0
    assert json.loads(capsys.readouterr().out)["changed"] is False
    assert len(told(places, capsys)["heads"]) == 1


@pytest.mark.parametrize(("seq", "digest", "said"), [(3, "3" * 64, "was cut"), (4, "5" * 64, "another hash")])
def test_a_journal_that_goes_back_or_says_something_else_is_refused(
    places: Places, capsys: pytest.CaptureFixture[str], seq: int, digest: str, said: str
) -> None:
    assert leave(places, 4, "4" * 64) == 0
    assert leave(places, seq, digest) == 4
    assert said in capsys.readouterr().err
    assert [head["seq"] for head in told(places, capsys)["heads"]] == [4]


def test_a_journal_begun_anew_is_taken_and_the_old_ones_heads_stay(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(places, 40) == 0
    capsys.readouterr()
    assert leave(places, 2, journal=OTHER) == 0
    assert json.loads(capsys.readouterr().out)["others"] == [JOURNAL]
    assert [(head["journal"], head["seq"]) for head in told(places, capsys)["heads"]] == [(JOURNAL, 40), (OTHER, 2)]
    assert leave(places, 39) == 4, "the old one still does not go back"


def test_a_controller_that_was_replaced_leaves_no_head(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(places, 4, token=9, run="run-2") == 0
    assert leave(places, 50, token=7) == 4
    assert [head["seq"] for head in told(places, capsys)["heads"]] == [4]


def test_the_first_key_is_pinned_and_another_is_said_but_not_taken(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    words = []
    for seq, key in ((1, KEY), (2, KEY), (3, KEY + "y"), (4, "")):
        capsys.readouterr()
        assert leave(places, seq, key=key) == 0
        words.append(json.loads(capsys.readouterr().out)["key"])
    assert words == ["pinned", "known", "other", "none"]
    assert told(places, capsys)["key"] == KEY
    assert len(told(places, capsys)["heads"]) == 4


def test_a_line_that_a_crash_tore_spoils_only_itself(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave(places, 4) == 0
    with places.anchors.open("a") as file:
        file.write('{"env": "sim", "seq": 5, "ha')
    assert leave(places, 6) == 0
    found = told(places, capsys)
    assert ([head["seq"] for head in found["heads"]], found["damaged"]) == ([4, 6], 1)
    assert leave(places, 3) == 4


def test_a_head_is_on_disk_before_the_verb_answers(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    fsync = durable.os.fsync
    monkeypatch.setattr(durable.os, "fsync", lambda fd: (synced.append(Path(f"/proc/self/fd/{fd}").resolve()), fsync(fd)))
    assert leave(places, 4) == 0
    assert places.anchors in synced and places.state in synced


@pytest.mark.parametrize(
    "wrong",
    [{"seq": 0}, {"seq": 1, "digest": "1" * 63}, {"seq": 1, "journal": "x"}, {"seq": 1, "key": "-----BEGIN OPENSSH PRIVATE KEY-----"}],
)
def test_nonsense_is_bad_input(places: Places, wrong: dict) -> None:
    assert leave(places, **wrong) == 2
    assert not places.anchors.exists()
