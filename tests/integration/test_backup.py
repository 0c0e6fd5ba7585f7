"""``dwcp-host backup`` with the real restic: what is saved comes back, what is wrong is found, killed anywhere there is one snapshot."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from golive import environment
from golive.environment import ROOT
from golive.fleet import pki
from golive.onhost import kept
from golive.onhost.main import main
from golive.onhost.places import Places
from golive.onhost.repository import RepositoryServer, Tls

PASSWORD = "correct horse"


class Host:
    """A host in a directory: an agent's store with content and a database, settings, and a repository beside it."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.places = Places(directory / "host")
        self.repository, self.directory = str(directory / "repositories"), directory
        self._capsys, self._monkeypatch = capsys, monkeypatch
        self.password: str | None = PASSWORD
        self.certificate = False
        etc = self.places.etc
        etc.mkdir(parents=True)
        (etc / "host.json").write_text('{"name": "ams-1", "site": "ams", "address": "10.0.0.1"}')
        (etc / "tls").mkdir()
        (etc / "tls/agent.key").write_text("PRIVATE")
        for name in ("operator.operator/a", "operator.operator/deep/b", ".manifests/c"):
            self.stored(name, name.encode() * 1000)
        self.stored(".partial-a/x", b"half")
        self.database()

    @property
    def store(self) -> Path:
        return self.places.root / "var/lib/dwcp/store"

    @property
    def own_repository(self) -> Path:
        return Path(self.repository) / "ams-1"

    def stored(self, name: str, content: bytes) -> None:
        path = self.store / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_bytes(content)
        fresh.rename(path)

    def database(self) -> None:
        path = self.store / ".state/state.db"
        path.parent.mkdir(parents=True, exist_ok=True)
        with sqlite3.connect(path) as opened:
            opened.execute("PRAGMA journal_mode = WAL")
            opened.execute("CREATE TABLE entries (key TEXT, value BLOB)")
            opened.executemany("INSERT INTO entries VALUES (?, ?)", [(str(n), b"v" * 100) for n in range(500)])
        opened.close()

    def settings(self) -> dict[str, Any]:
        return {"repository": self.repository, "password": self.password, "certificate": self.certificate}

    def call(self, *words: str) -> tuple[int, dict[str, Any], str]:
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(self.settings())))
        self._capsys.readouterr()
        code = main(["--root", str(self.places.root), "backup", *words])
        said = self._capsys.readouterr()
        return code, json.loads(said.out) if code == 0 else {}, said.err

    def take(self, run: str = "r1", token: int = 1, *more: str) -> tuple[int, dict[str, Any], str]:
        return self.call("take", "--env", "lab", "--of", run, "--run", run, "--token", str(token), *more)

    def verify(self, snapshot: str, run: str = "r1", token: int = 1, *more: str) -> tuple[int, dict[str, Any], str]:
        return self.call("verify", "--env", "lab", "--of", run, "--run", run, "--token", str(token), "--snapshot", snapshot, *more)

    def status(self, run: str = "r1") -> tuple[int, dict[str, Any], str]:
        return self.call("status", "--env", "lab", "--of", run)

    def snapshots(self) -> list[dict[str, Any]]:
        environment = {**os.environ, "RESTIC_PASSWORD": PASSWORD, "RESTIC_REPOSITORY": str(self.own_repository)}
        done = subprocess.run(["restic", "snapshots", "--json"], env=environment, capture_output=True, text=True, check=True)
        return list(json.loads(done.stdout) or [])


@pytest.fixture
def host(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, capsys, monkeypatch)


def test_a_snapshot_is_taken_once_a_run_and_says_what_it_holds(host: Host) -> None:
    assert host.status()[1]["configured"] is False
    code, told, _ = host.take()
    assert code == 0 and told["changed"] is True and told["databases"] == 1 and told["added_bytes"] > 0
    again = host.take()[1]
    assert (again["changed"], again["snapshot"], again["files"], again["bytes"]) == (False, told["snapshot"], told["files"], told["bytes"])
    assert [entry["id"] for entry in host.snapshots()] == [told["snapshot"]]
    assert host.status()[1] == {
        "configured": True,
        "snapshot": {"id": told["snapshot"], "time": host.snapshots()[0]["time"]},
        "verified": None,
    }
    assert host.take("r2", 2)[1]["snapshot"] != told["snapshot"]


