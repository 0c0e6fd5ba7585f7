"""Every role, applied twice and in check mode on hosts of the lab, does what it promises and leaves running releases alone.

Needs a provisioned lab that nobody works on; a release may be live there.
"""

from __future__ import annotations

import json
import subprocess

import pytest

from golive.environment import ROOT
from golive.fleet import molecule

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("role", molecule.roles())
def test_role(role: str) -> None:
    argv = [str(ROOT / "inv"), "molecule", "--env", "lab", "--role", role, "--json"]
    done = subprocess.run(argv, cwd="/", capture_output=True, text=True, timeout=570, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert [entry["role"] for entry in said["roles"]] == [role]
    steps = {step["name"]: step for step in said["roles"][0]["steps"]}
    assert {"converge", "idempotence", "check", "releases"} <= set(steps)
    assert all(step["trouble"] == "" for step in steps.values())
    assert int(next(name for name in steps if name.endswith(" checks")).split()[0]) >= 5
