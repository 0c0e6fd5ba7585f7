"""Named tools: each finds what it is there to find, and takes neither silence nor another checkout for a pass."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from golive.environment import ROOT
from golive.errors import GoliveError, Unprepared
from golive.evidence.tools import TOOLS, ansible, code, coverage, documented, model, run, secrets, terraform
from golive.evidence.tools.model import Command, Judged, Outcome, Place, Said, Tool

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\n" + "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAA\n"


def tool(*script: str, judge: Any = None, timeout_s: float = 20) -> Tool:
    """A tool that runs each of ``script``, and passes whatever it says unless it is judged otherwise."""

    def commands(place: Place) -> list[Command]:
        return [Command((sys.executable, "-c", each), place.root, timeout_s=timeout_s) for each in script]

    return Tool("trial", "It tries.", ("toolkit",), timedelta(days=1), commands, judge or (lambda _, said: Judged("PASS", "It passed.")))


def said(*told: tuple[int | None, str], argv: tuple[str, ...] = ("x",), directory: Path = ROOT) -> list[Said]:
    return [Said(Command(argv, directory), rc, output) for rc, output in told]


def judged(of: Tool, *told: tuple[int | None, str], root: Path = ROOT, scratch: Path = ROOT, argv: tuple[str, ...] = ("x",)) -> Judged:
    return of.judge(Place(root, scratch), said(*told, argv=argv))


def repository(place: Path, files: dict[str, str]) -> Path:
    """A checkout with these files tracked."""
    for name, content in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(content, encoding="utf-8")
    subprocess.run(["git", "init", "-q", str(place)], check=True)
    subprocess.run(["git", "-C", str(place), "add", "-A"], check=True)
    return place


# -- what holds for all of them ------------------------------------------------------------------------------------------------------


def test_what_a_tool_says_is_kept_with_its_command_and_exit_code() -> None:
    outcome = run(tool("print('looked at 3 files')", "import sys; sys.exit(7)"))
    assert outcome == Outcome(
        "PASS",
        "It passed.",
        {},
        b"$ python -c 'print('\"'\"'looked at 3 files'\"'\"')'\nlooked at 3 files\n[exit code 0]\n"
        b"$ python -c 'import sys; sys.exit(7)'\n[exit code 7]\n",
        "python -c 'print('\"'\"'looked at 3 files'\"'\"')'\npython -c 'import sys; sys.exit(7)'",
    )


def test_silence_is_unknown_whatever_the_judge_makes_of_it() -> None:
    outcome = run(tool("pass"))
    assert outcome.result == "UNKNOWN" and "said nothing" in outcome.summary


def test_a_tool_that_is_missing_is_unknown() -> None:
    missing = Tool("trial", "", ("toolkit",), timedelta(1), lambda place: [Command(("no-such-program",), place.root)], tool("").judge)
    outcome = run(missing)
    assert outcome.result == "UNKNOWN" and outcome.summary == "trial: no-such-program cannot be run here: No such file or directory."


def test_a_tool_that_does_not_end_is_unknown_and_nothing_after_it_is_run() -> None:
    outcome = run(tool("print('begun', flush=True); import time; time.sleep(60)", "print('next')", timeout_s=5))
    assert outcome.result == "UNKNOWN" and "did not end within 5 s" in outcome.summary
    assert b"begun" in outcome.output and b"next" not in outcome.output


def test_what_cannot_be_read_or_begun_is_unknown() -> None:
    garbled = run(tool("print('no json')", judge=lambda _, each: Judged("PASS", json.loads(each[0].output)["x"])))
    assert garbled.result == "UNKNOWN" and "could not be read" in garbled.summary

    def commands(_: Place) -> Sequence[Command]:
        raise Unprepared("there is nothing to look at.")

    assert (
        run(Tool("trial", "", ("source",), timedelta(1), commands, tool("").judge)).summary
        == "trial could not begin: there is nothing to look at."
    )
    assert run(Tool("trial", "", ("source",), timedelta(1), lambda _: [], tool("").judge)).result == "UNKNOWN"


def test_variables_of_who_asks_do_not_reach_a_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/planted")
    monkeypatch.setenv("ANSIBLE_SECRET", "hunter2")
    outcome = run(tool("import os; print(sorted(os.environ))"))
    assert b"PATH" in outcome.output and b"PYTHONPATH" not in outcome.output and b"ANSIBLE" not in outcome.output


def test_what_was_there_is_gone_and_the_checkout_is_as_it_was(tmp_path: Path) -> None:
    seen: list[Path] = []

    def commands(place: Place) -> list[Command]:
        seen.append(place.scratch)
        return [Command((sys.executable, "-c", "print(1)"), place.scratch)]

    run(Tool("trial", "", ("toolkit",), timedelta(1), commands, tool("").judge), tmp_path)
    assert seen and not seen[0].exists() and list(tmp_path.iterdir()) == []


def test_every_tool_has_its_name_and_says_what_it_is_about() -> None:
    assert len(TOOLS) >= 11
    for name, each in TOOLS.items():
        assert each.name == name and each.says.endswith(".") and each.subject and timedelta() < each.valid <= timedelta(days=30)


# -- terraform -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "terraform", tmp_path / "terraform")
    return tmp_path


def test_terraform_code_that_is_badly_formatted_is_named(modules: Path) -> None:
    assert run(terraform.FORMAT, modules).result == "PASS"
    (modules / "terraform/modules/wan/main.tf").write_text('locals {\n  a="b"\n}\n', encoding="utf-8")
    outcome = run(terraform.FORMAT, modules)
    assert outcome.result == "FAIL" and "modules/wan/main.tf" in outcome.summary


def test_a_formatter_that_does_not_complain_of_its_trial_is_unknown() -> None:
    assert judged(terraform.FORMAT, (0, "")).result == "UNKNOWN"
    assert judged(terraform.FORMAT, (3, "other.tf\n")).result == "UNKNOWN"
    assert judged(terraform.FORMAT, (2, "badly_formatted_on_purpose.tf\nError: no")).result == "UNKNOWN"


def test_without_terraform_code_nothing_is_shown(tmp_path: Path) -> None:
    for each in (terraform.FORMAT, terraform.VALIDATE, terraform.TEST):
        outcome = run(each, tmp_path)
        assert outcome.result == "UNKNOWN" and "there is no Terraform code" in outcome.summary


def test_an_environment_that_terraform_refuses_is_named(tmp_path: Path) -> None:
    for name in ("lab", "staging", "prod"):
        place = tmp_path / "terraform" / "environments" / name
        place.mkdir(parents=True)
        place.joinpath("main.tf").write_text('variable "a" {}\n', encoding="utf-8")
    assert run(terraform.VALIDATE, tmp_path).summary == "terraform validate accepts all 3 modules and environments."
    place.joinpath("main.tf").write_text('output "a" {\n  value = var.not_there\n}\n', encoding="utf-8")
    outcome = run(terraform.VALIDATE, tmp_path)
    assert outcome.result == "FAIL" and "environments/prod: Reference to undeclared input variable" in outcome.summary
    shutil.rmtree(place)
    assert run(terraform.VALIDATE, tmp_path).summary == "There is no Terraform code for environments/prod."


def test_a_module_without_a_test_that_ran_and_a_test_that_failed_are_no_pass(tmp_path: Path) -> None:
    names = ("one", "two")
    for name in names:
        (tmp_path / "terraform" / "modules" / name).mkdir(parents=True)

    def told(*endings: tuple[int, str]) -> Judged:
        steps: list[Said] = []
        for name, (rc, output) in zip(names, endings, strict=False):
            where = tmp_path / "modules" / name
            steps += said((0, "initialized"), (rc, output), directory=where)
        return terraform.TEST.judge(Place(tmp_path, tmp_path), steps)

    good = (0, "Success! 3 passed, 0 failed.\n")
    assert told(good, good).facts == {"tests": {"one": 3, "two": 3}}
    assert told(good, good).result == "PASS"
    assert told(good, (0, "Success! 0 passed, 0 failed.\n")).summary == "No test of the module two was run."
    assert told(good).summary == "No test of the module two was run."
    assert told(good, (1, "Failure! 2 passed, 1 failed.\n")).result == "FAIL"
    assert told(good, (0, "Success! 2 passed, 0 failed, 1 skipped.\n")).result == "FAIL"
    assert told(good, (1, "")).result == "UNKNOWN"


# -- ansible -------------------------------------------------------------------------------------------------------------------------


def test_a_playbook_that_ansible_cannot_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "ansible.cfg").touch()
    good = '---\n- name: Play\n  hosts: all\n  tasks:\n    - name: Task\n      ansible.builtin.command: "true"\n'
    (tmp_path / "playbooks" / "good.yml").write_text(good, encoding="utf-8")
    assert run(ansible.SYNTAX, tmp_path).facts == {"playbooks": ["good.yml"]}
    (tmp_path / "playbooks" / "bad.yml").write_text(good.replace("command", "no_such_module"), encoding="utf-8")
    outcome = run(ansible.SYNTAX, tmp_path)
    assert outcome.result == "FAIL" and "cannot read bad.yml" in outcome.summary
    assert run(ansible.SYNTAX, tmp_path / "playbooks").result == "UNKNOWN"


LINTED = (
    "Passed: 0 failure(s), 0 warning(s) in 82 files processed of 85 encountered. "
    "Last profile that met the validation criteria was 'production'.\n"
)


@pytest.mark.parametrize(
    ("rc", "output", "result"),
    [
        (0, LINTED, "PASS"),
        (0, "", "UNKNOWN"),
        (0, LINTED.replace("82", "0"), "UNKNOWN"),
        (0, LINTED.replace("production", "basic"), "FAIL"),
        (2, LINTED.replace("Passed: 0", "Failed: 2"), "FAIL"),
        (2, LINTED, "FAIL"),
        (1, "ERROR: no such profile", "UNKNOWN"),
    ],
)
def test_ansible_lint_passes_only_by_what_it_says(rc: int, output: str, result: str) -> None:
    assert judged(ansible.LINT, (rc, output)).result == result


def test_a_rule_that_is_left_out_is_no_production_profile(tmp_path: Path) -> None:
    (tmp_path / ".ansible-lint").write_text("profile: production\nskip_list: [name]\n", encoding="utf-8")
    outcome = judged(ansible.LINT, (0, LINTED), root=tmp_path)
    assert outcome.result == "FAIL" and "name are left out" in outcome.summary


# -- code ----------------------------------------------------------------------------------------------------------------------------


def test_ruff_finds_an_unused_import_and_a_line_to_format(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    assert run(code.RUFF, tmp_path).result == "UNKNOWN", "no file was looked at"
    (tmp_path / "a.py").write_text('"""Good."""\n', encoding="utf-8")
    assert run(code.RUFF, tmp_path).summary == "ruff finds nothing in 1 files, and all are formatted."
    (tmp_path / "b.py").write_text("x = {  'a':1 }\n", encoding="utf-8")
    outcome = run(code.RUFF, tmp_path)
    assert outcome.result == "FAIL" and outcome.facts["unformatted"] == ["b.py"]
    (tmp_path / "b.py").write_text("import os\n", encoding="utf-8")
    assert run(code.RUFF, tmp_path).summary == "ruff finds 1 errors."


def test_mypy_passes_only_when_it_looked_at_both_parts() -> None:
    def typed(toolkit: tuple[int, str], agent: tuple[int, str]) -> Judged:
        return code.MYPY.judge(Place(ROOT, ROOT), [*said(toolkit), *said(agent, directory=ROOT / "dwcp_agent")])

    good = (0, "Success: no issues found in 12 source files\n")
    assert typed(good, good).facts == {"toolkit": 12, "agent": 12}
    assert typed(good, (0, "")).result == "UNKNOWN"
    assert typed(good, (0, "Success: no issues found in 0 source files\n")).result == "UNKNOWN"
    assert typed(good, (1, "Found 3 errors in 2 files (checked 12 source files)\n")).summary == "mypy finds 3 errors in the agent."
    assert typed((2, "mypy: can't read file"), good).result == "UNKNOWN"


def test_two_builds_with_other_bytes_are_told_apart(tmp_path: Path) -> None:
    def built(*contents: bytes | None) -> Judged:
        told = []
        for number, content in enumerate(contents):
            out = tmp_path / str(number) / "out"
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir(parents=True)
            if content is not None:
                (out / "dwcp_agent-1.whl").write_bytes(content)
            told += said((0, "built"), argv=("python", "--outdir", str(out), "tree"))
        return code.BUILD.judge(Place(ROOT, tmp_path), told)

    assert built(b"same", b"same").result == "PASS"
    assert built(b"same", b"other").summary == "Built twice, the agent's wheel has two digests."
    assert built(b"same", None).result == "UNKNOWN"
    assert built(b"same").result == "UNKNOWN"
    failed = code.BUILD.judge(Place(ROOT, tmp_path), said((1, "x.c: error: no"), argv=("python", "--outdir", "o", "t")))
    assert failed.result == "FAIL" and "x.c: error: no" in failed.summary


# -- secrets -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (KEY, "private key"),
        (f'KEY = "{KEY.strip()}"'.replace("\n", "\\n"), "private key"),
        ("key: " + "AKIA" + "Q3EGRDXJ7ZL2NWTB", "AWS access key"),
        ("ghp" + "_" + "a1B2" * 9, "GitHub token"),
        ("glpat" + "-" + "a1B2c3D4e5F6g7H8i9J0", "GitLab token"),
        ("postgresql://golive:" + "correcthorse@db.corp/x", "password in a URL"),
    ],
)
def test_a_planted_secret_is_found_and_not_repeated(tmp_path: Path, content: str, kind: str) -> None:
    root = repository(tmp_path, {"notes/a.txt": f"line\n{content}\n"})
    found = secrets.scan(root)["found"]
    assert found == [{"file": "notes/a.txt", "line": 2, "kind": kind}]
    outcome = secrets.SECRETS.judge(Place(root, root), said((0, json.dumps(secrets.scan(root)))))
    assert outcome.result == "FAIL" and "notes/a.txt:2" in outcome.summary and content[-8:] not in json.dumps(outcome.facts)


def test_names_of_secret_files_are_found_and_marked_examples_are_counted(tmp_path: Path) -> None:
    mark = "# secret-scan: example\n"
    root = repository(tmp_path, {"id_ed25519": "x", "a.py": mark + KEY, "b.py": "https://ann:secret@backup.example/x"})
    found = secrets.scan(root)
    assert [each["file"] for each in found["found"]] == ["id_ed25519"]  # type: ignore[attr-defined]
    assert found["examples"] == 1 and found["files"] == 3


def test_what_is_not_tracked_is_not_looked_at_and_no_checkout_is_unknown(tmp_path: Path) -> None:
    root = repository(tmp_path / "here", {"a.txt": "clean"})
    (root / "later.pem").write_text(KEY, encoding="utf-8")
    assert secrets.scan(root)["found"] == []
    (tmp_path / "bare").mkdir()
    with pytest.raises(subprocess.CalledProcessError):
        secrets.scan(tmp_path / "bare")
    assert judged(secrets.SECRETS, (1, "fatal: not a git repository")).result == "UNKNOWN"


def test_a_scan_that_misses_its_trial_or_looks_at_nothing_is_unknown() -> None:
    told = {"files": 3, "bytes": 1, "shapes": ["x"], "examples": 0, "found": [], "control": True}
    assert judged(secrets.SECRETS, (0, json.dumps(told))).result == "PASS"
    assert judged(secrets.SECRETS, (0, json.dumps(told | {"control": False}))).result == "UNKNOWN"
    assert judged(secrets.SECRETS, (0, json.dumps(told | {"files": 0}))).result == "UNKNOWN"


# -- coverage ------------------------------------------------------------------------------------------------------------------------


def measured(**more: Any) -> dict[str, Any]:
    package = {"lines": 1000, "covered": 900, "percent": 90.0, "files": 9, "not_measured": [], "least": []}
    whole = {
        "schema": 1,
        "at": "now",
        "digest": "d",
        "parts": {"unit": 0, "agent": 0},
        "packages": dict.fromkeys(coverage.PACKAGES, package),
    }
    return {"measured": whole | more, "digest": "d"}


@pytest.mark.parametrize(
    ("change", "result", "word"),
    [
        ({}, "PASS", "90.0 % of golive and 90.0 % of dwcp_agent"),
        ({"digest": "of other sources"}, "UNKNOWN", "other sources"),
        ({"parts": {"unit": 0, "agent": 1}}, "UNKNOWN", "while tests failed (agent)"),
        ({"parts": {}}, "UNKNOWN", "none that this version can read"),
        ({"schema": 2}, "UNKNOWN", "none that this version can read"),
        ({"covered": 800}, "FAIL", "80.0 %"),
        ({"covered": 801}, "PASS", "80.1 %"),
        ({"lines": 0, "covered": 0}, "UNKNOWN", "every file"),
        ({"not_measured": ["golive/new.py"]}, "UNKNOWN", "every file"),
        ({"percent": 99.0, "covered": 100}, "FAIL", "10.0 %"),
    ],
)
def test_coverage_counts_only_of_these_sources_and_whole(change: dict[str, Any], result: str, word: str) -> None:
    told = measured()
    package = told["measured"]["packages"]["golive"]
    inside = {key: value for key, value in change.items() if key in package}
    told["measured"]["packages"]["golive"] = package | inside
    told["measured"] |= {key: value for key, value in change.items() if key not in package}
    outcome = judged(coverage.COVERAGE, (0, json.dumps(told)))
    assert outcome.result == result and word in outcome.summary


def test_no_measurement_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    outcome = run(coverage.COVERAGE)
    assert outcome.result == "UNKNOWN" and "./inv test" in outcome.summary


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of two packages with two functions each, of which the tests call one; and of a file that nobody imports."""
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    root = tmp_path / "root"
    both = "def used():\n    return 1\n\n\ndef unused():\n    a = 1\n    return a\n"
    for package in coverage.PACKAGES.values():
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").write_text(both, encoding="utf-8")
        (root / package / "alone.py").write_text("x = 1\n", encoding="utf-8")
    (root / "tests").mkdir()
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


