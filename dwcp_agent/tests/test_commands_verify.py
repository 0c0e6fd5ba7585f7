"""``dwcp recv --verify`` on the receiving host: what was committed is told from what was damaged since."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dwcp_agent.commands import verify
from dwcp_agent.commands.http import parse_url, request
from dwcp_agent.encoding.manifest import Manifest, Readable, manifest_of
from dwcp_agent.transport.source import BytesSource
from fixtures import Done, Host, context_of, one_sentence
from pki import Files

Verify = Callable[..., tuple[Done, list[dict[str, Any]]]]


@pytest.fixture
def put(dwcp: Callable[..., Done], host: Host, tmp_path: Path) -> Callable[..., str]:
    """Sends content under a name; its id."""

    def sent(name: str, content: bytes, identity: Files | None = None) -> str:
        (tmp_path / "content").write_bytes(content)
        to = Host(host.place, host.port, identity or host.identity).to(name)
        done = dwcp("send", str(tmp_path / "content"), *to)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["id"])

    return sent


@pytest.fixture
def verified(dwcp: Callable[..., Done], host: Host) -> Verify:
    def run(*names: str) -> tuple[Done, list[dict[str, Any]]]:
        done = dwcp("recv", "--verify", *names, "--config", str(host.config), "--json")
        return done, json.loads(done.stdout)["contents"] if done.stdout else []

    return run


def damage(path: Path, at: int, *, unseen: bool) -> None:
    """Flips a byte; ``unseen`` as a disk would do it, without a time of it."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    if unseen:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_committed_content_is_verified_by_what_was_kept_and_by_an_id(put: Callable[..., str], verified: Verify) -> None:
    one, two = put("verify/one", os.urandom(300_000)), put("verify/two", b"")
    done, found = verified("verify/one", "verify/two")
    assert done.returncode == 0, done.stderr
    assert [(content["state"], content["id"], content["expected"], content["owner"]) for content in found] == [
        ("verified", one, one, "operator.operator"),
        ("verified", two, two, "operator.operator"),
    ]
    assert verified("verify/one", "--id", one)[0].returncode == 0
    done, found = verified("verify/one", "--id", two)
    assert done.returncode == 4 and found[0]["state"] == "damaged" and "as committed" in done.stderr and one_sentence(done.stderr)


@pytest.mark.parametrize("unseen", [True, False])
def test_damaged_content_is_one_sentence_that_says_where(put: Callable[..., str], verified: Verify, host: Host, unseen: bool) -> None:
    name = f"verify/damaged-{unseen}"
    before, sound = put(name, os.urandom(300_000)), put("verify/sound", b"sound")
    damage(host.store / name, 2 * 65536 + 7, unseen=unseen)
    done, found = verified("verify/sound", name)
    assert done.returncode == 4 and one_sentence(done.stderr)
    assert "1 of 5 blocks are not as committed, the first at byte 131072" in done.stderr
    assert ("written to since" in done.stderr) is not unseen
    assert [content["state"] for content in found] == ["verified", "damaged"]
    assert (found[0]["id"], found[1]["expected"]) == (sound, before) and found[1]["id"] != before
    # Told again: nothing of what was kept is gone.
    assert verified(name)[0].stderr.split(":")[0] == "1 of 1 damaged"


def test_missing_content_has_an_exit_code_of_its_own_and_damage_comes_first(put: Callable[..., str], verified: Verify, host: Host) -> None:
    done, found = verified("verify/nowhere")
    assert done.returncode == 5 and found[0]["state"] == "missing" and one_sentence(done.stderr)
    put("verify/cut", os.urandom(100_000))
    os.truncate(host.store / "verify/cut", 99_999)
    done, _ = verified("verify/nowhere", "verify/cut")
    assert done.returncode == 4 and "it has 99999 bytes and not 100000" in done.stderr


def test_content_of_which_nothing_is_kept_is_not_called_verified(dwcp: Callable[..., Done], verified: Verify, host: Host) -> None:
    content = b"an object that was put"
    path = host.store / "verify/put"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    done, found = verified("verify/put")
    expected = manifest_of(BytesSource(content)).id
    assert done.returncode == 4 and found[0]["state"] == "unknown" and expected in done.stderr and one_sentence(done.stderr)
    assert verified("verify/put", "--id", expected)[0].returncode == 0
    assert verified("verify/put", "--id", "0" * 64)[1][0]["state"] == "damaged"


def test_another_file_under_the_name_is_not_called_damaged(put: Callable[..., str], verified: Verify, host: Host, tmp_path: Path) -> None:
    put("verify/other", b"as sent")
    (tmp_path / "other").write_bytes(b"by another way")
    (tmp_path / "other").rename(host.store / "verify/other")
    done, found = verified("verify/other")
    assert done.returncode == 4 and (found[0]["state"], found[0]["expected"]) == ("unknown", None)


def test_several_owners_of_a_name_are_told_apart(put: Callable[..., str], verified: Verify, people: dict[str, Files]) -> None:
    put("verify/shared", b"one")
    theirs = put("verify/shared", b"two", people["load"])
    done, _ = verified("verify/shared")
    assert done.returncode == 2 and "load.load.host-2, operator.operator" in done.stderr and "--owner" in done.stderr
    done, found = verified("verify/shared", "--owner", "load.load.host-2")
    assert done.returncode == 0 and found[0]["id"] == theirs


def test_what_a_transfer_replaces_meanwhile_is_verified_as_what_it_was(
    put: Callable[..., str], verified: Verify, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(200_000)
    before = put("verify/replaced", content)
    after: list[str] = []

    def replaced(source: Readable, workers: Any = None) -> Manifest:
        after.append(put("verify/replaced", content[::-1]))
        return manifest_of(source, workers)

    monkeypatch.setattr(verify, "manifest_of", replaced)
    done, found = verified("verify/replaced")
    assert done.returncode == 0 and (found[0]["state"], found[0]["id"]) == ("verified", before)
    monkeypatch.undo()
    assert verified("verify/replaced")[1][0]["id"] == after[0]


def test_content_that_is_written_to_while_it_is_read_is_not_called_verified(
    put: Callable[..., str], verified: Verify, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("verify/busy", os.urandom(200_000))

    def written(source: Readable, workers: Any = None) -> Manifest:
        found = manifest_of(source, workers)
        damage(host.store / "verify/busy", 0, unseen=False)
        return found

    monkeypatch.setattr(verify, "manifest_of", written)
    done, found = verified("verify/busy")
    assert done.returncode == 4 and found[0]["state"] == "unknown" and "written to while" in done.stderr


def test_links_in_the_store_are_not_followed(put: Callable[..., str], verified: Verify, host: Host, tmp_path: Path) -> None:
    put("verify/real", b"x")
    (host.store / "verify/link").symlink_to("real")
    done, _ = verified("verify/link")
    assert done.returncode == 4 and "does not lead to a file" in done.stderr and one_sentence(done.stderr)


def test_verifying_changes_nothing_for_a_running_agent(put: Callable[..., str], verified: Verify, host: Host) -> None:
    put("verify/still", b"x")
    partial = host.place / "store/.partial-a/of-a-transfer"
    partial.write_bytes(b"half")
    try:
        assert verified("verify/still")[0].returncode == 0
        assert partial.exists()
        context = context_of(host.identity)
        assert request(parse_url(f"https://127.0.0.1:{host.port}"), context, "GET", "/ready")["ready"] is True
    finally:
        partial.unlink()
