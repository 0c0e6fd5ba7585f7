"""The roles' own Ansible modules, run as Ansible runs them on a host."""

from __future__ import annotations

import getpass
import grp
import json
import os
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_world import certificates

LIBRARY = Path(__file__).parents[2] / "library"
ME = {"owner": getpass.getuser(), "group": grp.getgrgid(os.getgid()).gr_name}

SYSTEMCTL = """#!{python}
import json, sys
from pathlib import Path
path = Path({state!r})
state = json.loads(path.read_text())
verb, *names = [word for word in sys.argv[1:] if not word.startswith("--")]
if verb == "show":
    print("\\n\\n".join("\\n".join(f"{{k}}={{v}}" for k, v in {{"Id": n, **state["units"].get(n, state["none"])}}.items()) for n in names))
else:
    state["said"].append([verb, *names])
    for name in names:
        unit = state["units"][name]
        if verb == "unmask":
            unit["LoadState"], unit["UnitFileState"] = "loaded", "disabled"
        elif verb == "enable":
            unit["UnitFileState"] = "enabled"
        else:
            unit["ActiveState"] = "active"
    if verb == "daemon-reload":
        state["units"].update(state["written"])
        for unit in state["units"].values():
            unit["NeedDaemonReload"] = "no"
    path.write_text(json.dumps(state))
"""


def unit(load: str = "loaded", active: str = "active", file: str = "enabled", reload: str = "no") -> dict[str, str]:
    return {"LoadState": load, "ActiveState": active, "UnitFileState": file, "NeedDaemonReload": reload}


def module(name: str, args: dict[str, Any], *, check: bool = False, path: Path | None = None) -> dict[str, Any]:
    given = json.dumps({"ANSIBLE_MODULE_ARGS": {**args, "_ansible_check_mode": check}})
    env = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]}
    done = subprocess.run([sys.executable, str(LIBRARY / f"{name}.py")], input=given, env=env, capture_output=True, text=True, check=False)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


# -- files ---------------------------------------------------------------------------------------------------------------------


def test_content_that_a_program_refuses_does_not_replace_what_is_there(tmp_path: Path) -> None:
    path, seen = tmp_path / "x.conf", tmp_path / "seen"
    entry = {
        "path": str(path),
        **ME,
        "validate": ["true", f"sh -c 'echo asked >> {seen}; grep -q good $1 || {{ echo line 1 is bad; exit 1; }}' - %s"],
    }
    assert module("dwcp_files", {"entries": [{**entry, "content": "good"}]})["changed"] is True
    assert seen.read_text() == "asked\n"
    assert module("dwcp_files", {"entries": [{**entry, "content": "good"}]})["changed"] is False
    assert seen.read_text() == "asked\n", "what is there already is not checked again"
    refused = module("dwcp_files", {"entries": [{**entry, "content": "broken"}]})
    assert refused["failed"] is True
    assert "line 1 is bad" in refused["msg"]
    assert path.read_text() == "good\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["seen", "x.conf"]


def test_a_copy_of_a_file_of_the_host_follows_it(tmp_path: Path) -> None:
    source, path = tmp_path / "a", tmp_path / "b"
    args = {"entries": [{"path": str(path), "source": str(source), **ME, "mode": "0640"}]}
    assert module("dwcp_files", args, check=True)["changed_paths"] == [str(path)]
    assert module("dwcp_files", args)["failed"] is True
    assert not path.exists()
    source.write_bytes(b"\x00no newline")
    assert [module("dwcp_files", args)["changed"] for _ in range(2)] == [True, False]
    assert path.read_bytes() == b"\x00no newline"
    assert path.stat().st_mode & 0o777 == 0o640
    source.write_bytes(b"other")
    assert module("dwcp_files", args)["changed"] is True


# -- units ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def systemd(tmp_path: Path) -> Path:
    """A directory with a ``systemctl`` whose units are in ``state.json``."""
    program = tmp_path / "systemctl"
    program.write_text(SYSTEMCTL.format(python=sys.executable, state=str(tmp_path / "state.json")))
    program.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("known", "written", "said"),
    [
        ({"a.service": unit(), "b.service": unit()}, {}, []),
        ({"a.service": unit(active="failed"), "b.service": unit(file="disabled")}, {}, [["enable", "b.service"], ["start", "a.service"]]),
        (
            {"a.service": unit(load="masked", active="inactive", file="masked"), "b.service": unit()},
            {},
            [["unmask", "a.service"], ["enable", "a.service"], ["start", "a.service"]],
        ),
        ({"a.service": unit(reload="yes"), "b.service": unit()}, {}, [["daemon-reload"]]),
        (
            {"a.service": unit()},
            {"b.service": unit(active="inactive", file="disabled")},
            [["daemon-reload"], ["enable", "b.service"], ["start", "b.service"]],
        ),
    ],
)
def test_units_are_brought_up_once(systemd: Path, known: dict[str, Any], written: dict[str, Any], said: list[list[str]]) -> None:
    none = unit(load="not-found", active="inactive", file="")
    state = systemd / "state.json"
    state.write_text(json.dumps({"units": known, "written": written, "none": none, "said": []}))
    args = {"units": ["a.service", "b.service"]}
    assert module("dwcp_units", args, check=True, path=systemd)["changed"] is bool(said)
    assert json.loads(state.read_text())["said"] == []
    first = module("dwcp_units", args, path=systemd)
    assert (first["changed"], first["acted_on"]) == (bool(said), [" ".join(words) for words in said])
    assert json.loads(state.read_text())["said"] == said
    assert module("dwcp_units", args, path=systemd)["changed"] is False


def test_a_unit_that_is_nowhere_and_a_systemd_that_is_silent_are_failures(systemd: Path) -> None:
    none = unit(load="not-found", active="inactive", file="")
    (systemd / "state.json").write_text(json.dumps({"units": {}, "written": {}, "none": none, "said": []}))
    assert "there is no unit a.service" in module("dwcp_units", {"units": ["a.service"]}, path=systemd)["msg"]
    (systemd / "systemctl").write_text("#!/bin/sh\n")
    assert module("dwcp_units", {"units": ["a.service"]}, path=systemd)["failed"] is True


# -- answers -------------------------------------------------------------------------------------------------------------------


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/metrics" else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


def test_only_an_answer_to_a_certificate_is_an_answer(tmp_path: Path) -> None:
    pki = certificates(tmp_path)
    held = {"ca": str(pki / "ca.crt"), "certificate": str(pki / "gw-h1/agent.crt"), "key": str(pki / "gw-h1/agent.key"), "wait_s": 0.5}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=held["ca"])
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(held["certificate"], held["key"])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    base = f"https://127.0.0.1:{server.server_address[1]}"
    try:
        good = module("dwcp_answers", {"urls": [f"{base}/metrics"], **held})
        assert (good["changed"], good["answered"]) == (False, [f"{base}/metrics"])
        assert module("dwcp_answers", {"urls": [f"{base}/other"], **held}, check=True).get("failed") is None
        assert "status 503" in module("dwcp_answers", {"urls": [f"{base}/metrics", f"{base}/other"], **held})["msg"]
        stranger = certificates(tmp_path / "other")
        own = {"certificate": str(stranger / "gw-h1/agent.crt"), "key": str(stranger / "gw-h1/agent.key")}
        assert module("dwcp_answers", {"urls": [f"{base}/metrics"], **held, **own})["failed"] is True
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert "does not answer" in module("dwcp_answers", {"urls": [f"{base}/metrics"], **held})["msg"]
