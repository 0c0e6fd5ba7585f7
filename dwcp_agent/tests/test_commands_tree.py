"""``dwcp send`` of a directory: every file a transfer of its own, several at once, and one that fails stops no other."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dwcp_agent.commands import tree
from dwcp_agent.commands.http import Endpoint
from dwcp_agent.commands.pool import SessionPool
from dwcp_agent.commands.session import Session
from dwcp_agent.telemetry.decisions import DecisionLog
from fixtures import Done, Host, context_of, one_sentence, wait_for
from pki import Files


def make(root: Path, names: tuple[str, ...], size: int = 100_000) -> dict[str, bytes]:
    """Files with content of their own."""
    contents = {name: os.urandom(size) for name in names}
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return contents


def told(done: Done) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Reports of files, and the summary."""
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1]["summary"] is True
    return lines[:-1], lines[-1]


def test_every_file_arrives_under_its_name_and_is_sent_only_once(dwcp: Callable[..., Done], host: Host, tmp_path: Path) -> None:
    contents = make(tmp_path / "images", ("a", "b/c", "b/d/e", "z"))
    (tmp_path / "images/link").symlink_to("a")
    (tmp_path / "images/b/away").symlink_to("/etc")
    os.mkfifo(tmp_path / "images/pipe")
    (tmp_path / "images/empty").touch()
    done = dwcp("send", str(tmp_path / "images"), *host.to("tree/"), "--sessions", "2", "--session", "of-mine")
    assert done.returncode == 0, done.stderr
    reports, summary = told(done)
    assert {report["name"] for report in reports} == {f"tree/{name}" for name in [*contents, "empty"]}
    assert {report["session"] for report in reports} == {"of-mine-1", "of-mine-2"}
    assert (summary["files"], summary["sent"], summary["bytes"], summary["failed"]) == (5, 5, 400_000, [])
    assert summary["skipped"] == [
        {"name": "b/away", "why": "a link"},
        {"name": "link", "why": "a link"},
        {"name": "pipe", "why": "not a regular file"},
    ]
    for name, content in contents.items():
        assert (host.store / "tree" / name).read_bytes() == content
    assert sorted(path.name for path in (host.store / "tree").iterdir()) == ["a", "b", "empty", "z"]

    (tmp_path / "images/a").write_bytes(b"new" + contents["a"][3:])
    # By one session, whose connections go from one transfer to the next.
    done = dwcp("send", str(tmp_path / "images"), *host.to("tree"), "--sessions", "1")
    assert done.returncode == 0, done.stderr
    reports, summary = told(done)
    assert {report["name"]: report["sent_bytes"] for report in reports} == {
        "tree/a": 4096, "tree/b/c": 0, "tree/b/d/e": 0, "tree/empty": 0, "tree/z": 0,
    }  # fmt: skip
    assert {report["wire_bytes"] for report in reports if report["name"] not in ("tree/a", "tree/empty")} == {0}


def test_names_that_the_receiver_would_refuse_are_said_before_anything_is_sent(
    dwcp: Callable[..., Done], host: Host, tmp_path: Path
) -> None:
    make(tmp_path / "images", ("a", "b/.hidden", ".git/config"))
    done = dwcp("send", str(tmp_path / "images"), *host.to("refused"))
    assert done.returncode == 2 and one_sentence(done.stderr) and not done.stdout
    assert "'b/.hidden'" in done.stderr and "'.git/config'" in done.stderr and "'a'" not in done.stderr
    assert not (host.store / "refused").exists()


def test_a_file_that_fails_stops_no_other_and_is_named(dwcp: Callable[..., Done], host: Host, tmp_path: Path) -> None:
    make(tmp_path / "before", ("taken/by-a-directory",))
    assert dwcp("send", str(tmp_path / "before"), *host.to("some")).returncode == 0
    contents = make(tmp_path / "images", ("a", "taken", "z"))
    done = dwcp("send", str(tmp_path / "images"), *host.to("some"))
    reports, summary = told(done)
    assert done.returncode == 4 and "1 of 3 files were not sent: some/taken;" in done.stderr
    assert [report["name"] for report in sorted(reports, key=lambda report: report["name"])] == ["some/a", "some/z"]
    assert (summary["files"], summary["sent"], summary["bytes"]) == (3, 2, 200_000)
    assert [failure["name"] for failure in summary["failed"]] == ["some/taken"] and "lead to a file" in summary["failed"][0]["error"]
    assert (host.store / "some/z").read_bytes() == contents["z"]


