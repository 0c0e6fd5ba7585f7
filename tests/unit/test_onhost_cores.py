"""``dwcp-host cores``: a real dump of a real crash is found, and where there can be none it says why."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from golive.onhost import cores
from golive.onhost.main import main

RELEASE = "3.0.0-0123456789ab"


def _said(root: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert main(["--root", str(root), "cores", RELEASE]) == 0
    return dict(json.loads(capsys.readouterr().out))


def _pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = tmp_path / "core_pattern"
    path.write_text(f"{text}\n")
    monkeypatch.setattr(cores, "_PATTERN", path)


def test_a_process_that_crashed_in_the_releases_directory_left_its_core_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "var/lib/dwcp/cores" / RELEASE
    directory.mkdir(parents=True)
    unlimited = resource.getrlimit(resource.RLIMIT_CORE)[1]
    done = subprocess.run(
        [sys.executable, "-c", "import os; os.abort()"],
        cwd=directory,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (unlimited, unlimited)),
        check=False,
    )
    assert done.returncode == -signal.SIGABRT
    told = _said(tmp_path, capsys)
    if "/" in str(told["pattern"]) or not unlimited:  # this machine's kernel puts them elsewhere, or none may be made: it has to say so
        assert told["cores"] == [] and told["none"]
        return
    [core] = told["cores"]  # type: ignore[misc]
    head = subprocess.run(core["read"], capture_output=True, check=True).stdout
    assert head[:4] == b"\x7fELF" and len(head) == core["bytes"] and told["none"] == ""


@pytest.mark.parametrize(
    ("pattern", "why"),
    [("core", "left none"), ("/var/crash/core.%p", "sandbox"), ("|/usr/share/apport/apport %p", "pipes dumps to /usr/share/apport/apport")],
)
def test_without_a_core_it_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pattern: str, why: str
) -> None:
    _pattern(tmp_path, monkeypatch, pattern)
    told = _said(tmp_path, capsys)
    assert told["cores"] == [] and why in str(told["none"])


def test_dumps_kept_by_systemd_are_listed_with_what_prints_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _pattern(tmp_path, monkeypatch, "|/lib/systemd/systemd-coredump %P")
    listed = [{"time": 2_000_000, "pid": 7, "size": 10, "corefile": "present"}, {"time": 1, "pid": 8, "corefile": "missing"}]
    done = subprocess.CompletedProcess([], 0, stdout=json.dumps(listed), stderr="")
    monkeypatch.setattr(cores.subprocess, "run", lambda *_, **__: done)
    assert _said(tmp_path, capsys)["cores"] == [{"name": "core.7", "bytes": 10, "at": 2.0, "read": ["coredumpctl", "dump", "7"]}]


def test_a_link_in_the_place_of_a_core_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "var/lib/dwcp/cores" / RELEASE
    directory.mkdir(parents=True)
    (directory / "core").symlink_to("/etc/shadow")
    assert _said(tmp_path, capsys)["cores"] == []
