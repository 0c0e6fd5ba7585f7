"""``release.selftest``: the release installs from its own files alone and its core computes what published vectors say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from golive import releases
from golive.actions._check import Check
from golive.actions._world import release_of
from golive.actions.port import Outcome, StepContext, action
from golive.gates.verdict import Verdict

__all__ = ["ReleaseSelftest"]

# CRC-32C of "123456789" (RFC 3720, appendix B.4 uses the same polynomial; the check value is the catalogue's).
_VECTOR = "import sys; from dwcp_agent import _native as n; sys.exit(0 if n.crc32c(b'123456789') == 0xE3069283 else 9)"
_LIMIT_S = 120


@action
class ReleaseSelftest(Check):
    """A throwaway environment on this machine, no network, hashes required; then version, features and one published vector."""

    name = "release.selftest"
    budget = timedelta(minutes=5)

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        release: Literal["candidate", "incumbent", "load"]

    def apply(self, ctx: StepContext, todo: object) -> Outcome:
        release = releases.verified(ctx.env, release_of(ctx, ctx.params["release"]))
        files = release.path / "files"
        with tempfile.TemporaryDirectory(prefix="golive-selftest-") as scratch:
            venv = Path(scratch) / "venv"
            uv, python = str(files / "uv"), str(venv / "bin" / "python")
            install = [uv, "pip", "install", "--quiet", "--offline", "--no-cache", "--no-index", "--python", python]
            install += ["--find-links", str(files), "--require-hashes", "-r", str(files / "requirements.txt")]
            steps = (
                (
                    "make an environment",
                    [uv, "venv", "--quiet", "--offline", "--no-cache", "--no-python-downloads", "--python", _python(), str(venv)],
                ),
                ("install offline with hashes", install),
                ("say its version", [str(venv / "bin" / "dwcp"), "version"]),
                ("report its features", [str(venv / "bin" / "dwcp"), "features"]),
                ("compute a published CRC-32C", [python, "-c", _VECTOR]),
            )
            said: dict[str, str] = {}
            for what, argv in steps:
                ctx.check()
                try:
                    done = subprocess.run(argv, env=_bare(ctx), capture_output=True, text=True, timeout=_LIMIT_S, check=False)
                except subprocess.TimeoutExpired:
                    return Outcome(Verdict.ERROR, f"{release.id} did not {what} within {_LIMIT_S} s", said)
                if done.returncode != 0:
                    last = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
                    return Outcome(Verdict.FAIL, f"{release.id} could not {what}: {last}", said)
                said[what] = done.stdout.strip()[:4000]
        if release.version not in said["say its version"].split():
            return Outcome(Verdict.FAIL, f"{release.id} calls itself {said['say its version']!r}", said)
        features = json.loads(said["report its features"])
        return Outcome(Verdict.PASS, f"{release.id} installs offline and computes right", {"features": features})


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _bare(ctx: StepContext) -> dict[str, str]:
    """The step's environment without anything that points Python or uv elsewhere."""
    return {k: v for k, v in {**os.environ, **ctx.child_env()}.items() if not k.startswith(("PYTHON", "UV_", "PIP_", "VIRTUAL_ENV"))}
