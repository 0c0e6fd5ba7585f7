"""HAProxy's runtime API: one command a connection over the root-only stats socket."""

from __future__ import annotations

from pathlib import Path

from golive.onhost import machine
from golive.onhost.failures import Refused

__all__ = ["Runtime", "Server"]


class Server:
    """One server of a slot, as HAProxy sees it now."""

    def __init__(self, status: str, check: str) -> None:
        self.status = status
        self.check = check

    @property
    def out(self) -> bool:
        """Taken out by hand (maintenance)."""
        return self.status.startswith("MAINT")

    @property
    def up(self) -> bool:
        """Takes requests, and its last health check passed."""
        return self.status.startswith("UP") and self.check == "L7OK"


class Runtime:
    """What a running HAProxy holds in memory. Every method raises Refused when HAProxy does not answer, or says no."""

    def __init__(self, path: Path, timeout_s: float = 5.0) -> None:
        self._path = path
        self._timeout_s = timeout_s

    def ask(self, command: str) -> str:
        """The answer to one command."""
        try:
            answer = machine.here().haproxy(self._path, command, self._timeout_s)
        except OSError as error:
            raise Refused(f"HAProxy does not answer on {self._path}: {error.strerror or error}. See `systemctl status haproxy`.") from None
        return answer.decode("utf-8", "replace").strip()

    def show_map(self, path: Path) -> dict[str, str]:
        """Keys and values of a map, by the file it was loaded from."""
        answer = self.ask(f"show map {path}")
        entries: dict[str, str] = {}
        for line in answer.splitlines():
            parts = line.split()
            # <reference> <key> <value>
            if len(parts) != 3 or not parts[0].startswith("0x"):
                raise Refused(f"HAProxy has no map {path} ({line.strip()!r}).")
            entries[parts[1]] = parts[2]
        return entries

    def set_map(self, path: Path, key: str, value: str) -> None:
        """``key`` of a map is ``value``, read back."""
        known = self.show_map(path)
        if known.get(key) == value:
            return
        said = self.ask(f"{'set' if key in known else 'add'} map {path} {key} {value}")
        seen = self.show_map(path).get(key)
        if seen != value:
            raise Refused(f"HAProxy was told {key} = {value} in {path.name} and holds {seen or 'nothing'}: {said or 'no message'}.")

    def servers(self, backend: str) -> dict[str, Server]:
        """Servers of a backend by name."""
        import csv
        import io

        rows = csv.DictReader(io.StringIO(self.ask("show stat -1 4 -1").lstrip("# ")))
        found = {row["svname"]: Server(row["status"], row["check_status"].lstrip("* ")) for row in rows if row["pxname"] == backend}
        if not found:
            raise Refused(f"HAProxy has no backend {backend}, or no server in it.")
        return found

    def set_server_out(self, backend: str, name: str, out: bool) -> None:
        """A server is in maintenance or ready, read back."""
        said = self.ask(f"set server {backend}/{name} state {'maint' if out else 'ready'}")
        seen = self.servers(backend).get(name)
        if seen is None or seen.out is not out:
            raise Refused(f"HAProxy did not take server {backend}/{name} {'out' if out else 'in'}: {said or 'no message'}.")