def measure(root: Path, name: str, package: str, path: Path) -> None:
    """As ``inv test`` does: under coverage, in a process that starts the one that runs the code."""
    inner = f"import {package}; {package}.used()"
    script = root / "run.py"
    script.write_text(
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {inner!r}], check=True)\nimport {package}\n", encoding="utf-8"
    )
    surroundings = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(path), "COVERAGE_FILE": str(coverage.data_file(name))}
    coverage.data_file(name).parent.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-P", "-m", "coverage", "run", f"--rcfile={root / 'pyproject.toml'}", str(script)]
    subprocess.run(words, cwd=root, env=surroundings, check=True, capture_output=True)


def test_lines_of_other_processes_and_of_a_built_copy_count_and_those_of_files_nobody_imports_do_too(small: Path, tmp_path: Path) -> None:
    digest = coverage.measured_digest(small)
    shutil.copytree(small / coverage.PACKAGES["dwcp_agent"], tmp_path / "lib" / "dwcp_agent")
    measure(small, "unit", "golive", small)
    measure(small, "agent", "dwcp_agent", tmp_path / "lib")
    (small / "run.py").unlink()
    found = coverage.combined(small, {"unit": 0, "agent": 0}, digest)["packages"]
    # Of six lines (def, return, def, two in it, and the file alone) three are run: both definitions and the one return.
    for package in coverage.PACKAGES:
        assert (found[package]["lines"], found[package]["covered"], found[package]["not_measured"]) == (6, 3, [])
    assert coverage.known(coverage.file(), small)["digest"] == digest