def test_keys_passwords_and_half_content_are_not_saved(host: Host) -> None:
    host.take()
    saved = kept.read_manifest(host.places.root / "var/lib/dwcp/backup/manifests/r1.json")["files"]
    assert "etc/dwcp/host.json" in saved and "var/lib/dwcp/store/.state/state.db" in saved
    assert not [name for name in saved if "tls" in name or "etc/dwcp/backup" in name or ".partial" in name]


def test_without_content_only_what_is_known_of_it_is_saved(host: Host) -> None:
    assert host.take("r1", 1, "--without-content")[1]["content"] is False
    saved = kept.read_manifest(host.places.root / "var/lib/dwcp/backup/manifests/r1.json")["files"]
    assert {name for name in saved if "store" in name} == {"var/lib/dwcp/store/.manifests/c", "var/lib/dwcp/store/.state/state.db"}


def test_a_snapshot_is_verified_by_restoring_it_and_nothing_is_left_of_that(host: Host) -> None:
    snapshot = host.take()[1]["snapshot"]
    before = {path: path.stat().st_ctime_ns for path in host.store.rglob("*")}
    code, told, _ = host.verify(snapshot)
    assert code == 0 and told["databases"] == 1 and told["last"] is None
    assert host.status()[1]["verified"]["snapshot"] == snapshot
    assert host.verify(snapshot)[1] == {**told, "changed": False, "seconds": 0.0}, "not restored again"
    assert not (host.places.root / "var/lib/dwcp/backup/scratch").exists() and not (host.places.root / "var/lib/dwcp/backup/stage").exists()
    assert {path: path.stat().st_ctime_ns for path in host.store.rglob("*") if path in before} == before, (
        "the agent's manifests go by ctime"
    )


def test_the_secret_is_in_no_argument_no_effect_and_no_answer(host: Host) -> None:
    told = host.take()
    host.verify(told[1]["snapshot"])
    assert PASSWORD not in json.dumps(told) and PASSWORD not in host.places.effects.read_text()
    assert (host.places.etc / "backup/password").stat().st_mode & 0o777 == 0o600


def test_writes_that_go_on_meanwhile_leave_every_saved_file_whole(host: Host) -> None:
    stop = threading.Event()

    def write() -> None:
        opened = sqlite3.connect(host.store / ".state/state.db", timeout=30)
        number = 0
        while not stop.is_set():
            number += 1
            host.stored("operator.operator/hot", str(number % 10).encode() * 200_000)
            with opened:
                opened.execute("INSERT INTO entries VALUES (?, ?)", (f"n{number}", b"w" * 500))
        opened.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        told = host.take()[1]
        assert host.verify(told["snapshot"])[0] == 0
    finally:
        stop.set()
        writer.join()


