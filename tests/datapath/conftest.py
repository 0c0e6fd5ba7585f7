from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.programs import built


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent of this tree, built once."""
    return built(tmp_path_factory.mktemp("agent"))
