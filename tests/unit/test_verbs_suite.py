"""``./inv test --json``: what the parts print stays away from the one JSON object on stdout."""

from __future__ import annotations

import json
import subprocess
import sys

from golive.environment import ROOT


def test_parts_print_to_stderr() -> None:
    script = (
        "import json, sys; from golive.verbs import suite\n"
        "suite.parts = lambda **_: [suite.Part('loud', (sys.executable, '-c', 'print(1234)'))]\n"
        "print(json.dumps(suite.suite().data))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [part["part"] for part in json.loads(done.stdout)["parts"]] == ["loud"]
    assert "1234" in done.stderr
