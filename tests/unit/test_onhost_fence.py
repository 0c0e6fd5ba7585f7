"""The lock and the fencing token: who may change a host, and what stays on record."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from golive.onhost import durable, fence
from golive.onhost.build import build
from golive.onhost.failures import Refused
from golive.onhost.main import main
from golive.onhost.places import Places


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def effects(places: Places) -> list[dict[str, object]]:
    return [json.loads(line) for line in places.effects.read_text().splitlines()]


def ask(places: Places, token: int, run: str = "run-1", *more: str) -> int:
    return main(["--root", str(places.root), "fence", "--token", str(token), "--run", run, *more])


def test_a_higher_token_takes_over_and_the_lower_one_is_refused(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(places, 7) == 0
    assert ask(places, 9, "run-2") == 0
    assert ask(places, 7) == 4
    assert "stale: run run-2 has taken over with token 9" in capsys.readouterr().err
    assert fence.read(places) == fence.Token(9, "run-2")
    assert [line["token"] for line in effects(places)] == [7, 9], "a refused call is no effect"


def test_the_same_token_is_admitted_again_and_changes_nothing(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(places, 7) == 0
    capsys.readouterr()
    assert ask(places, 7) == 0
    assert json.loads(capsys.readouterr().out) == {"changed": False, "owner": "run-1", "token": 7}


def test_two_runs_with_one_token_are_told_apart(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(places, 7) == 0
    assert ask(places, 7, "run-2") == 4
    assert "belongs to run run-1" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{", "[]", '{"token": "7", "owner": "x"}', '{"token": true, "owner": "x"}', '{"token": 7}'])
def test_an_unreadable_record_is_refused_not_taken_for_a_fresh_host(places: Places, content: str) -> None:
    places.state.mkdir(parents=True)
    places.fence.write_text(content)
    assert ask(places, 10**9) == 4
    assert places.fence.read_text() == content


@pytest.mark.parametrize(("token", "run"), [(0, "run-1"), (-4, "run-1"), (1, ""), (1, "a b"), (1, "x\n{}")])
def test_nonsense_is_bad_input_and_leaves_no_trace(places: Places, token: int, run: str) -> None:
    assert ask(places, token, run) == 2
    assert not places.fence.exists()


def test_a_busy_host_is_refused_after_the_wait(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    with fence.locked(places, 0):
        assert ask(places, 1, "run-1", "--wait", "0.2") == 4
    assert "Another dwcp-host" in capsys.readouterr().err
    assert ask(places, 1) == 0


def test_the_lock_outlives_a_killed_command_until_its_child_has_ended(places: Places, tmp_path: Path) -> None:
    started, go_on = tmp_path / "started", tmp_path / "go-on"
    child = f"touch {started}; while [ ! -e {go_on} ]; do sleep 0.02; done"
    program = (
        "import sys; from pathlib import Path; from golive.onhost import fence; from golive.onhost.places import Places\n"
        "with fence.locked(Places(Path(sys.argv[1])), 0) as lock: lock.run(['/bin/sh', '-c', sys.argv[2]])"
    )
    root = Path(__file__).parents[2]
    parent = subprocess.Popen([sys.executable, "-c", program, str(places.root), child], cwd=root)
    wait_for(started.exists)
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    with pytest.raises(Refused), fence.locked(places, 0.2):
        pass
    go_on.touch()
    with fence.locked(places, 10):
        pass


def test_a_torn_line_spoils_only_itself(places: Places) -> None:
    assert ask(places, 1) == 0
    with places.effects.open("a") as file:
        file.write('{"at": "2026')
    assert ask(places, 2) == 0
    first, torn, last = places.effects.read_text().splitlines()
    assert json.loads(first)["token"] == 1
    assert torn == '{"at": "2026'
    assert json.loads(last)["token"] == 2


def test_a_failed_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    durable.write_json(path, {"a": 1})

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        durable.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_the_zipapp_is_the_same_every_time_and_runs_isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "one"))
    first = build()
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "two"))
    second = build()
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    done = subprocess.run(
        [str(first), "--root", str(tmp_path / "host"), "fence", "--token", "1", "--run", "r"], capture_output=True, text=True, cwd="/"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["changed"] is True


def test_the_sources_are_python_3_9_and_import_the_standard_library_alone() -> None:
    for source in (Path(__file__).parents[2] / "golive" / "onhost").glob("*.py"):
        tree = ast.parse(source.read_text(), feature_version=(3, 9))
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                allowed = name.split(".")[0] in sys.stdlib_module_names or name.startswith("golive.onhost")
                assert allowed or source.name == "build.py", f"{source.name} imports {name}"


def wait_for(condition: object, deadline_s: float = 10) -> None:
    end = time.monotonic() + deadline_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.01)
