"""What a hosting service is told to run: workflows that name what there is, with no more rights and no more foreign code than they need.

Whether a service runs them is nothing that a checkout can show.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from golive.environment import ROOT
from golive.verbs.bench import BENCHES

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
EVENTS = {"push", "pull_request", "schedule", "workflow_dispatch"}
JOB = {"runs-on", "timeout-minutes", "container", "steps", "strategy", "permissions", "needs", "env"}
STEP = {"name", "uses", "with", "run", "env", "if"}


def read(path: Path) -> dict[str, Any]:
    """A workflow. YAML 1.1 reads its key ``on`` as true."""
    told = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {"on" if key is True else key: value for key, value in told.items()}


def wrong(flow: dict[str, Any]) -> list[str]:
    """What keeps a service from running ``flow``, or makes it more than it has to be."""
    found = [f"{key} is no part of a workflow" for key in flow if key not in {"name", "on", "permissions", "concurrency", "jobs", "env"}]
    events = flow.get("on") or {}
    found += [f"{event} is no event" for event in events if event not in EVENTS] or ([] if events else ["nothing begins it"])
    if flow.get("permissions") != {"contents": "read"}:
        found.append("it may do more than read")
    if not flow.get("jobs"):
        found.append("it has no job")
    for name, job in (flow.get("jobs") or {}).items():
        found += [f"{name}: {key} is no part of a job" for key in job if key not in JOB]
        found += [f"{name} has no {key}" for key in ("runs-on", "timeout-minutes", "steps") if not job.get(key)]
        for step in job.get("steps") or ():
            found += [f"{name}: {key} is no part of a step" for key in step if key not in STEP]
            if ("run" in step) == ("uses" in step):
                found.append(f"{name}: a step either runs a command or uses an action")
            if "uses" in step and not re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"]):
                found.append(f"{name}: {step['uses']} is foreign, or not pinned")
            if "github.event" in step.get("run", "") or "secrets." in step.get("run", ""):
                found.append(f"{name}: what others wrote, or a secret, is put into a command line")
    return found


def commands(flow: dict[str, Any]) -> list[str]:
    return [step["run"] for job in flow["jobs"].values() for step in job["steps"] if "run" in step]


def test_every_workflow_is_one_that_a_service_can_run() -> None:
    assert {path.name for path in WORKFLOWS} == {"ci.yml", "benchmarks.yml"}
    assert {path.name: wrong(read(path)) for path in WORKFLOWS} == {path.name: [] for path in WORKFLOWS}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"on": {"pushed": None}}, "pushed is no event"),
        ({"on": {}}, "nothing begins it"),
        ({"permissions": {"contents": "write"}}, "it may do more than read"),
        ({"permissions": None}, "it may do more than read"),
        ({"jobs": {}}, "it has no job"),
        ({"jobs": {"j": {"runs-on": "x", "timeout-minutes": 1, "steps": []}}}, "j has no steps"),
        ({"jobs": {"j": {"runs-on": "x", "steps": [{"run": "true"}]}}}, "j has no timeout-minutes"),
        ({"jobs": {"j": {"runs-on": "x", "timeout-minutes": 1, "steps": [{"uses": "actions/checkout@v4"}]}}}, "not pinned"),
        ({"jobs": {"j": {"runs-on": "x", "timeout-minutes": 1, "steps": [{"uses": f"other/checkout@{'a' * 40}"}]}}}, "foreign"),
        (
            {"jobs": {"j": {"runs-on": "x", "timeout-minutes": 1, "steps": [{"run": "echo ${{ github.event.x }}"}]}}},
            "others wrote",
        ),
        ({"jobs": {"j": {"runs-on": "x", "timeout-minutes": 1, "steps": [{"name": "x"}]}}}, "either runs"),
    ],
)
def test_a_workflow_that_cannot_run_or_may_too_much_is_found(change: dict[str, Any], complaint: str) -> None:
    assert any(complaint in each for each in wrong(read(WORKFLOWS[0]) | change))


def test_no_workflow_has_more_rights_or_foreign_code_than_it_needs() -> None:
    for path in WORKFLOWS:
        flow = read(path)
        assert flow["permissions"] == {"contents": "read"}
        steps = [step for job in flow["jobs"].values() for step in job["steps"]]
        assert not any("permissions" in job for job in flow["jobs"].values())
        used = [step for step in steps if "uses" in step]
        assert used and all(re.fullmatch(r"actions/(checkout|upload-artifact)@[0-9a-f]{40}", step["uses"]) for step in used)
        checkouts = [step for step in used if "checkout" in step["uses"]]
        assert checkouts and all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_what_runs_for_a_change_is_the_suite_of_the_readme() -> None:
    flow = read(ROOT / ".github" / "workflows" / "ci.yml")
    assert {"push", "pull_request"} <= flow["on"].keys()
    assert not flow["on"]["push"] and not flow["on"]["pull_request"], "every branch and every path, not some"
    assert ".ci/run" in commands(flow)
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    last = script.read_text(encoding="utf-8").strip().splitlines()[-1].removeprefix("exec ")
    assert last == "./inv test"
    second = re.search(r"```\n\./inv golive --env lab\n(.+)\n```", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert second is not None and second[1] == last


def test_what_is_measured_by_timetable_is_a_benchmark_there_is() -> None:
    flow = read(ROOT / ".github" / "workflows" / "benchmarks.yml")
    times = [entry["cron"].split() for entry in flow["on"]["schedule"]]
    assert times
    for fields in times:
        limits = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
        assert len(fields) == 5
        assert all(field == "*" or low <= int(field) <= high for field, (low, high) in zip(fields, limits, strict=True))
    (job,) = flow["jobs"].values()
    names = job["strategy"]["matrix"]["name"]
    assert names and set(names) <= BENCHES.keys()
    assert any('./inv bench "${{ matrix.name }}" --json' in command for command in commands(flow))


def test_a_benchmark_asks_nobody_anything(tmp_path: Path) -> None:
    """Whoever starts it may have a terminal or an open pipe: the measurement has neither."""
    asks = tmp_path / "asks.py"
    asks.write_text("import json, sys\nprint(json.dumps({'rows': [], 'heard': sys.stdin.read()}))\n", encoding="utf-8")
    script = f"""
import json
from golive.verbs import bench
bench.BENCHES['core'] = {str(asks)!r}
bench._peers = lambda: '/nowhere'
bench._recorded = lambda *_: None
print(json.dumps(bench.bench('core').data))
"""
    child = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None and child.stdout is not None
    try:
        # Its stdin stays open: a benchmark that were to read from it would wait for ever.
        child.wait(timeout=30)
        assert json.loads(child.stdout.read()) == {"rows": [], "heard": ""}
    finally:
        child.kill()
        child.stdin.close()
        child.stdout.close()
