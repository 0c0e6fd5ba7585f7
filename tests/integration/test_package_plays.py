"""Plays through ansible-runner: every host's end is told, and what is not known is not success. Real Ansible, on this machine itself."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from golive import environment
from golive.environment import Environment
from golive.errors import GoliveError, Unprepared, Unreachable
from golive.fleet import ansible
from golive.lab import keys

BOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Same as always
      ansible.builtin.command: "true"
      changed_when: false
    - name: Changes once
      dwcp_files:
        entries: [{path: "{{ place }}/{{ inventory_hostname }}", content: x, owner: "{{ owner }}", group: "{{ owner }}"}]
    - name: Goes wrong on one
      ansible.builtin.command: sh -c 'echo no such luck >&2; exit 3'
      changed_when: false
      when: inventory_hostname == broken | default('')
    - name: Takes its time
      ansible.builtin.command: sh -c 'env > {{ place }}/environment; while [ ! -e {{ place }}/go ]; do sleep 0.05; done'
      changed_when: false
      when: slow | default(false)
    - name: Cannot be done on two at once
      ansible.builtin.command: sh -c 'mkdir {{ place }}/busy && sleep 0.5 && rmdir {{ place }}/busy'
      changed_when: false
      when: alone | default(false)
"""


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    lab = environment.load("lab")
    keys.ensure(lab)
    root = tmp_path / "root"
    (root / "playbooks").mkdir(parents=True)
    (root / "playbooks/x.yml").write_text(BOOK)
    (root / "playbooks/bad.yml").write_text("- hosts: all\n  tasks:\n    - nonsense_module: {}\n")
    (root / "ansible.cfg").write_text(f"[defaults]\nlibrary = {environment.ROOT / 'library'}\n")
    monkeypatch.setattr(ansible, "ROOT", root)
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    dead = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9, "ansible_ssh_common_args": "-o ConnectTimeout=3"}
    inventory: dict[str, Any] = {"all": {"hosts": {"one": local, "two": local}, "children": {"dark": {"hosts": {"three": dead}}}}}
    (lab.state / "hosts.yml").write_text(yaml.safe_dump(inventory))
    return lab


def play(env: Environment, tmp_path: Path, book: str = "x.yml", **more: Any) -> ansible.PlayResult:
    import pwd

    place = tmp_path / "place"
    place.mkdir(exist_ok=True)
    variables = {"place": str(place), "owner": pwd.getpwuid(os.getuid()).pw_name, **more.pop("extravars", {})}
    return ansible.play(env, book, extravars=variables, limit=more.pop("limit", ["one", "two"]), workdir=tmp_path / "work", **more)


@pytest.mark.parametrize(("at_once", "failed"), [(1, 0), (2, 1)])
def test_a_play_works_on_as_many_hosts_at_once_as_the_environment_says(env: Environment, tmp_path: Path, at_once: int, failed: int) -> None:
    """The lab's hosts share processors: six at a time took them from the gateways, and clients gave requests up."""
    limited = env.model_copy(update={"settings": env.settings.model_copy(update={"hosts_at_once": at_once})})
    assert len(play(limited, tmp_path, extravars={"alone": True}).failed) == failed


def test_changes_are_counted_per_host_and_the_second_time_there_are_none(env: Environment, tmp_path: Path) -> None:
    pids: list[int] = []
    events: list[str] = []
    first = play(env, tmp_path, on_process=pids.append, on_event=lambda e: events.append(e["event"]))
    assert (first.rc, first.changed, first.ok, first.trouble()) == (0, {"one": 1, "two": 1}, True, "")
    assert len(pids) == 1
    assert pids[0] != os.getpid()
    assert "playbook_on_stats" in events
    second = play(env, tmp_path)
    assert second.changed == {"one": 0, "two": 0}


def test_check_mode_says_what_would_change_and_changes_nothing(env: Environment, tmp_path: Path) -> None:
    result = play(env, tmp_path, check=True)
    assert result.changed == {"one": 1, "two": 1}
    assert list((tmp_path / "place").iterdir()) == []


