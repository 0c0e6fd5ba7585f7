"""``./inv test``: what runs beside one another, what runs alone, and what it says."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from golive.engine.process import started
from golive.environment import ROOT
from golive.errors import BadInput, GoliveError
from golive.evidence.tools import coverage
from golive.verbs.suite import Part, named, parts, suite

_STAMP = """
import sys, time
print(1234)
began = time.time()
time.sleep(0.5)
open(sys.argv[1], "w").write(f"{began} {time.time()}")
sys.exit(int(sys.argv[2]))
"""


def _ran(tmp_path, *chosen: tuple[str, str, int]) -> tuple[dict, str, dict[str, tuple[float, float]]]:
    """The suite's result, what it told, and when each part ran; parts are (name, lane, exit code)."""
    listed = ", ".join(
        f"suite.Part({name!r}, (sys.executable, '-c', {_STAMP!r}, {str(tmp_path / name)!r}, '{code}'), lane={lane!r})"
        for name, lane, code in chosen
    )
    script = f"""
import json, sys
from golive.verbs import suite
suite.parts = lambda **_: [{listed}]
result = suite.suite()
print(json.dumps({{**result.data, "text": result.text, "exit": result.exit_code}}))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    times = {name: tuple(map(float, (tmp_path / name).read_text().split())) for name, _, _ in chosen}
    return json.loads(done.stdout), done.stderr, times  # one object, whatever the parts print


def test_parts_print_to_stderr_whole_and_each_is_counted(tmp_path) -> None:
    result, told, _ = _ran(tmp_path, ("lint", "first", 0), ("tools", "second", 3), ("lab", "alone", 0))
    assert told.count("1234") == 3
    assert "== tools\n1234\n== tools: FAILED" in told
    assert (result["failed"], result["exit"]) == (["tools"], 1)
    assert result["text"] == "2 passed, 1 failed\nfailed: tools"


def test_two_lanes_run_beside_one_another_and_what_takes_the_lab_runs_alone(tmp_path) -> None:
    _, _, ran = _ran(tmp_path, ("one", "first", 0), ("two", "second", 0), ("lab", "alone", 1), ("more", "alone", 0))
    assert ran["one"][0] < ran["two"][1] and ran["two"][0] < ran["one"][1]
    assert max(ran["one"][1], ran["two"][1]) < ran["lab"][0]
    assert ran["lab"][1] < ran["more"][0]


def test_what_a_part_leaves_behind_is_named_and_ended_and_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    leaves = "import subprocess, sys; print(subprocess.Popen(['sleep', '300']).pid)"
    monkeypatch.setattr("golive.verbs.suite.parts", lambda **_: [Part("unit", (sys.executable, "-c", leaves))])
    result = suite()
    assert (result.data["failed"], result.exit_code) == ([], 0)
    said = capsys.readouterr().err
    pid = int(said.splitlines()[2])
    assert f"left behind, and ended: process {pid}, sleep 300\n== unit: passed" in said
    assert started(pid) is None
    assert result.data["parts"][0]["seconds"] < 60


def test_a_part_that_takes_too_long_is_ended_and_has_failed_with_what_it_said_so_far(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    stuck = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "print('begun'); subprocess.Popen(['sleep', '301']); time.sleep(300)"
    )
    monkeypatch.setattr("golive.verbs.suite._PATIENCE_S", 0.5)
    monkeypatch.setattr("golive.verbs.suite.parts", lambda **_: [Part("unit", (sys.executable, "-uc", stuck), limit_s=3)])
    result = suite()
    assert [(row["part"], row["rc"]) for row in result.data["parts"]] == [("unit", 124)]
    assert result.exit_code == 1 and result.data["parts"][0]["seconds"] < 60
    said = capsys.readouterr().err.splitlines()
    assert said[2:4] == ["begun", "it was ended after 3 s"]
    assert said[4].startswith("left behind, and ended: process") and said[4].endswith(", sleep 301")


def test_the_lab_is_never_beside_something_else() -> None:
    assert {part.name: part.lane for part in parts(lab=True, long=True) if "lab" in part.name or "long" in part.name} == dict.fromkeys(
        ("lab", "lab, long", "rollouts, long", "link, long", "controllers, long", "gates, long"), "alone"
    )


def test_a_suite_by_name_is_one_part_that_knows_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golive.verbs.suite.shutil.which", lambda tool: f"/usr/bin/{tool}")
    (plain,), (full,) = named("core", sanitize=False, long=False), named("core", sanitize=True, long=True)
    assert plain.argv[-1] == "tests/core" and (plain.directory / "tests/core").is_dir()
    assert plain.variables == {"DWCP_SANITIZE": "0"}
    assert full.variables == {"DWCP_SANITIZE": "1", "DWCP_STRESS_ITEMS": "100000000"}


def test_the_suite_of_the_data_path_is_the_agent_the_link_and_the_faults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golive.verbs.suite.shutil.which", lambda tool: f"/usr/bin/{tool}")
    chosen = named("datapath", sanitize=False, long=False)
    assert [part.name for part in chosen] == ["agent", "link", "faults"]
    for part in chosen:
        files = [word for word in part.argv if word.startswith("tests/")]
        assert files and all((part.directory / file).exists() for file in files)
    with pytest.raises(BadInput, match="--sanitize is for --suite core"):
        named("datapath", sanitize=True, long=False)


def test_what_a_suite_needs_and_is_not_there_is_named_with_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "golive.verbs.suite.shutil.which", lambda tool: None if tool in ("valgrind", "qemu-aarch64") else f"/usr/bin/{tool}"
    )
    assert named("core", sanitize=False, long=False)
    with pytest.raises(BadInput, match="needs valgrind and qemu-aarch64; on Debian, as root: apt-get install valgrind qemu-user"):
        named("core", sanitize=True, long=False)


def test_an_unknown_suite_and_sanitizers_without_one_are_refused() -> None:
    with pytest.raises(BadInput, match="no suite 'fast'; known are core"):
        suite(only="fast")
    with pytest.raises(BadInput, match="belongs to --suite"):
        suite(sanitize=True)


def test_units_the_agent_and_integration_are_measured_each_into_a_place_of_its_own() -> None:
    covering = {part.name: part for part in parts(lab=True, long=True) if part.covers}
    assert covering.keys() == {"unit", "agent", "integration"}
    for name, part in covering.items():
        assert part.variables == {"COVERAGE_FILE": str(coverage.data_file(name).absolute())}
        assert part.argv[1:4] == ("-m", "coverage", "run") and (ROOT / "pyproject.toml").samefile(part.argv[4].removeprefix("--rcfile="))


def test_what_was_measured_is_kept_with_how_its_parts_ended_and_before_what_they_began_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    asked = []
    monkeypatch.setattr(
        "golive.verbs.suite.parts",
        lambda **_: [Part("unit", (sys.executable, "-c", "raise SystemExit(3)"), covers=True), Part("lint", (sys.executable, "-c", ""))],
    )
    monkeypatch.setattr(coverage, "combined", lambda *given: asked.append(given) or {"packages": {"golive": {"percent": 81.5}}})
    result = suite()
    assert asked == [(ROOT, {"unit": 3}, coverage.measured_digest(ROOT))]
    assert result.data["coverage"] == {"golive": 81.5} and result.text.endswith("lines that are run: 81.5 % of golive")
    assert result.data["failed"] == ["unit"]

    def refused(*_: object) -> None:
        raise GoliveError("Coverage is not kept: sources or tests were changed while the tests ran.")

    monkeypatch.setattr(coverage, "combined", refused)
    assert suite().data["coverage"] == {}
