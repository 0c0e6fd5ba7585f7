"""People of an owner: they have keys of their own, are told by a route that the test listens to, and approve what a run asks of them."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from golive.engine.process import owner as account

ROLES = {
    "anna": ["technical-lead", "release-manager"],
    "otto": ["operations-manager"],
    "sven": ["security-officer"],
    "rosa": ["devops-engineer"],
}
"""Who may decide as what; rosa starts the runs and approves none of them."""


class Deciders:
    """Listed and pinned as ``docs/approvals.md`` says, by the owner ``world``."""

    def __init__(self, world: Any, run: Any) -> None:
        self.world, self.told, self.trouble = world, list[str](), list[str]()
        self.keys = {name: world.work / "people" / name for name in ROLES}
        listed = []
        for name, roles in ROLES.items():
            self.keys[name].parent.mkdir(exist_ok=True)
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", self.keys[name])
            entry = {"person": name, "roles": roles, "keys": [Path(f"{self.keys[name]}.pub").read_text().strip()]}
            listed.append(entry | ({"accounts": [account()]} if name == "rosa" else {}))
        path = world.inventory / "approvers.yaml"
        path.write_text(yaml.safe_dump({"approvers": listed}, sort_keys=False))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        settings = world.inventory / "environment.yaml"
        settings.write_text(yaml.safe_dump({**yaml.safe_load(settings.read_text()), "approvers_digest": digest}, sort_keys=False))
        world.on(
            "ops", "sh", "-c", f"mkdir -p /etc/dwcp && echo {digest} > /etc/dwcp/approvers.sha256 && chmod 644 /etc/dwcp/approvers.sha256"
        )

    @contextmanager
    def at_work(self) -> Iterator[Deciders]:
        """They listen, and answer whatever is asked of them, each for their own roles."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._listener())
        address = self.world.work / "route"
        address.touch(mode=0o600)
        address.write_text(f"json://127.0.0.1:{server.server_port}/")
        routes = [{"route": name, "file": str(address)} for name in ("stakeholders", "team-leads", "senior-management", "executives")]
        routes.append({"route": "approvers", "file": str(address), "roles": sorted({role for roles in ROLES.values() for role in roles})})
        (self.world.inventory / "notify.yaml").write_text(yaml.safe_dump({"routes": routes}))
        over = threading.Event()
        threads = [threading.Thread(target=server.serve_forever), threading.Thread(target=self._answer, args=(over,))]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            over.set()
            server.shutdown()
            for thread in threads:
                thread.join()
            server.server_close()

    def _answer(self, over: threading.Event) -> None:
        while not over.wait(1.0):
            _, status, _ = self.world.inv("status", "--env", "prod")
            for asked in status.get("approvals") or []:
                if not asked["answers"]:
                    name, role = next((n, r) for n, roles in ROLES.items() for r in roles if r in asked["roles"])
                    words = ("--stage", asked["stage"], "--role", role, "--key", str(self.keys[name]), "--yes")
                    code, _, said = self.world.inv("approve", "--env", "prod", *words)
                    if code:
                        self.trouble.append(said)

    def _listener(self) -> type[BaseHTTPRequestHandler]:
        told = self.told

        class Listener(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.append(json.dumps(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *words: Any) -> None:
                pass

        return Listener