def test_a_directory_that_became_a_link_after_it_was_listed_is_not_followed(
    dwcp: Callable[..., Done], host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "secret", ("key",))
    make(tmp_path / "images", ("d/key", "ok"))
    listed = tree.list_tree

    def swapped(directory: Path, prefix: str) -> tree.Listing:
        listing = listed(directory, prefix)
        (directory / "d").rename(directory / "was-d")
        (directory / "d").symlink_to(tmp_path / "secret")
        return listing

    monkeypatch.setattr(tree, "list_tree", swapped)
    done = dwcp("send", str(tmp_path / "images"), *host.to("swapped"))
    assert done.returncode == 4 and [failure["name"] for failure in told(done)[1]["failed"]] == ["swapped/d/key"]
    assert [path.name for path in (host.store / "swapped").iterdir()] == ["ok"]


def test_when_nobody_answers_that_is_said_once(dwcp: Callable[..., Done], people: dict[str, Files], tmp_path: Path) -> None:
    make(tmp_path / "images", ("a", "b"))
    done = dwcp("send", str(tmp_path / "images"), "https://127.0.0.1:9/x", *people["operator"].as_arguments())
    assert done.returncode == 4 and one_sentence(done.stderr) and not done.stdout


def test_baselines_of_a_directory_are_files_of_the_same_names(dwcp: Callable[..., Done], host: Host, tmp_path: Path) -> None:
    contents = make(tmp_path / "old", ("a", "b"))
    assert dwcp("send", str(tmp_path / "old"), *host.to("versions")).returncode == 0
    (tmp_path / "new").mkdir()
    (tmp_path / "new/a").write_bytes(b"new" + contents["a"][3:])
    (tmp_path / "new/c").write_bytes(contents["b"])
    reports, summary = told(dwcp("send", str(tmp_path / "new"), *host.to("versions"), "--baseline", str(tmp_path / "old")))
    assert {report["name"]: report["baseline"] for report in reports} == {"versions/a": "both sides", "versions/c": "none"}
    assert summary["wire_bytes"] < 102_000


def pool_of(people: dict[str, Files], asked: int | None, most: int = 32) -> SessionPool:
    context = context_of(people["operator"])
    return SessionPool(lambda number: Session(Endpoint("127.0.0.1", 1, ""), context, f"s-{number}"), asked, most, DecisionLog())


def test_a_number_of_sessions_that_was_asked_for_stays(people: dict[str, Files], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dwcp_agent.commands.pool._STEP_S", 0.01)
    pool = pool_of(people, 2)
    first, second = pool.acquire(), pool.acquire()
    assert (first.id, second.id) == ("s-1", "s-2")
    got: list[Session] = []
    waiting = threading.Thread(target=lambda: got.append(pool.acquire()), daemon=True)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()  # two are busy
    pool.release(first)
    wait_for("the first again", lambda: got == [first])
    pool.release(first)
    pool.release(second)
    pool.drain()
    pool.close()


def test_sessions_become_more_while_work_waits_and_never_more_than_may_be(
    people: dict[str, Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dwcp_agent.commands.pool._STEP_S", 0.02)
    monkeypatch.setattr("dwcp_agent.sessions.scaling._HIGH_FOR_S", 0.05)
    monkeypatch.setattr("dwcp_agent.sessions.scaling._COOL_DOWN_S", 0.05)
    pool = pool_of(people, None, most=6)
    got: list[Session] = []

    def work() -> None:
        with contextlib.suppress(RuntimeError):  # the pool is closed
            while True:
                got.append(pool.acquire())

    threading.Thread(target=work, daemon=True).start()
    wait_for("six sessions", lambda: len(got) == 6)
    time.sleep(0.3)
    assert [session.id for session in got] == [f"s-{number}" for number in range(1, 7)]
    for session in list(got):
        pool.release(session)
    pool.close()
