"""How every verb ends: one object on stdout where JSON was asked for, one sentence on stderr, the right exit code."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from golive.environment import ROOT
from golive.errors import Occupied
from golive.verbs.result import Result


@pytest.fixture(scope="module")
def tasks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tasks_under_test", ROOT / "tasks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _raises(error: BaseException) -> Callable[[], Result]:
    def work() -> Result:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (Occupied("Somebody else is at it."), 5, "Somebody else is at it."),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/state/journal"), 2, "/state/journal: No space left on device"),
        (KeyboardInterrupt(), 130, "run the same command again"),
        (ZeroDivisionError("division by zero"), 1, "This is a bug"),
    ],
    ids=["ours", "disk full", "interrupted", "bug"],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_an_error_is_one_sentence_and_a_code(
    tasks: ModuleType, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, sentence: str, as_json: bool
) -> None:
    with pytest.raises(SystemExit) as ended:
        tasks.finish(_raises(error), as_json=as_json)
    said = capsys.readouterr()
    assert ended.value.code == code
    assert sentence in said.err and len(said.err.splitlines()) == 1
    assert (sentence in json.loads(said.out)["error"]["message"]) if as_json else said.out == ""


def test_a_result_is_one_object_and_its_code(tasks: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        tasks.finish(lambda: Result({"schema": 1}, "done", 3), as_json=True)
    assert ended.value.code == 3 and json.loads(capsys.readouterr().out) == {"schema": 1}


@pytest.mark.parametrize(("code", "ends"), [(0, 2), (3, 3)], ids=["success", "rolled back"])
def test_a_result_that_cannot_be_printed_is_no_success_and_keeps_its_code(code: int, ends: int) -> None:
    script = f"import tasks; from golive.verbs.result import Result; tasks.finish(lambda: Result({{}}, 'done', {code}))"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == ends, done.stderr
    assert f"exit code {code}" in done.stderr and "No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_error_that_cannot_be_printed_as_json_keeps_its_code_and_sentence() -> None:
    words = [str(ROOT / "inv"), "status", "--env", "nosuch", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2 and "nosuch" in done.stderr and len(done.stderr.splitlines()) == 1
