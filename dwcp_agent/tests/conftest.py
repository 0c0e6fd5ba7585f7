"""Builds the package from this tree, and gives tests a CA and agents on loopback.

The tests are about this tree, whatever is installed: the compiled core is built into a directory of its own, and a copy of the package
with it goes to the front of the path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


def build(target: Path, **inputs: str) -> Path:
    """An importable copy of the package in ``target``, built with these DWCP_* inputs."""
    tree = target / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns("tests", "build", "*.so", "*.egg-info", "__pycache__", ".*"))
    lib = target / "lib"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DWCP_")} | inputs
    command = [sys.executable, "setup.py", "-q", "build", "--build-lib", str(lib), "--build-temp", str(target / "temp")]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the package could not be built:\n{done.stdout}{done.stderr}")
    return lib


def _use_this_tree() -> None:
    given = os.environ.get("DWCP_TEST_LIB")
    if given is None:
        base = Path(tempfile.mkdtemp(prefix="dwcp-agent-tests-"))
        given = os.environ["DWCP_TEST_LIB"] = str(build(base))
        # A healthy build has no such module; the tests of defects hand it to agents in this process.
        shutil.copy(ROOT / "src/dwcp_agent/defects.py", Path(given) / "dwcp_agent")
        import atexit

        atexit.register(shutil.rmtree, base, ignore_errors=True)
    sys.path.insert(0, given)
    os.environ["PYTHONPATH"] = os.pathsep.join([given, *filter(None, [os.environ.get("PYTHONPATH")])])
    for name in [name for name in sys.modules if name.split(".")[0] == "dwcp_agent"]:
        del sys.modules[name]


_use_this_tree()
sys.path.insert(0, str(HERE))
from fixtures import (  # noqa: E402 - importable only from here on
    agent,
    authority,
    cache,
    dwcp,
    host,
    local,
    people,
    processes,
    start_agent,
)

__all__ = ["agent", "authority", "cache", "dwcp", "host", "local", "people", "processes", "start_agent"]
