"""The program restic on this host: its repository, its secrets, and what it says in one sentence.

Neither the address of the repository nor the password is ever an argument: both are files that only root reads. The settings are in
``/etc/dwcp/backup``: ``repository`` (a URL as restic writes it; the host's own name is added), ``password``, and, where the storage wants
more (keys of an object store), ``environment`` with ``NAME=value`` lines.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from golive.onhost import durable, machine
from golive.onhost.failures import Refused
from golive.onhost.places import Places

__all__ = ["NotThere", "Restic", "Snapshot", "settings_dir", "write_settings"]

_PROGRAM = "restic"
_CONNECT_S = 5.0
_PORTS = {"https": 443, "http": 80}
_SECRET_IN_URL = re.compile(r"://[^/@\s]*@")
_FULL = ("no space left", "disk quota", "507", "insufficient storage")
_ABSENT = ("no such file or directory", "does not exist", "404")
_SNAPSHOT_ID = re.compile(r"[0-9a-f]{8,64}")


class NotThere(Refused):
    """The storage answers, and has no repository in this place."""


class Snapshot:
    """One snapshot as the repository lists it."""

    def __init__(self, id: str, time: str, tags: Sequence[str]) -> None:
        self.id = id
        self.time = time
        self.tags = tuple(tags)

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "time": self.time}


def settings_dir(places: Places) -> Path:
    """Where a host's backup settings are."""
    return places.etc / "backup"


def write_settings(places: Places, given: dict[str, Any]) -> bool:
    """The settings are as ``given``: ``repository``, and where they are given ``password`` and ``certificate``; says whether that is new.

    A password that is not given has to be there. Raises Refused when it is not.
    """
    home = settings_dir(places)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o700)
    wanted = {"repository": f"{given['repository'].rstrip('/')}/{host_name(places)}\n"}
    if given.get("password"):
        wanted["password"] = f"{given['password']}\n"
    if given.get("certificate"):
        wanted["client.pem"] = "".join((places.tls / name).read_text(encoding="utf-8") for name in ("agent.crt", "agent.key"))
    changed = False
    for name, text in wanted.items():
        path = home / name
        if not path.exists() or path.read_text(encoding="utf-8") != text or path.stat().st_mode & 0o777 != 0o600:
            durable.write_text(path, text, 0o600)
            changed = True
    if not given.get("certificate"):
        changed = durable.remove(home / "client.pem") or changed
    _secret(home / "password")
    return changed


def host_name(places: Places) -> str:
    """This host's name in the fleet. Raises Refused when the host does not know it."""
    try:
        name = json.loads((places.etc / "host.json").read_text(encoding="utf-8"))["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{places.etc / 'host.json'} does not say this host's name ({error}); apply base.yml first.") from None
    return str(name)


def _secret(path: Path) -> Path:
    try:
        found = path.stat()
    except FileNotFoundError:
        raise Refused(f"{path} does not exist; a backup without a password is none: put it there, mode 0600, owned by root.") from None
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o077:
        raise Refused(f"{path} can be read by others than root; `chown root {path}; chmod 600 {path}`.")
    return path


