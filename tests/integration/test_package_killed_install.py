"""An installation killed at any line is no release, and the next one makes it whole. Real uv, real signatures, real SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "unit"))

from golive import releases  # noqa: E402
from golive.onhost import installed  # noqa: E402
from golive.onhost.places import Places  # noqa: E402
from releases_standin import checkout, lab  # noqa: E402

PROGRAM = """
import json, os, signal, sys
from golive.onhost import units
from golive.onhost.main import main
from golive.onhost.units import Unit

units.show = lambda names: {name: Unit(name, "inactive", False, "", 0) for name in names}
kill_at, lines = int(sys.argv[1]), {}

def trace(frame, event, _):
    path = frame.f_code.co_filename
    if frame.f_code.co_name == "<module>":
        return None
    if os.path.dirname(path).endswith("/onhost") and os.path.basename(path) in ("install.py", "installed.py", "bundle.py", "durable.py"):
        place = (os.path.basename(path), frame.f_lineno)
        if event == "line" and place not in lines:
            lines[place] = len(lines)
            if lines[place] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    return None

sys.settrace(trace)
status = main(sys.argv[2:])
sys.settrace(None)
if kill_at == -1:
    print(len(lines))
sys.exit(status)
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    root = checkout(tmp_path_factory.mktemp("checkout"))
    state = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOLIVE_STATE", str(state))
        made = releases.build(lab(), "3.0.0", root=root, catalogue=root / "releases.yaml")
        return made.id, releases.bundle(made), state / "lab" / "keys" / "allowed_signers"


def run(root: Path, bundle: Path, kill_at: int) -> subprocess.CompletedProcess[str]:
    words = ["--root", str(root), "install", str(bundle), "--kind=agent", "--slot=b", "--token=1", "--run=r"]
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(kill_at), *words], capture_output=True, text=True, cwd=ROOT, timeout=60, env=dict(os.environ)
    )


@pytest.mark.timeout(600)
def test_an_install_killed_at_any_line_converges(bundle: tuple[str, Path, Path], tmp_path: Path) -> None:
    release, tar, signers = bundle
    places = Places(tmp_path)
    places.etc.mkdir(parents=True)
    places.allowed_signers.write_bytes(signers.read_bytes())
    places.signature_namespace.write_text("dwcp-release-lab\n")
    clean = run(tmp_path, tar, -1)
    assert clean.returncode == 0, clean.stderr
    lines = int(clean.stdout.splitlines()[-1])
    assert lines > 80, "the trace sees the code it is about"
    killed = whole = 0
    for number in range(0, lines, 4):
        subprocess.run(["rm", "-rf", str(places.releases("agent")), str(places.etc / "agent")], check=True)
        dead = run(tmp_path, tar, number)
        killed += dead.returncode == -signal.SIGKILL
        found = installed.complete(places, "agent", release)
        if found is not None:
            # It bears its name: then it must be whole, and the dead process had done all its work on it.
            whole += 1
            assert subprocess.run([found.path / "bin/dwcp"], capture_output=True, text=True, check=True).stdout == "3.0.0 core\n"
        again = run(tmp_path, tar, -2)
        assert again.returncode == 0, f"after a kill at line {number}: {again.stderr}"
        assert json.loads(again.stdout)["changed"] is (found is None)
        assert [p.name for p in places.releases("agent").iterdir()] == [release], f"after a kill at line {number}"
        assert places.slot_file(release).read_text() == "DWCP_SLOT=b\n"
        assert (
            subprocess.run([places.releases("agent") / release / "bin/dwcp"], capture_output=True, text=True, check=True).stdout
            == "3.0.0 core\n"
        )
    assert killed >= 20
    assert 0 < whole < killed, "some kills came before the release had its name, some after"