def test_sources_that_change_while_tests_run_leave_no_measurement(small: Path) -> None:
    digest = coverage.measured_digest(small)
    coverage.file().parent.mkdir(parents=True, exist_ok=True)
    coverage.file().write_text(json.dumps({"of": "an earlier time"}), encoding="utf-8")
    measure(small, "unit", "golive", small)
    (small / "golive" / "alone.py").write_text("x = 2\n", encoding="utf-8")
    with pytest.raises(GoliveError, match="changed while the tests ran"):
        coverage.combined(small, {"unit": 0}, digest)
    assert not coverage.file().exists()


def test_nothing_measured_is_said_and_what_earlier_tests_left_does_not_count(small: Path) -> None:
    measure(small, "unit", "golive", small)
    coverage.forgotten()
    (small / "run.py").unlink()
    with pytest.raises(Unprepared, match="measured nothing"):
        coverage.combined(small, {"unit": 0}, coverage.measured_digest(small))


# -- documents -----------------------------------------------------------------------------------------------------------------------


def test_settings_are_named_with_what_they_are_inside_of() -> None:
    schema = {
        "properties": {"plain": {}, "inner": {"$ref": "#/$defs/Inner"}, "maybe": {"anyOf": [{"$ref": "#/$defs/Inner"}, {"type": "null"}]}},
        "$defs": {"Inner": {"properties": {"a": {}, "b": {}}}},
    }
    assert documented.settings_of(schema) == ["plain", "inner.a", "inner.b", "maybe.a", "maybe.b"]


