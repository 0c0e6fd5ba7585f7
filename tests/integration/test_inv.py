"""``./inv``: one command from a bare checkout, whatever happened to it before."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from golive.environment import ROOT

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bare checkout, prepared by its first start."""
    place = tmp_path_factory.mktemp("checkout with space") / "x"
    place.mkdir()
    for name in ("inv", "tasks.py"):
        shutil.copy(ROOT / name, place / name)
    for name in ("golive", "requirements", "inventories", "policies"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    assert inv(place, "--list", as_operators_do=True).returncode == 0
    yield place


def inv(checkout: Path, *words: str, path: str | None = None, as_operators_do: bool = False) -> subprocess.CompletedProcess[str]:
    without = ("PYTHONPATH", "VIRTUAL_ENV", "GOLIVE_STATE", *(["UV_COMPILE_BYTECODE"] if as_operators_do else []))
    env = {key: value for key, value in os.environ.items() if key not in without}
    env["PATH"] = path or env["PATH"]
    return subprocess.run([str(checkout / "inv"), *words], cwd="/", env=env, capture_output=True, text=True, check=False)


def test_it_is_invoke_and_finds_its_tasks_from_anywhere(checkout: Path) -> None:
    done = inv(checkout, "--list")
    assert done.returncode == 0 and "provision" in done.stdout and done.stderr == ""
    assert inv(checkout, "drift", "--env", "nowhere").stderr.startswith("There is no environment 'nowhere'")


def test_libraries_are_compiled_when_they_are_installed_and_not_at_every_start(checkout: Path) -> None:
    (library,) = (checkout / ".venv").glob("lib/python*/site-packages/sqlalchemy")
    assert list((library / "engine" / "__pycache__").glob("base.*.pyc"))


def test_plain_invoke_does_the_same_inside(checkout: Path) -> None:
    invoke = [str(checkout / ".venv" / "bin" / "invoke"), "drift", "--env", "nowhere"]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(invoke, cwd=checkout / "requirements", env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, inv(checkout, "drift", "--env", "nowhere").stderr)


def test_a_later_start_adds_less_than_half_a_second(checkout: Path) -> None:
    with_inv, plain = [], []
    for _ in range(5):
        began = time.monotonic()
        inv(checkout, "--version")
        with_inv.append(time.monotonic() - began)
        began = time.monotonic()
        subprocess.run([checkout / ".venv" / "bin" / "invoke", "--version"], cwd=checkout, capture_output=True, check=True)
        plain.append(time.monotonic() - began)
    assert statistics.median(with_inv) - statistics.median(plain) < 0.5


def test_a_broken_venv_is_made_again(checkout: Path) -> None:
    for name in ("python", "python3"):
        (checkout / ".venv" / "bin" / name).unlink(missing_ok=True)
    (checkout / ".venv" / "bin" / "python").symlink_to("/nowhere/python")
    done = inv(checkout, "--list")
    assert done.returncode == 0 and "making .venv" in done.stderr


def test_a_start_killed_halfway_is_finished_by_the_next(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    first = subprocess.Popen(
        [str(checkout / "inv"), "--list"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not (checkout / ".venv" / "bin" / "python").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert not (checkout / ".venv" / ".prepared").exists()
    assert inv(checkout, "--list").returncode == 0


def test_two_first_starts_at_once_both_succeed(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    starts = [
        subprocess.Popen([str(checkout / "inv"), "--list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [start.communicate() for start in starts]
    assert [start.returncode for start in starts] == [0, 0], said
    assert all("provision" in out for out, _ in said)
    assert sum("making .venv" in err for _, err in said) == 1


def test_a_lock_file_that_changed_is_taken_up(checkout: Path) -> None:
    stamp = (checkout / ".venv" / ".prepared").read_text()
    with (checkout / "requirements" / "dev.lock").open("a") as lock:
        lock.write("# changed\n")
    assert inv(checkout, "--list").returncode == 0
    assert (checkout / ".venv" / ".prepared").read_text() != stamp


def test_a_package_that_is_not_the_pinned_one_is_refused(checkout: Path, tmp_path: Path) -> None:
    place = tmp_path / "copy"
    place.mkdir()
    shutil.copy(checkout / "inv", place / "inv")
    shutil.copytree(checkout / "requirements", place / "requirements")
    lock = place / "requirements" / "bootstrap.lock"
    lines = [line for line in lock.read_text().splitlines() if "--hash" not in line or line.strip().endswith("\\")]
    text = "\n".join(line if "--hash" not in line else f"    --hash=sha256:{'0' * 64} \\" for line in lines).rstrip("\\").rstrip()
    lock.write_text(text.split("    #")[0].rstrip(" \\\n") + "\n")
    done = inv(place, "--list")
    assert done.returncode == 2 and "pip could not install uv" in done.stderr
    assert not (place / ".venv" / ".prepared").exists()


@pytest.fixture
def stand_ins(tmp_path: Path, checkout: Path) -> Path:
    """dpkg-query and apt-get of a machine that lacks podman; apt-get keeps a log."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "dpkg-query").write_text('#!/bin/sh\nfor last; do :; done\n[ "$last" = podman ] && exit 1\nprintf installed\n')
    (place / "apt-get").write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/apt\n[ "$1" = update ] || [ -e {tmp_path}/works ] || {{ echo "E: no mirror"; exit 100; }}\n'
    )
    for program in place.iterdir():
        program.chmod(0o755)
    (checkout / ".venv" / ".machine").unlink(missing_ok=True)
    return place


def test_only_the_lab_installs_debian_packages(checkout: Path, stand_ins: Path, tmp_path: Path) -> None:
    path = f"{stand_ins}:{os.environ['PATH']}"
    for words in (["--list"], ["drift", "--env", "prod"], ["provision", "--help"]):
        inv(checkout, *words, path=path)
    assert not (tmp_path / "apt").exists()
    done = inv(checkout, "drift", "--env", "lab", path=path)
    assert done.returncode == 2 and "apt-get could not install podman: E: no mirror" in done.stderr
    (tmp_path / "works").touch()
    assert "could not install" not in inv(checkout, "drift", "--env", "lab", path=path).stderr
    assert (tmp_path / "apt").read_text().splitlines()[-2:] == ["update -q", "install -q -y --no-install-recommends podman"]
    asked = (tmp_path / "apt").read_text()
    inv(checkout, "drift", "--env=lab", path=path)
    assert (tmp_path / "apt").read_text() == asked, "asked once"