class Restic:
    """This host's repository. Every method raises Refused, in one sentence, for what the storage or the program says no to."""

    def __init__(self, places: Places, descriptor: int | None = None) -> None:
        home = settings_dir(places)
        self._home = home
        self._repository = _secret(home / "repository")
        self._password = _secret(home / "password")
        self._cache = places.root / "var/cache/dwcp-backup"
        self._descriptor = descriptor
        """An open lock that every child keeps, should this process die."""

    def snapshots(self, host: str, tags: Sequence[str], timeout_s: float) -> list[Snapshot]:
        """Those of ``host`` that have all of ``tags``, oldest first. Raises NotThere when there is no repository yet."""
        self._reachable()
        words = ["snapshots", "--json", "--no-lock", "--host", host, "--tag", ",".join(tags)]
        listed = json.loads(self._run(words, timeout_s) or "null") or []
        found = [Snapshot(str(entry["id"]), str(entry["time"]), entry.get("tags") or ()) for entry in listed]
        return sorted(found, key=lambda snapshot: snapshot.time)

    def init(self, timeout_s: float) -> None:
        """There is a repository, made with this host's password."""
        self._run(["init"], timeout_s)

    def unlock(self, timeout_s: float) -> None:
        """Locks whose process on this host is dead, and those nobody has renewed for half an hour, are gone; a living one stays."""
        self._run(["unlock"], timeout_s)

    def backup(self, directory: Path, host: str, tags: Sequence[str], timeout_s: float) -> dict[str, Any]:
        """``directory`` is a snapshot; restic's own summary of it."""
        words = ["backup", "--json", "--host", host, *(word for tag in tags for word in ("--tag", tag)), "."]
        lines = self._run(words, timeout_s, cwd=directory).splitlines()
        for line in reversed(lines):
            told = json.loads(line)
            if isinstance(told, dict) and told.get("message_type") == "summary":
                return told
        raise Refused("restic ended without a summary, so it is not known whether there is a snapshot.")

    def restore(self, snapshot: str, target: Path, timeout_s: float) -> None:
        """What ``snapshot`` has lies in ``target``. Nothing is taken from a cache: what the repository has is read."""
        if not _SNAPSHOT_ID.fullmatch(snapshot):
            raise Refused(f"{snapshot!r} is no id of a snapshot.")
        self._reachable()
        self._run(["restore", snapshot, "--target", str(target)], timeout_s, cached=False)

    def _reachable(self) -> None:
        """The storage takes a connection; restic itself would try for minutes. Only where its address can be told from the URL."""
        url = self._repository.read_text(encoding="utf-8").strip()
        if not url.startswith(("rest:http", "s3:http", "swift:http")):
            return
        parts = urlsplit(url.partition(":")[2])
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 443)
        try:
            machine.here().connects(host, port, _CONNECT_S)
        except OSError as error:
            raise Refused(f"The backup repository at {host}:{port} does not answer ({error.strerror or error}).") from None

    def _run(self, words: Sequence[str], timeout_s: float, *, cwd: Path | None = None, cached: bool = True) -> str:
        cache = ["--cache-dir", str(self._cache)] if cached else ["--no-cache"]
        client = self._home / "client.pem"
        tls = ["--cacert", str(self._home.parent / "tls/ca.crt"), "--tls-client-cert", str(client)] if client.exists() else []
        begun = time.monotonic()
        # Into files and not pipes: a restic whose caller was killed goes on to the end, and its snapshot counts.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                done = machine.here().run(
                    ["nice", "-n", "5", _PROGRAM, *cache, *tls, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    check=False,
                    cwd=cwd,
                    timeout=timeout_s,
                    env=self._environment(),
                    pass_fds=() if self._descriptor is None else (self._descriptor,),
                )
            except subprocess.TimeoutExpired:
                raise Refused(f"restic {words[0]} did not end within {timeout_s:g} s.") from None
            out.seek(0)
            err.seek(0)
            said, why = out.read().decode(errors="replace"), err.read().decode(errors="replace")
        if done.returncode != 0:
            raise _failure(words[0], why, time.monotonic() - begun)
        return said

    def _environment(self) -> dict[str, str]:
        base = {"PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root"}
        own = {"RESTIC_REPOSITORY_FILE": str(self._repository), "RESTIC_PASSWORD_FILE": str(self._password)}
        more = self._home / "environment"
        if more.exists():
            lines = _secret(more).read_text(encoding="utf-8").splitlines()
            base |= dict(line.strip().split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
        return base | own


def _failure(verb: str, stderr: str, seconds: float) -> Refused:
    text = _SECRET_IN_URL.sub("://", stderr)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    low = text.lower()
    said = next((line for line in lines if line.startswith("Fatal")), lines[-1] if lines else f"restic {verb} gave no reason")[:300]
    if "nice:" in low and "no such file" in low:
        return Refused("restic is not installed on this host; `apt-get install restic`.")
    if "wrong password" in low:
        return Refused("The password of this host does not open the backup repository; put the one that it was made with in its place.")
    if any(word in low for word in _FULL):
        return Refused(f"The backup repository's storage is full: {said}.")
    if "unable to open config file" in low and any(word in said.lower() for word in _ABSENT):
        return NotThere("There is no backup repository in this place yet.")
    return Refused(f"restic {verb} failed after {seconds:.0f} s: {said.rstrip('.')}.")
