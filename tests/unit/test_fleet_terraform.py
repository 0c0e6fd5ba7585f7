"""Terraform's words become one sentence, and its plans become changes with names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from golive import environment
from golive.errors import GoliveError, Occupied, Refused, Unprepared
from golive.fleet.terraform import Terraform, _changes, _environment, clear_error, executable

LOG = Path("/log")


def test_a_providers_error_keeps_its_sentence_and_class() -> None:
    said = """
╷
│ Error: Container dwcp-lab-ams-1 exists on this machine but was not made by environment lab; it was left alone.
│
│   with module.site["ams"].dwcp_host.agent["dwcp-lab-ams-1"],
│   on ../../modules/site/main.tf line 20, in resource "dwcp_host" "agent":
│   20: resource "dwcp_host" "agent" {
│
│ [Refused]
╵
"""
    error = clear_error("apply", said, LOG)
    assert type(error) is Refused
    assert error.message == (
        "Container dwcp-lab-ams-1 exists on this machine but was not made by environment lab; it was left alone. "
        "(terraform apply; all of it in /log)"
    )


def test_terraforms_own_error_has_summary_and_detail() -> None:
    error = clear_error(
        "plan", "Error: Invalid value for variable\n\n  on main.tf line 3:\n   3:   cidr = 1\n\ncidr must be an IPv4 /24.\n", LOG
    )
    assert type(error) is Refused
    assert error.message.startswith("Invalid value for variable: cidr must be an IPv4 /24. (terraform plan;")


def test_the_same_error_of_seven_hosts_is_said_once() -> None:
    said = "".join("Error: The image is missing.\n\n  with module.x,\n\n[Unprepared]\n" for _ in range(7))
    error = clear_error("apply", said, LOG)
    assert type(error) is Unprepared and error.message.count("The image is missing.") == 1


def test_a_locked_state_is_somebody_elses_run() -> None:
    said = "Error: Error acquiring the state lock\n\nError message: resource temporarily unavailable\nLock Info:\n  ID: 1\n"
    error = clear_error("plan", said, LOG)
    assert type(error) is Occupied and error.exit_code == 5


def test_a_terraform_that_was_killed_is_said_to_be_and_not_what_it_said_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "terraform"
    program.write_text('#!/bin/sh\n[ "$1" = plan ] || exit 0\necho "module.site: Refreshing state..."\nkill -9 $$\n')
    program.chmod(0o755)
    monkeypatch.setenv("GOLIVE_TERRAFORM", str(program))
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    tool = Terraform(environment.load("lab"), {})
    tool.init()
    with pytest.raises(Refused, match=r"^`terraform plan` was ended by SIGKILL\. It can be run again \(all it said in .*plan\.log\)\.$"):
        tool.plan()


@pytest.mark.parametrize(("named", "kind"), [("GoliveError", GoliveError), ("annotations", Refused), ("nonsense", Refused)])
def test_only_a_class_of_ours_is_taken_for_one(named: str, kind: type[GoliveError]) -> None:
    assert type(clear_error("apply", f"Error: It broke.\n\n[{named}]\n", LOG)) is kind


def test_silence_is_an_error_too() -> None:
    assert clear_error("init", "", LOG).message.startswith("it said nothing")


def test_changes_are_named_and_say_why() -> None:
    entries = [
        {"address": "h[1]", "type": "dwcp_host", "change": {"actions": ["no-op"], "before": {"name": "a"}, "after": {"name": "a"}}},
        {
            "address": "h[2]",
            "type": "dwcp_host",
            "change": {"actions": ["update"], "before": {"name": "b", "state": "exited"}, "after": {"name": "b", "state": "up"}},
        },
        {
            "address": "h[3]",
            "type": "dwcp_host",
            "change": {"actions": ["delete", "create"], "before": {"name": "c"}, "after": {"name": "c", "n": 1}},
        },
        {"address": "h[4]", "type": "dwcp_host", "change": {"actions": ["delete"], "before": {"name": "d"}, "after": None}},
        {"address": "w", "type": "dwcp_wan_link", "change": {"actions": ["create"], "before": None, "after": {"a": "x", "b": "y"}}},
    ]
    assert [(change.name, change.action, change.why) for change in _changes(entries, "is gone")] == [
        ("b", "update", "state exited -> up"),
        ("c", "replace", "n null -> 1"),
        ("d", "delete", "is gone"),
        ("x to y", "create", "is not there"),
    ]


def test_an_executable_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOLIVE_TERRAFORM", "no-such-terraform")
    with pytest.raises(Unprepared, match="no-such-terraform"):
        executable()


def test_tofu_serves_where_terraform_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tofu = tmp_path / "tofu"
    tofu.write_text("#!/bin/sh\n")
    tofu.chmod(0o755)
    monkeypatch.delenv("GOLIVE_TERRAFORM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert executable() == tofu


def test_the_bundled_one_serves_where_neither_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GOLIVE_TERRAFORM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    found = executable()
    assert found == tmp_path / "state" / "cache" / "bin" / "terraform" and os.access(found, os.X_OK)


def test_variables_leave_the_process_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_VAR_REGION", "mine")
    with pytest.raises(RuntimeError), _environment({"TF_VAR_REGION": "theirs", "TF_VAR_NEW": "x"}):
        assert os.environ["TF_VAR_REGION"] == "theirs"
        raise RuntimeError
    assert os.environ["TF_VAR_REGION"] == "mine" and "TF_VAR_NEW" not in os.environ


@pytest.mark.parametrize("text", ["{", "[]", "null", '"resources"'])
def test_a_damaged_state_names_the_backup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    env = environment.load("lab")
    (env.state / "terraform").mkdir()
    (env.state / "terraform" / "terraform.tfstate").write_text(text)
    with pytest.raises(Unprepared, match=r"terraform\.tfstate\.backup"):
        _ = Terraform(env, {}).has_state
