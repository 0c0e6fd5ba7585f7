"""Heads of the journal go to hosts and come back over real SSH, by the command that is shipped to them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "unit")]

from engine_world import World, environment, go  # noqa: E402
from golive import audit, engine  # noqa: E402
from golive.actions import _world  # noqa: E402
from golive.fleet.model import Fleet, Host  # noqa: E402
from golive.onhost.build import build  # noqa: E402
from golive.verbs.journal_verify import journal_verify  # noqa: E402
from tests.support.ssh_server import SshServer, new_key  # noqa: E402

ENV = environment()
PORTS = {"anchor": lambda anchor: audit.leave(ENV, anchor), "sign": lambda message: audit.sign(ENV, message)}


class Site:
    """An ops host reached as root, an agent reached through sudo, and one where nothing listens."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "bin").mkdir()
        (ENV.state / "keys").mkdir(parents=True)
        self.server = SshServer(directory, new_key(ENV.state / "keys" / "operator"))
        free = SshServer(directory, "")
        free.close()
        self.ship(f'exec {sys.executable} -IS {build()} --root {directory}/${{AS:-ops}} "$@"')
        self._program("sudo", 'shift; AS=agent exec "$@"')
        told = {"address": "127.0.0.1", "site": "ams", "host_key": self.server.public}
        hosts = (
            Host(name="ams-1", role="agent", ssh_user="deploy", ssh_port=self.server.port, **told),
            Host(name="gone-1", role="agent", ssh_port=free.port, **told),
            Host(name="ops-1", role="ops", ssh_port=self.server.port, **told),
        )
        (ENV.state / "fleet.json").write_text(Fleet(env=ENV.name, hosts=hosts).model_dump_json())

    def ship(self, line: str) -> None:
        self._program("dwcp-host", line)

    def _program(self, name: str, line: str) -> None:
        path = self.directory / "bin" / name
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setattr(_world, "_open", {})
    site = Site(tmp_path)
    yield site
    for opened in _world._open.values():
        opened.shell.close()
    site.server.close()


def test_a_run_leaves_its_head_on_every_host_that_answers_and_a_later_edit_is_found_there(site: Site) -> None:
    (site.directory / "world").mkdir()
    state = go(World(site.directory / "world"), ports=PORTS)
    assert state.outcome == "succeeded" and state.signed
    assert state.anchored is not None and state.anchored["hosts"] == ["ams-1", "ops-1"]
    assert list(state.anchored["missed"]) == ["gone-1"]
    result = journal_verify(ENV)
    assert (result.exit_code, result.data["wrong"]) == (0, []), result.text
    assert {"ams-1", "ops-1"} < set(result.data["anchors"])
    kept = audit.kept(ENV)
    assert isinstance(kept["ops-1"], audit.Kept) and kept["ops-1"].key == audit.public_key(ENV)
    (ENV.state / "journal.db").unlink()
    (ENV.state / "journal.head").unlink()
    engine.open_journal(ENV)
    result = journal_verify(ENV)
    assert result.exit_code == 4 and result.data["state"] == "broken", "an empty journal in the place of the one that hosts saw"


def test_a_host_with_an_older_command_is_told_from_one_that_fails(site: Site) -> None:
    older = f"import sys; sys.path.insert(0, '{build()}'); from golive.onhost import main as m; m.MODULES.pop('anchor'); sys.exit(m.main())"
    site.ship(f'exec {sys.executable} -S -c "{older}" "$@"')
    found = audit.kept(ENV)
    assert found["ops-1"] == "its dwcp-host is older and keeps no heads; the base play brings a newer one"
    site.ship("echo 'the disk is gone' >&2; exit 4")
    assert audit.kept(ENV)["ops-1"] == "the disk is gone"
    site.ship("echo '[]'")
    assert audit.kept(ENV)["ops-1"] == "dwcp-host answered something else than it should"
    assert "gone-1" in str(found["gone-1"])
