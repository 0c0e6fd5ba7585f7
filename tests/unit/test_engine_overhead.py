"""The engine costs little a step, as much at the end of a long run as at its beginning, and a resumed run decides soon.

Lower quartiles, and bounds that leave room for a machine that does something else besides; `benchmarks/engine.py` prints the figures.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

from golive.environment import ROOT


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmarks_engine", ROOT / "benchmarks/engine.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.timeout(300)
def test_a_step_costs_the_same_in_a_short_run_and_in_a_long_one_and_a_resumed_run_decides_soon(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Path("/dev/shm")
    costs = []
    for steps in (50, 600):
        with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as place:
            monkeypatch.setenv("GOLIVE_STATE", place)
            costs.append(benchmark.measured(steps))
    short, long = costs
    assert long.quick_ms < benchmark.STEP_MS
    assert long.last_ms < 2 * long.first_ms + 3
    assert long.quick_ms < 2 * short.quick_ms + 3
    assert long.resume_s < benchmark.RESUME_S
