"""``dwcp explain``: what a sender remembers of its transfers, and that it fails none when it cannot."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dwcp_agent.commands.records import KEPT, Record, recorded, records
from dwcp_agent.encoding.level import Decision
from dwcp_agent.transport.outbound import Outbound
from dwcp_agent.transport.tally import Tally
from fixtures import Done, Host, one_sentence


@pytest.fixture
def explained(dwcp: Callable[..., Done]) -> Callable[..., Any]:
    def run(*arguments: str) -> Any:
        done = dwcp("explain", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def decisions(record: dict[str, Any]) -> dict[str, Any]:
    return {decision["policy"]: decision["value"] for decision in record["decisions"]}


def test_a_transfer_is_explained_by_its_report_and_what_was_decided(
    dwcp: Callable[..., Done], host: Host, tmp_path: Path, explained: Callable[..., Any], cache: Path
) -> None:
    old = tmp_path / "old"
    old.write_bytes(os.urandom(200_000))
    report = json.loads(dwcp("send", str(old), *host.to("explain/vm 1")).stdout)
    record = explained("last")
    assert (record["outcome"], record["error"], record["report"]) == ("sent", None, report)
    assert (record["source"], record["url"]) == (str(old), f"https://127.0.0.1:{host.port}/explain/vm%201")
    assert (record["bytes"], record["done_bytes"]) == (200_000, 200_000)
    expected = {"protocol": 2, "baseline": "none", "congestion": report["congestion"], "streams": 1}
    assert decisions(record) == expected
    assert all(set(decision) == {"at_s", "policy", "what", "value", "why"} and decision["why"] for decision in record["decisions"])
    assert all(decision["at_s"] is None or 0 <= decision["at_s"] <= record["seconds"] for decision in record["decisions"])

    # Another version, whose baseline here is none of the receiver's.
    (tmp_path / "new").write_bytes(os.urandom(200_000))
    assert dwcp("send", str(tmp_path / "new"), *host.to("explain/vm 1"), "--baseline", str(tmp_path / "new")).returncode == 0
    assert decisions(explained("last"))["baseline"] == "receiver"
    listed = explained()["transfers"]
    assert [each["source"] for each in listed] == [str(tmp_path / "new"), str(old)]
    assert explained(listed[1]["token"][:8])["report"] == report
    words = dwcp("explain", listed[0]["token"]).stdout
    assert "baseline: baseline receiver, because the receiver's version is " in words and "verified by the receiver" in words
    assert len(dwcp("explain").stdout.splitlines()) == 2
    assert stat.S_IMODE((cache / "transfers").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (cache / "transfers").iterdir()} == {0o600}


def test_changes_of_the_level_are_told_in_their_order(
    dwcp: Callable[..., Done], host: Host, tmp_path: Path, explained: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Outbound.run

    def changed(self: Outbound) -> Tally:
        now = time.monotonic()
        self._chooser.decisions = [Decision(3, "one", now + 100), Decision(5, "two", now + 200)]
        return run(self)

    monkeypatch.setattr(Outbound, "run", changed)
    (tmp_path / "image").write_bytes(b"x")
    assert dwcp("send", str(tmp_path / "image"), *host.to("explain/levels")).returncode == 0
    told = [decision for decision in explained("last")["decisions"] if decision["policy"] == "level"]
    assert [(decision["value"], decision["why"], round(decision["at_s"], -2)) for decision in told] == [(3, "one", 100), (5, "two", 200)]


def test_a_failed_transfer_leaves_a_record_with_its_error(
    dwcp: Callable[..., Done], host: Host, tmp_path: Path, explained: Callable[..., Any]
) -> None:
    (tmp_path / "image").write_bytes(b"x" * 1000)
    here = [str(tmp_path / "image"), "https://127.0.0.1:9/x", *host.identity.as_arguments()]
    failed = dwcp("send", *here)
    record = explained("last")
    assert failed.returncode == 4 and (record["outcome"], record["report"], record["bytes"]) == ("failed", None, 1000)
    assert record["error"] == {"kind": "Unreachable", "message": failed.stderr.rstrip("\n"), "exit_code": 4}
    assert "failed after" in dwcp("explain", "last").stdout


def test_an_interrupted_transfer_leaves_a_record(cache: Path) -> None:
    record = Record("0" * 32, "source", "url", bytes=10)
    with pytest.raises(KeyboardInterrupt), recorded(record):
        record.reached(4, 10, Tally(10))
        raise KeyboardInterrupt
    assert [(each["outcome"], each["done_bytes"]) for each in records()] == [("interrupted", 4)]


def test_a_dry_run_and_bad_input_leave_no_record(dwcp: Callable[..., Done], host: Host, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"x")
    assert dwcp("send", str(tmp_path / "image"), *host.to("explain/dry"), "--dry-run").returncode == 0
    assert dwcp("send", str(tmp_path / "missing"), *host.to("explain/dry")).returncode == 2
    assert records() == []


def test_every_file_of_a_directory_leaves_a_record(
    dwcp: Callable[..., Done], host: Host, tmp_path: Path, explained: Callable[..., Any]
) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        (tmp_path / "images" / name).write_bytes(name.encode())
    assert dwcp("send", str(tmp_path / "images"), *host.to("explain/tree")).returncode == 0
    assert {each["source"] for each in explained()["transfers"]} == {str(tmp_path / "images/a"), str(tmp_path / "images/b")}


@pytest.mark.parametrize("place", ["file", "relative", "gone"])
def test_a_record_that_cannot_be_written_fails_no_transfer(
    dwcp: Callable[..., Done], host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"x")
    unusable = {"file": {"XDG_CACHE_HOME": str(tmp_path / "file")}, "relative": {"XDG_CACHE_HOME": "here", "HOME": str(tmp_path / "file")}}
    environment = unusable.get(place, {"XDG_CACHE_HOME": "/proc/nowhere"})
    done = dwcp("send", str(tmp_path / "file"), *host.to(f"explain/unwritten-{place}"), "--baseline", str(tmp_path / "file"), **environment)
    assert done.returncode == 0 and json.loads(done.stdout)["verified"] is True
    assert dwcp("explain", **environment).stdout == "There is no record of a transfer.\n"


def test_the_newest_hundred_are_kept_and_a_beginning_must_fit_one(dwcp: Callable[..., Done], cache: Path) -> None:
    for number in range(KEPT + 5):
        with recorded(Record(f"{number:03}{'0' * 29}", "source", "url")):
            pass
        os.utime(cache / "transfers" / f"{number:03}{'0' * 29}.json", (number, number))
    # The one written last is the newest but for the times that the test gave the others.
    with recorded(Record("f" * 32, "source", "url")):
        pass
    kept = sorted(path.stem[:3] for path in (cache / "transfers").iterdir())
    assert len(kept) == KEPT and kept[0] == f"{6:03}" and kept[-1] == "fff"
    done = dwcp("explain", "01")
    assert done.returncode == 2 and "any of 10 transfers" in done.stderr and one_sentence(done.stderr)
    assert dwcp("explain", "e").returncode == 2
    (cache / "transfers" / "broken.json").write_text("{")
    assert len(dwcp("explain").stdout.splitlines()) == KEPT