def test_a_name_counts_only_as_a_word_of_its_own() -> None:
    assert documented.undocumented(["dwcp_bytes"], "`dwcp_bytes_total{direction}`") == []
    assert documented.undocumented(["dwcp_bytes"], "`dwcp_bytes_more`, `my_dwcp_bytes`") == ["dwcp_bytes"]
    assert documented.undocumented(["pace"], "at a pace that", quoted=True) == ["pace"]
    assert documented.undocumented(["pace"], "| `pace` |", quoted=True) == []


def _documents(place: Path, *, verb: str, setting: str, metric: str) -> Judged:
    """What is judged of a checkout whose documents name these, and whose programs know ``go``, ``depth`` and ``dwcp_things``."""
    source = place / "dwcp_agent" / "src" / "dwcp_agent"
    source.mkdir(parents=True, exist_ok=True)
    (source / "metrics.py").write_text('Counter("dwcp_things", "Things.")\n', encoding="utf-8")
    (place / "README.md").write_text(f"`./inv {verb}`, `{setting}`, `{metric}`", encoding="utf-8")
    schema = json.dumps({"properties": {"depth": {}}})
    listed = json.dumps({"tasks": [{"name": "go"}], "collections": []})
    return documented.DOCUMENTED.judge(Place(place, place), said((0, listed), (0, ""), (0, schema), (0, schema), (0, schema)))


