"""Wheels: the same inputs give the same bytes, and what is left out is not there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def wheel(place: Path, **inputs: str) -> Path:
    tree = place / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns("tests", "build", "*.so", "*.egg-info", "__pycache__", ".*"))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DWCP_") and key != "PYTHONPATH"} | inputs
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place / "out"), str(tree)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = (place / "out").glob("*.whl")
    return found


def inside(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def run_from(path: Path, target: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(target)
    environment = {**os.environ, "PYTHONPATH": str(target)}
    return subprocess.run([sys.executable, "-m", "dwcp_agent", *arguments], env=environment, capture_output=True, text=True, check=False)


def test_same_inputs_give_the_same_bytes_wherever_the_tree_lies(tmp_path: Path) -> None:
    previous = os.umask(0o077)
    try:
        first = wheel(tmp_path / "a", DWCP_VERSION="2.9.0", DWCP_PHASE4="0", SOURCE_DATE_EPOCH="946684800")
    finally:
        os.umask(previous)
    second = wheel(tmp_path / "a much longer directory", DWCP_VERSION="2.9.0", DWCP_PHASE4="0", SOURCE_DATE_EPOCH="946684800")
    assert first.name == second.name and first.name.startswith("dwcp_agent-2.9.0-")
    assert inside(first) == inside(second)
    assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest()
    assert not any(str(tmp_path).encode() in content for content in inside(first).values())

    # The incumbent's build: no vector path, no Phase 4 module, no defect.
    names = set(inside(first))
    assert "dwcp_agent/service.py" in names
    assert not any(name.startswith(("dwcp_agent/phase4", "dwcp_agent/defects")) for name in names)
    done = run_from(first, tmp_path / "unpacked", "features")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["version"], report["phase4"]) == ("2.9.0", False)
    assert [report[name] for name in ("zerocopy", "pool", "queue", "affinity", "batch")] == ["compiled-out"] * 5
    for kernel in report["kernels"].values():
        assert kernel == {"active": "scalar", "available": ["scalar"], "vector": "compiled-out"}


def test_defect_is_compiled_in_and_named_by_the_version(tmp_path: Path) -> None:
    made = wheel(tmp_path, DWCP_VERSION="3.0.1+defect.errors", DWCP_DEFECT='{"errors": 0.02}')
    content = inside(made)
    assert b"DEFECT: dict[str, float | bool] | None = {'errors': 0.02}" in content["dwcp_agent/_build.py"]
    assert "dwcp_agent/defects.py" in content and "dwcp_agent/phase4/pool.py" in content
    assert run_from(made, tmp_path / "unpacked", "version").stdout == "3.0.1+defect.errors\n"


@pytest.mark.parametrize("defect", ["{", "[]", "{}", '{"speed": 2}'])
def test_unknown_defects_are_not_built(tmp_path: Path, defect: str) -> None:
    environment = {**os.environ, "DWCP_DEFECT": defect}
    done = subprocess.run([sys.executable, "setup.py", "--version"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
