"""Two rounds of faults on the lab's real hosts, and nothing of them is left. For ``inv test --long``: it takes some six minutes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from golive import environment
from golive.chaos.lab_mending import mended
from golive.environment import ROOT
from golive.fleet.inventory import read_fleet

pytestmark = pytest.mark.timeout(1500)


@pytest.fixture
def bare() -> Iterator[None]:
    """No lab before it and none after it: what other tests find is theirs."""
    destroy = [str(ROOT / "inv"), "destroy", "--env", "lab"]
    subprocess.run(destroy, cwd="/", check=True, capture_output=True)
    yield
    subprocess.run(destroy, cwd="/", check=True, capture_output=True)


@pytest.mark.usefixtures("bare")
def test_two_rounds_end_right_and_leave_nothing_struck(tmp_path: Path) -> None:
    kept = tmp_path / "rounds.json"
    words = ["chaos", "--env", "lab", "--seed", "3", "--rounds", "2", "--keep", str(kept), "--json"]
    done = subprocess.run([str(ROOT / "inv"), *words], cwd="/", capture_output=True, text=True, timeout=1400, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = json.loads(kept.read_text())["rows"]
    assert [row["struck"] for row in rows] == [True, True]
    assert all(row["ok"] and row["commands"] > 1 and row["resume_s"] < 10 for row in rows), rows
    env = environment.load("lab")
    assert mended(env, read_fleet(env)) == []