def test_a_failed_host_is_named_with_what_it_said(env: Environment, tmp_path: Path) -> None:
    result = play(env, tmp_path, extravars={"broken": "two"})
    assert not result.ok
    assert result.rc == 2
    assert result.failed == {"two": "Goes wrong on one: no such luck"}
    assert result.changed["one"] == 1
    assert result.trouble().startswith("two: Goes wrong on one: no such luck; all of it: ")
    assert result.log is not None
    assert "no such luck" in result.log.read_text()


def test_an_unreachable_host_is_unreachable_and_not_failed(env: Environment, tmp_path: Path) -> None:
    result = play(env, tmp_path, limit=["one", "three"])
    assert not result.ok
    assert list(result.unreachable) == ["three"]
    assert result.failed == {}
    assert result.changed == {"one": 1}


def test_a_host_that_the_inventory_lacks_is_no_success(env: Environment, tmp_path: Path) -> None:
    result = play(env, tmp_path, limit=["one", "nowhere"])
    assert not result.ok
    assert result.unreachable == {"nowhere": "the play says nothing of it"}


def test_a_broken_playbook_is_one_sentence(env: Environment, tmp_path: Path) -> None:
    with pytest.raises(GoliveError, match=r"Ansible could not run bad\.yml") as caught:
        play(env, tmp_path, "bad.yml")
    assert "\n" not in str(caught.value)
    with pytest.raises(Unprepared, match="is missing"):
        play(env, tmp_path, "none.yml")
    (env.state / "hosts.yml").unlink()
    with pytest.raises(Unprepared, match="provision"):
        play(env, tmp_path)


def in_background(env: Environment, tmp_path: Path, **more: Any) -> tuple[threading.Thread, list[int], list[object]]:
    pids: list[int] = []
    ended: list[object] = []

    def run() -> None:
        try:
            ended.append(play(env, tmp_path, extravars={"slow": True}, limit=["one"], on_process=pids.append, **more))
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "place" / "environment").exists():
        assert time.monotonic() < deadline, "the slow task did not start"
        time.sleep(0.02)
    return thread, pids, ended


def test_a_killed_play_is_unknown_not_done(env: Environment, tmp_path: Path) -> None:
    thread, pids, ended = in_background(env, tmp_path)
    os.kill(pids[0], signal.SIGKILL)
    (tmp_path / "place" / "go").touch()
    thread.join(60)
    (error,) = ended
    assert isinstance(error, Unreachable), ended
    assert "unknown" in str(error)


def test_a_play_ends_when_it_is_asked_to(env: Environment, tmp_path: Path) -> None:
    stop = threading.Event()
    thread, _, ended = in_background(env, tmp_path, cancelled=stop.is_set)
    stop.set()
    (tmp_path / "place" / "go").touch()
    thread.join(60)
    assert isinstance(ended[0], Unreachable), ended


def test_a_play_inherits_the_mark_and_nothing_secret_and_keeps_no_variables(
    env: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_SECRET", "s3cr3t")
    thread, _, ended = in_background(env, tmp_path, child_env={"GOLIVE_MARK": "lab/run/7"})
    (tmp_path / "place" / "go").touch()
    thread.join(60)
    assert isinstance(ended[0], ansible.PlayResult), ended
    seen = (tmp_path / "place" / "environment").read_text()
    assert "GOLIVE_MARK=lab/run/7\n" in seen
    assert "s3cr3t" not in seen
    left = [p for p in (tmp_path / "work").rglob("*") if p.is_file()]
    assert [p.name for p in left] == ["output.txt"]
    assert "s3cr3t" not in left[0].read_text()


def test_a_result_goes_into_the_journal_as_json(env: Environment, tmp_path: Path) -> None:
    said = json.loads(json.dumps(play(env, tmp_path).as_json()))
    assert set(said) == {"playbook", "rc", "changed", "failed", "unreachable", "duration_s", "log"}