def _spoil(host: Host) -> None:
    """One byte of every file of content in the repository is another."""
    for path in (host.own_repository / "data").rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            data = bytearray(path.read_bytes())
            data[len(data) // 3] ^= 1
            path.write_bytes(bytes(data))


def test_a_changed_byte_in_the_repository_is_found_and_nothing_is_verified(host: Host) -> None:
    snapshot = host.take()[1]["snapshot"]
    _spoil(host)
    code, _, said = host.verify(snapshot)
    assert code == 4 and said.count("\n") == 1
    assert host.status()[1]["verified"] is None


def test_a_snapshot_of_something_else_is_not_taken_for_this_runs(host: Host) -> None:
    first = host.take()[1]["snapshot"]
    host.stored("operator.operator/more", b"more")
    host.take("r2", 2)
    code, _, said = host.verify(first, "r2", 2)
    assert code == 4 and "its manifest is another" in said


def test_a_broken_database_is_found_although_its_bytes_are_those_that_were_saved(host: Host) -> None:
    path = host.store / ".state/state.db"
    copy = host.directory / "restored"
    manifest = kept.copied(host.places, copy, content=True, about={})
    assert kept.differences(manifest, copy) == []
    database = copy / path.relative_to(host.places.root)
    data = bytearray(database.read_bytes())
    data[4096:8192] = b"\xff" * 4096
    database.write_bytes(bytes(data))
    entry = manifest["files"][str(path.relative_to(host.places.root))]
    entry["sha256"] = kept._digest(database)
    assert "SQLite" in kept.differences(manifest, copy)[0]


@pytest.mark.parametrize("change", ["missing", "more", "other"])
def test_every_difference_from_what_was_saved_is_named(host: Host, change: str) -> None:
    copy = host.directory / "restored"
    manifest = kept.copied(host.places, copy, content=True, about={})
    path = copy / "var/lib/dwcp/store/operator.operator/a"
    if change == "missing":
        path.unlink()
    elif change == "more":
        path.with_name("stranger").write_text("x")
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    [wrong] = kept.differences(manifest, copy)
    assert wrong.startswith("var/lib/dwcp/store/operator.operator/")


def test_a_snapshot_with_much_less_than_the_last_one_needs_a_person(host: Host) -> None:
    host.verify(host.take()[1]["snapshot"])
    for name in ("operator.operator/a", "operator.operator/deep/b", ".manifests/c"):
        (host.store / name).unlink()
    told = host.take("r2", 2)[1]
    code, _, said = host.verify(told["snapshot"], "r2", 2, "--least-of-last", "0.9")
    assert code == 4 and "less than 90%" in said
    assert host.verify(told["snapshot"], "r2", 2, "--least-of-last", "0")[0] == 0


def test_a_snapshot_over_the_limit_is_not_restored(host: Host) -> None:
    snapshot = host.take()[1]["snapshot"]
    code, _, said = host.verify(snapshot, "r1", 1, "--most-bytes", "10")
    assert code == 4 and "restore_limit_mib" in said


def test_a_wrong_password_is_said_and_makes_no_second_repository(host: Host) -> None:
    host.take()
    host.password = "wrong"
    code, _, said = host.take("r2", 2)
    assert code == 4 and "does not open the backup repository" in said and "wrong" not in said
    assert len(host.snapshots()) == 1


def test_without_a_password_nothing_is_taken(host: Host) -> None:
    host.password = None
    code, _, said = host.take()
    assert code == 4 and "password does not exist" in said


def test_a_password_that_others_can_read_is_refused(host: Host) -> None:
    host.take()
    host.password = None
    (host.places.etc / "backup/password").chmod(0o644)
    code, _, said = host.take("r2", 2)
    assert code == 4 and "chmod 600" in said


def test_an_old_controller_takes_no_backup(host: Host) -> None:
    host.take("r2", 7)
    code, _, said = host.take("r1", 6)
    assert code == 4 and "stale" in said and len(host.snapshots()) == 1


def test_a_repository_that_does_not_answer_is_unknown_and_said_at_once(host: Host) -> None:
    host.take()
    host.repository = "rest:http://ann:secret@127.0.0.1:9"
    begun = time.monotonic()
    code, _, said = host.take("r2", 2)
    assert code == 4 and "127.0.0.1:9 does not answer" in said and "secret" not in said
    assert host.status("r2")[0] == 4, "not the same as no snapshot"
    assert time.monotonic() - begun < 10


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_repository_makes_no_snapshot_and_the_next_try_with_room_does(host: Host) -> None:
    disk = host.directory / "disk"
    disk.mkdir()
    host.stored("operator.operator/large", os.urandom(6 << 20))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=True)
    try:
        host.repository = str(disk / "repositories")
        code, _, said = host.take()
        assert code == 4 and "full" in said
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert host.take()[1]["changed"] is True and len(host.snapshots()) == 1
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_host_without_room_for_the_copy_says_what_it_needs(host: Host) -> None:
    home = host.places.root / "var/lib/dwcp/backup"
    home.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(home)], check=True)
    try:
        code, _, said = host.take()
        assert code == 4 and "make room" in said
    finally:
        subprocess.run(["umount", str(home)], check=True)


