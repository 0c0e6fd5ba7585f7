"""HAProxy's runtime socket as `golive.onhost.haproxy` uses it: maps and servers in memory, for tests that need no real traffic."""

from __future__ import annotations

import socketserver
import threading
from pathlib import Path


class FakeHaproxy:
    """Answers on ``socket``. Maps start as the files say; a test may ``lie`` (takes a change and does not do it)."""

    def __init__(self, socket: Path, state: Path, servers: tuple[str, ...] = ("h1", "h2")) -> None:
        self.maps = {
            name: dict(line.split() for line in (state / name).read_text().splitlines())
            for name in ("weights.map", "releases.map", "slots.map")
        }
        self.servers = {f"slot_{slot}": dict.fromkeys(servers, "UP") for slot in "ab"}
        self.lies = False
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(outer._answer(self.rfile.readline().decode().split()).encode() + b"\n")

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

        socket.parent.mkdir(parents=True, exist_ok=True)
        socket.unlink(missing_ok=True)
        self._socket = socket
        self._server = Server(str(socket), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Nothing answers any more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
        self._socket.unlink(missing_ok=True)

    def _answer(self, words: list[str]) -> str:
        match words:
            case ["show", "map", path]:
                return "\n".join(f"0x1 {key} {value}" for key, value in self.maps[Path(path).name].items())
            case [("set" | "add"), "map", path, key, value]:
                if not self.lies:
                    self.maps[Path(path).name][key] = value
                return ""
            case ["set", "server", target, "state", state]:
                backend, _, name = target.partition("/")
                self.servers[backend][name] = "MAINT" if state == "maint" else "UP"
                return ""
            case ["show", "stat", *_]:
                rows = ["# pxname,svname,status,check_status"]
                for backend, servers in self.servers.items():
                    rows += [f"{backend},{name},{status},{'L7OK' if status == 'UP' else ''}" for name, status in servers.items()]
                return "\n".join(rows)
        return "Unknown command."
