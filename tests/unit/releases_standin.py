"""A checkout in a directory of its own: an agent of one file that is built like the real one, and the environments around it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from golive import environment
from golive.environment import Environment, Settings
from golive.lab import keys

SETUP = """\
import json, os
from pathlib import Path
from setuptools import Extension, setup

facts = {k: os.environ[k] for k in ("DWCP_VERSION", "DWCP_PHASE4", "DWCP_DEFECT")}
Path("src/dwcp_agent/_built.py").write_text(f"FACTS = {facts!r}\\n")
setup(version=os.environ["DWCP_VERSION"], ext_modules=[Extension("dwcp_agent._core", ["native/core.c"])])
"""
PYPROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "dwcp-agent"
dynamic = ["version"]
requires-python = ">=3.11"
[project.scripts]
dwcp = "dwcp_agent.cli:main"
[tool.setuptools.packages.find]
where = ["src"]
"""
CLI = """\
import sys
from dwcp_agent import _core
from dwcp_agent._built import FACTS

def main():
    print(FACTS["DWCP_VERSION"], _core.answer())
"""
CORE = """\
#include <Python.h>
static PyObject *answer(PyObject *self, PyObject *none) { return PyUnicode_FromString("core"); }
static PyMethodDef methods[] = {{"answer", answer, METH_NOARGS, ""}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_core", "", -1, methods};
PyMODINIT_FUNC PyInit__core(void) { return PyModule_Create(&module); }
"""
CATALOGUE = """\
# kept by people
schema: 1
releases:
  "1.0.0":  # measures
    kind: load
    phase4: false
    source: worktree
  "2.9.0":
    kind: agent
    phase4: false
    source: worktree
  "3.0.0":
    kind: agent
    phase4: true
    source: worktree
"""


def checkout(root: Path) -> Path:
    """A git repository with the stand-in agent, a catalogue and a lock file that pins nothing; everything committed."""
    for name, content in {
        "dwcp_agent/setup.py": SETUP,
        "dwcp_agent/pyproject.toml": PYPROJECT,
        "dwcp_agent/native/core.c": CORE,
        "dwcp_agent/src/dwcp_agent/__init__.py": "",
        "dwcp_agent/src/dwcp_agent/cli.py": CLI,
        "dwcp_agent/tests/test_x.py": "",
        "requirements/agent.lock": "# nothing\n",
        "releases.yaml": CATALOGUE,
        ".gitignore": "__pycache__/\n.golive/\n",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    git(root, "init", "-q", "-b", "main")
    commit(root, "first")
    return root


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def commit(root: Path, message: str) -> str:
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", message)
    return git(root, "rev-parse", "HEAD")


def lab() -> Environment:
    """The lab, with keys of its own under $GOLIVE_STATE."""
    env = environment.load("lab")
    keys.ensure(env)
    return env


def static(root: Path, **changes: str) -> Environment:
    """An environment of given hosts whose inventory stands under ``root`` (patch ``golive.environment.ROOT``)."""
    (root / "inventories" / "prod").mkdir(parents=True, exist_ok=True)
    settings = {"kind": "static", "policy": "prod", "terraform": "prod", "release": "3.0.0", "load_release": "1.0.0", "load_rate_per_s": 1}
    return Environment(name="prod", settings=Settings.model_validate({**settings, **changes}), policy={})


def ssh_key(path: Path, comment: str = "someone@example.invalid") -> str:
    """A new key at ``path``; its public line."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], check=True)
    return path.with_name(path.name + ".pub").read_text().strip()
