"""A call of ``dwcp-host`` costs what its verb needs: the controller beats on every gateway every two seconds."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import golive.onhost
from golive.onhost.build import build
from golive.onhost.command import registered
from golive.onhost.main import MODULES, main

SLOW = {"ctypes", "dataclasses", "email", "hashlib", "http", "inspect", "ssl", "subprocess", "tarfile", "tempfile", "traceback", "typing"}


@pytest.fixture
def zipapp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    return build()


def test_the_table_says_which_module_has_which_verb() -> None:
    for module in pkgutil.iter_modules(golive.onhost.__path__):
        importlib.import_module(f"golive.onhost.{module.name}")
    found = {(name.split()[0], verb.run.__module__.rpartition(".")[2]) for name, verb in registered().items()}
    assert found == set(MODULES.items())


def test_help_names_every_verb(zipapp: Path) -> None:
    out = subprocess.run([str(zipapp), "--help"], capture_output=True, text=True, check=True).stdout
    assert [first for first in MODULES if f"    {first}" not in out] == []
    out = subprocess.run([str(zipapp), "lease", "--help"], capture_output=True, text=True, check=True).stdout
    assert [second for second in ("beat", "close", "open", "pass") if f"    {second} " not in out] == []


@pytest.mark.parametrize("words", [["no-such-verb"], ["lease", "no-such-verb"], ["--no-such-option", "status"], ["--root"], []])
def test_what_is_no_verb_is_bad_input(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: dwcp-host" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["weight", "get"], ["weight", "history"], ["lease", "beat", "--token", "1", "--run", "r"]])
@pytest.mark.parametrize("root", [["--root", "{}"], ["--root={}"]])
def test_a_short_call_imports_nothing_slow(zipapp: Path, tmp_path: Path, root: list[str], words: list[str]) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\nfrom golive.onhost.main import main\n"
        "code = main(sys.argv[2:])\nprint(code, *sorted(sys.modules))"
    )
    given = [word.format(tmp_path) for word in root]
    done = subprocess.run([sys.executable, "-IS", "-c", code, str(zipapp), *given, *words], capture_output=True, text=True, check=True)
    code_of_main, *modules = done.stdout.splitlines()[-1].split()
    # There is no lease to beat for: the answer is a refusal, not a crash.
    assert code_of_main == ("4" if words[0] == "lease" else "0"), done.stderr
    assert SLOW & set(modules) == set()


def test_the_zipapp_does_not_depend_on_what_its_maker_did_before(tmp_path: Path) -> None:
    made = []
    for seed in ("0", "1"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "GOLIVE_STATE": str(tmp_path / seed)}
        before = "import decimal, golive.onhost.guard; " if seed == "1" else ""
        code = f"{before}from golive.onhost.build import build; print(build())"
        made.append(Path(subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout.strip()))
    assert made[0].read_bytes() == made[1].read_bytes()


def test_a_host_with_another_python_takes_the_sources(zipapp: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with zipfile.ZipFile(zipapp) as archive, zipfile.ZipFile(other, "w") as copy:
        for name in archive.namelist():
            data = archive.read(name)
            copy.writestr(name, b"\0\0\r\n" + data[4:] if name.endswith(".pyc") else data)
    done = subprocess.run(
        [sys.executable, "-IS", str(other), "--root", str(tmp_path), "weight", "history"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"history": []}\n', "")