_KILLED = """
import os, signal, sys, io, json
from golive.onhost import kept, restic
from golive.onhost.main import main
name, when = sys.argv[1], sys.argv[2]
owner, function = (kept, "copied") if name == "copied" else (restic.Restic, name)
original = getattr(owner, function)
def killed(*args, **kwargs):
    if when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, function, killed)
sys.stdin = io.StringIO(sys.argv[3])
sys.exit(main(sys.argv[4:]))
"""


@pytest.mark.parametrize(
    ("at", "when"), [("init", "after"), ("copied", "before"), ("copied", "after"), ("backup", "before"), ("backup", "after")]
)
def test_killed_anywhere_the_next_call_leaves_one_snapshot_that_verifies(host: Host, at: str, when: str) -> None:
    words = ["--root", str(host.places.root), "backup", "take", "--env", "lab", "--of", "r1", "--run", "r1", "--token", "1"]
    done = subprocess.run([sys.executable, "-c", _KILLED, at, when, json.dumps(host.settings()), *words], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    host.stored("operator.operator/since", b"what came since the first try")
    code, told, said = host.take("r1", 2)
    assert code == 0, said
    assert [entry["id"] for entry in host.snapshots()] == [told["snapshot"]]
    assert host.verify(told["snapshot"], "r1", 2)[0] == 0
    assert list((host.own_repository / "locks").iterdir()) == []


def test_a_restic_that_outlives_its_caller_is_waited_for_and_its_snapshot_taken(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is killed alone: its restic goes on and holds the lock."""
    programs = host.directory / "bin"
    programs.mkdir()
    slow = programs / "restic"
    slow.write_text('#!/bin/sh\ncase "$*" in *"backup --json"*) touch "$0.began"; sleep 2;; esac\nexec /usr/bin/restic "$@"\n')
    slow.chmod(0o755)
    code = f"""
import sys, io
from golive.onhost import restic
from golive.onhost.main import main
restic._PROGRAM = {str(slow)!r}
sys.stdin = io.StringIO(sys.argv[1])
sys.exit(main(sys.argv[2:]))
"""
    words = ["--root", str(host.places.root), "backup", "take", "--env", "lab", "--of", "r1", "--run", "r1", "--token", "1"]
    caller = subprocess.Popen([sys.executable, "-c", code, json.dumps(host.settings()), *words], cwd=ROOT)
    deadline = time.monotonic() + 30
    while not (programs / "restic.began").exists():
        assert time.monotonic() < deadline and caller.poll() is None
        time.sleep(0.02)
    caller.kill()
    caller.wait()
    told = host.take("r1", 2)[1]
    assert told["changed"] is False and [entry["id"] for entry in host.snapshots()] == [told["snapshot"]]
    assert host.verify(told["snapshot"], "r1", 2)[0] == 0


def test_the_lock_of_a_living_restic_stays_when_those_of_the_dead_go(host: Host) -> None:
    """Somebody works on the repository while this host cleans up after a backup that died."""
    host.take()
    locks = host.own_repository / "locks"
    secret = {**os.environ, "RESTIC_PASSWORD": PASSWORD, "RESTIC_REPOSITORY": str(host.own_repository)}
    living = subprocess.Popen(["restic", "backup", "--stdin"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=secret)
    try:
        deadline = time.monotonic() + 60
        while not [path for path in locks.iterdir() if "-tmp-" not in path.name]:
            assert time.monotonic() < deadline and living.poll() is None
            time.sleep(0.05)
        [lock] = locks.iterdir()
        (host.places.root / "var/lib/dwcp/backup/taking.json").write_text("{}")
        assert host.take("r2", 2)[0] == 0
        assert list(locks.iterdir()) == [lock]
    finally:
        living.kill()
        living.wait()
    (host.places.root / "var/lib/dwcp/backup/taking.json").write_text("{}")
    assert host.take("r3", 3)[0] == 0
    assert list(locks.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_served_repository_whose_disk_is_full_is_said_to_be_within_the_limit(host: Host, served: Callable[[], Path]) -> None:
    disk = served()
    disk.mkdir()
    host.stored("operator.operator/large", os.urandom(6 << 20))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=True)
    try:
        code, _, said = host.take("r1", 1, "--limit", "20")
        assert code == 4 and ("full" in said or "did not end within 20 s" in said)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        told = host.take("r1", 1)[1]
        assert told["changed"] is True and host.verify(told["snapshot"])[0] == 0
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """State by unit, as systemd tells it, of the one release that is installed."""
    from golive.onhost import installed, units

    states = {"dwcp-agent@x.service": "inactive"}
    monkeypatch.setattr(installed, "listed", lambda places, kind: [SimpleNamespace(unit=name) for name in states])
    monkeypatch.setattr(units, "show", lambda names: {name: units.Unit(name, states[name], False, "", 0) for name in names})
    return states


def restored(host: Host, snapshot: str, token: int = 9) -> tuple[int, dict[str, Any], str]:
    return host.call("restore", "--snapshot", snapshot, "--token", str(token), "--run", "restore")


def _tree(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file() and not p.name.endswith(("-wal", "-shm"))}


def test_after_a_disaster_the_store_is_the_snapshots_and_what_was_there_is_kept(host: Host, agents: dict[str, str]) -> None:
    before = {name: data for name, data in _tree(host.store).items() if not name.startswith(".partial")}
    snapshot = host.take()[1]["snapshot"]
    host.stored("operator.operator/a", b"damaged")
    (host.store / ".state/state.db").write_bytes(b"damaged")
    shutil.rmtree(host.places.etc / "backup")  # as on a host that was made anew
    code, told, said = restored(host, snapshot)
    assert code == 0, said
    assert {name: data for name, data in _tree(host.store).items() if ".state" not in name} == {
        name: data for name, data in before.items() if ".state" not in name
    }
    with sqlite3.connect(host.store / ".state/state.db") as opened:
        assert opened.execute("SELECT count(*) FROM entries").fetchone() == (500,)
    assert (Path(told["before"]) / "operator.operator/a").read_bytes() == b"damaged"


def test_nothing_is_restored_under_an_agent_that_runs(host: Host, agents: dict[str, str]) -> None:
    snapshot = host.take()[1]["snapshot"]
    agents["dwcp-agent@x.service"] = "active"
    before = _tree(host.store)
    code, _, said = restored(host, snapshot)
    assert code == 4 and "runs on this host" in said and _tree(host.store) == before


def test_another_hosts_snapshot_and_a_spoiled_one_change_nothing(host: Host, agents: dict[str, str]) -> None:
    snapshot = host.take()[1]["snapshot"]
    before = _tree(host.store)
    etc = host.places.etc / "host.json"
    own, repository = etc.read_text(), host.own_repository
    etc.write_text(own.replace("ams-1", "nyc-9"))
    repository.rename(repository.with_name("nyc-9"))
    code, _, said = restored(host, snapshot)
    assert code == 4 and "is of host ams-1" in said
    repository.with_name("nyc-9").rename(repository)
    etc.write_text(own)
    _spoil(host)
    assert restored(host, snapshot)[0] == 4 and _tree(host.store) == before


# -- the repositories' own server ----------------------------------------------------------------------------------------------------


@pytest.fixture
def served(host: Host) -> Iterator[Callable[[], Path]]:
    directory = host.directory / "served"
    server = RepositoryServer(directory, ("127.0.0.1", 0), None)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    host.repository = f"rest:http://127.0.0.1:{server.server_address[1]}"
    yield lambda: directory
    server.shutdown()
    thread.join()
    server.server_close()


def test_restic_saves_to_the_server_and_reads_it_back_and_plain_restic_reads_its_directory(host: Host, served: Callable[[], Path]) -> None:
    told = host.take()[1]
    assert host.verify(told["snapshot"])[0] == 0
    host.repository = str(served())
    assert [entry["id"] for entry in host.snapshots()] == [told["snapshot"]]


def _asked(host: Host, method: str, path: str, body: bytes = b"") -> int:
    import httpx

    return httpx.request(method, f"{host.repository.removeprefix('rest:')}/{path}", content=body).status_code


def test_what_is_in_a_served_repository_is_neither_overwritten_nor_removed(host: Host, served: Callable[[], Path]) -> None:
    told = host.take()[1]
    before = {path: path.read_bytes() for path in served().rglob("*") if path.is_file()}
    data = next(path.name for path in (served() / "ams-1/data").rglob("*") if path.is_file())
    assert _asked(host, "DELETE", f"ams-1/snapshots/{told['snapshot']}") == 403
    assert _asked(host, "DELETE", f"ams-1/data/{data}") == 403
    assert _asked(host, "DELETE", "ams-1/config") == 403
    assert _asked(host, "POST", "ams-1/config", b"other") == 403
    assert _asked(host, "POST", f"ams-1/data/{'0' * 64}", b"not of that hash") == 400
    assert {path: path.read_bytes() for path in served().rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "ams-1/data/..%2f..%2fx", "ams-1/other/" + "0" * 64, "..", "ams-1/data/" + "0" * 63, ""]
)
def test_nothing_outside_of_a_repository_is_reached(host: Host, served: Callable[[], Path], path: str) -> None:
    import http.client

    where = host.repository.removeprefix("rest:http://")
    for method in ("GET", "POST", "DELETE"):
        connection = http.client.HTTPConnection(where)
        connection.request(method, f"/{path}", body=b"x" if method == "POST" else None)
        assert connection.getresponse().status in (400, 403, 404)
        connection.close()
    assert not served().exists() or not list(served().rglob("*"))


@pytest.fixture
def secured(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The server as on ops: TLS with the environment's CA, and the host's own certificate on the host."""
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "golive"))
    lab = environment.load("lab")
    hosts = [SimpleNamespace(name=name, address="127.0.0.1", role=role, gateway=False, load=False) for name, role in _FLEET.items()]
    pki.ensure(lab, SimpleNamespace(hosts=hosts), {name: ["127.0.0.1"] for name in _FLEET})  # type: ignore[arg-type]
    made = lab.state / "pki"
    for name in ("agent.crt", "agent.key"):
        shutil.copy(made / "ams-1" / name, host.places.tls / name)
    shutil.copy(made / "ca.crt", host.places.tls / "ca.crt")
    ops = tmp_path / "ops-tls"
    shutil.copytree(made / "ops", ops)
    shutil.copy(made / "ca.crt", ops / "ca.crt")
    server = RepositoryServer(tmp_path / "served", ("127.0.0.1", 0), Tls(ops, "monitor"))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    host.repository, host.certificate = f"rest:https://127.0.0.1:{server.server_address[1]}", True
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


_FLEET = {"ams-1": "agent", "nyc-1": "agent", "ops": "ops"}


def test_a_host_saves_over_mutual_tls_into_its_own_repository_and_opens_no_others(host: Host, secured: Path) -> None:
    told = host.take()[1]
    assert host.verify(told["snapshot"])[0] == 0
    for name in ("agent.crt", "agent.key"):
        shutil.copy(secured / "nyc-1" / name, host.places.tls / name)
    code, _, said = host.take("r2", 2)  # it calls itself ams-1 still, with the certificate of nyc-1
    assert code == 4 and "403" in said
    assert sorted(path.name for path in (host.directory / "served").iterdir()) == ["ams-1"]


def test_who_shows_no_certificate_of_the_environment_gets_no_answer(host: Host, secured: Path) -> None:
    import httpx

    url = f"{host.repository.removeprefix('rest:')}/ams-1/config"
    with pytest.raises((httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError)):
        httpx.get(url, verify=ssl.create_default_context(cafile=str(secured / "ca.crt")))
