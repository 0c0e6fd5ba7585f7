"""``./inv``: a slip of the tongue ends with 2 and one sentence, as JSON where that was asked for; all else is plain invoke."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from golive.environment import ROOT


def inv(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-P", "-m", "golive.program", "--search-root", str(ROOT), *words]
    return subprocess.run(argv, cwd=directory, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nosuch"], "No idea what 'nosuch' is!"),
        (["golive", "--relase", "3"], "No idea what '--relase' is!"),
        (["stage"], "'stage' did not receive required positional arguments: 'name'."),
        (["golive", "--env"], "needed value and was not given one!"),
        (["--help=nosuch"], "No idea what 'nosuch' is!"),
    ],
)
def test_what_was_typed_wrong_ends_with_2_and_one_sentence(tmp_path: Path, words: list[str], said: str) -> None:
    done = inv(tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and "`./inv --list`" in done.stderr and len(done.stderr.splitlines()) == 1


def test_asked_for_json_it_is_one_object(tmp_path: Path) -> None:
    done = inv(tmp_path, "golive", "--relase", "3", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 2 and told["schema"] == 1 and told["error"]["type"] == "BadInput"
    assert told["error"]["message"] == done.stderr.strip() and "--relase" in done.stderr


def test_all_else_is_plain_invoke(tmp_path: Path) -> None:
    plain = [sys.executable, "-m", "invoke", "--search-root", str(ROOT)]
    for words in (["--list"], ["--version"], ["--help", "golive"], ["drift", "--env", "nowhere"]):
        done = subprocess.run([*plain, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        ours = inv(tmp_path, *words)
        assert (ours.returncode, ours.stdout, ours.stderr) == (done.returncode, done.stdout, done.stderr)


def test_what_lies_in_the_operators_directory_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "golive").mkdir()
    (tmp_path / "golive" / "program.py").write_text("raise SystemExit(9)\n")
    (tmp_path / "json.py").write_text("raise SystemExit(9)\n")
    assert inv(tmp_path, "--version").returncode == 0


def test_the_suite_of_validate_is_a_word_that_may_be_left_out(tmp_path: Path) -> None:
    done = inv(tmp_path, "validate", "everything", "--json")
    assert done.returncode == 2 and "no suite 'everything'" in json.loads(done.stdout)["error"]["message"]
    spelled = inv(tmp_path, "validate", "--suite", "everything")
    assert spelled.returncode == 2 and "no suite 'everything'" in spelled.stderr
    assert inv(tmp_path, "--help=validate").returncode == 0