def test_an_undocumented_verb_setting_or_metric_is_named(tmp_path: Path) -> None:
    named = {"verb": "go --env E", "setting": "depth", "metric": "dwcp_things_total"}
    assert _documents(tmp_path, **named).result == "PASS"
    assert _documents(tmp_path, **named | {"verb": "gone"}).facts["lacking"] == {"verbs": ["go"]}
    assert _documents(tmp_path, **named | {"metric": "dwcp_thing"}).facts["lacking"] == {"metrics": ["dwcp_things"]}
    lacking = _documents(tmp_path, **named | {"setting": "dept"}).facts["lacking"]
    assert lacking == {f"settings of {what}": ["depth"] for what in ("the agent", "the load client", "an environment")}


def test_names_that_could_not_be_asked_for_are_unknown(tmp_path: Path) -> None:
    _documents(tmp_path, verb="go", setting="depth", metric="dwcp_things")
    five = [(0, json.dumps({"tasks": []})), (0, ""), (0, "{}"), (0, "{}"), (0, "{}")]
    assert documented.DOCUMENTED.judge(Place(tmp_path, tmp_path), said(*five)).result == "UNKNOWN", "no verb is no pass"
    five[2] = (1, "ImportError")
    assert documented.DOCUMENTED.judge(Place(tmp_path, tmp_path), said(*five)).result == "UNKNOWN"


def test_commands_are_shown_as_one_would_type_them(tmp_path: Path) -> None:
    place = Place(ROOT, tmp_path)
    command = Command((sys.executable, "-m", "x", str(tmp_path / "a b"), str(ROOT / "docs")), tmp_path, {"A": str(tmp_path)})
    shown = model._shown(place, command)
    assert str(ROOT) not in shown and str(tmp_path) not in shown and shown.startswith("cd $SCRATCH && A=")
