"""What Ansible and ansible-lint say of playbooks, roles and modules."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

import yaml

from golive.errors import Unprepared
from golive.evidence.tools.model import Command, Judged, Place, Said, Tool, venv

__all__ = ["LINT", "SYNTAX"]

_GROUPS = ("agents", "gateways", "loads", "ops")
"""Groups of every inventory that the toolkit writes."""


def _syntax(place: Place) -> list[Command]:
    playbooks = sorted((place.root / "playbooks").glob("*.yml"))
    if not playbooks:
        raise Unprepared("there are no playbooks.")
    inventory = place.scratch / "hosts.yml"
    children = {name: {"hosts": {"localhost": {"ansible_connection": "local", "site": "one"}}} for name in _GROUPS}
    inventory.write_text(yaml.safe_dump({"all": {"children": children}}), encoding="utf-8")
    words = ("--syntax-check", "--inventory", str(inventory), "--extra-vars", "dwcp_wave_playbook=base.yml")
    variables = {"ANSIBLE_CONFIG": str(place.root / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCAL_TEMP": str(place.scratch)}
    return [Command((venv("ansible-playbook"), *words, str(path)), place.root, variables) for path in playbooks]


def _parsed(_: Place, said: Sequence[Said]) -> Judged:
    names = []
    for each in said:
        path = each.command.argv[-1]
        name = path.rsplit("/", 1)[-1]
        if each.rc != 0:
            telling = next((line.strip() for line in each.output.splitlines() if "ERROR" in line), f"exit code {each.rc}")
            return Judged("FAIL", f"ansible-playbook cannot read {name}: {telling}", {"playbook": name})
        if not re.search(rf"^playbook: .*{re.escape(name)}$", each.output, re.M):
            return Judged("UNKNOWN", f"ansible-playbook did not say that it read {name}.")
        names.append(name)
    return Judged("PASS", f"Ansible reads all {len(names)} playbooks and the roles that they use.", {"playbooks": names})


SYNTAX = Tool("ansible-syntax", "Ansible reads every playbook with all its roles.", ("toolkit",), timedelta(days=7), _syntax, _parsed)

_TOTAL = re.compile(
    r"^(Passed|Failed): (\d+) failure\(s\), (\d+) warning\(s\).* in (\d+) files processed of (\d+) encountered\.(.*)$", re.M
)
_NOQA = re.compile(r"#\s*noqa\b")


def _lint(place: Place) -> list[Command]:
    words = ("--offline", "--nocolor", "--profile", "production", "--config-file", ".ansible-lint", "playbooks", "roles", "library")
    return [Command((venv("ansible-lint"), *words), place.root, {"ANSIBLE_CONFIG": str(place.root / "ansible.cfg"), "NO_COLOR": "1"})]


def _clean(place: Place, said: Sequence[Said]) -> Judged:
    (only,) = said
    match = _TOTAL.search(only.output)
    if match is None:
        return Judged("UNKNOWN", f"ansible-lint ended with {only.rc} and did not say how many files it looked at.")
    failures, warnings, files = int(match[2]), int(match[3]), int(match[4])
    settings = yaml.safe_load((place.root / ".ansible-lint").read_text(encoding="utf-8")) or {}
    left_out = sorted({*settings.get("skip_list", []), *settings.get("warn_list", [])})
    excused = sum(
        len(_NOQA.findall(path.read_text(encoding="utf-8")))
        for where in ("playbooks", "roles")
        for path in (place.root / where).rglob("*.yml")
    )
    facts = {"files": files, "failures": failures, "warnings": warnings, "excused": excused, "rules_left_out": left_out}
    if failures or match[1] != "Passed" or only.rc != 0:
        first = next((line for line in only.output.splitlines() if re.match(r"^\S+\.(yml|yaml|py)(:\d+)*: ", line)), "")
        return Judged("FAIL", f"ansible-lint finds {failures} failures in {files} files; the first: {first}".rstrip(" :;"), facts)
    if "production" not in match[6] or left_out:
        return Judged("FAIL", f"ansible-lint did not judge by the whole production profile{_but(left_out)}.", facts)
    if files == 0:
        return Judged("UNKNOWN", "ansible-lint looked at no file.", facts)
    return Judged("PASS", f"ansible-lint's production profile is met by {files} files; {excused} lines say why they differ.", facts)


def _but(left_out: list[str]) -> str:
    return f": {', '.join(left_out)} are left out" if left_out else ""


LINT = Tool(
    "ansible-lint", "Playbooks and roles meet the production profile of ansible-lint.", ("toolkit",), timedelta(days=7), _lint, _clean
)
