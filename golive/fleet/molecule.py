"""Scenarios of the roles: molecule applies a role to hosts that are there, applies it again, and once more in check mode."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from golive.environment import ROOT, Environment
from golive.errors import BadInput, Unprepared
from golive.fleet.variables import variables

__all__ = ["Scenario", "Step", "apply", "roles", "scenario"]

_COMMON = ROOT / "roles" / "molecule.yml"
_PASSED = ("HOME", "LANG", "LC_ALL", "SSH_AUTH_SOCK", "TMPDIR", "TZ", "USER", "XDG_RUNTIME_DIR")
_PLAYS = {"prepare", "converge", "idempotence", "check"}
"""Steps that reach hosts, and so must tell of each of them."""
_QUIET = {"idempotence", "check"}
"""Steps that come after the role was applied: nothing is left to change."""
_MARK = re.compile(r"\[default > (?P<step>[a-z_]+)\] (?P<said>Executing|Executed: .*)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_RECAP = re.compile(r"^(?P<host>\S+)\s+: ok=\d+\s+changed=(?P<changed>\d+)\s+unreachable=(?P<unreachable>\d+)\s+failed=(?P<failed>\d+)")


@dataclass(frozen=True)
class Scenario:
    """What ``roles/<role>/molecule/default`` declares."""

    role: str
    hosts: tuple[str, ...]
    steps: tuple[str, ...]

    @property
    def directory(self) -> Path:
        return ROOT / "roles" / self.role


@dataclass
class Step:
    """How one step of a scenario ended. ``trouble`` is empty when it passed."""

    name: str
    seconds: float = 0.0
    changed: dict[str, int] = field(default_factory=dict)
    """Tasks that changed something, by host."""
    trouble: str = ""


def roles() -> list[str]:
    """Names of all roles that have a scenario."""
    return sorted(path.parents[2].name for path in (ROOT / "roles").glob("*/molecule/default/molecule.yml"))


def scenario(role: str) -> Scenario:
    """The scenario of ``role``. Raises BadInput naming the roles that have one."""
    if role not in roles():
        raise BadInput(f"There is no scenario of a role {role!r}; known are {', '.join(roles())}.")
    common = yaml.safe_load(_COMMON.read_text(encoding="utf-8"))
    own = yaml.safe_load((ROOT / "roles" / role / "molecule/default/molecule.yml").read_text(encoding="utf-8"))
    steps = own.get("scenario", common["scenario"])["test_sequence"]
    return Scenario(role, tuple(entry["name"] for entry in own["platforms"]), tuple(steps))


def apply(env: Environment, chosen: Scenario, work: Path) -> list[Step]:
    """Runs the scenario's steps on the environment's hosts; all of them are in the result, with what kept each from passing.

    Everything that molecule said is in ``work/output.txt``. Raises Unprepared when molecule is not installed.
    """
    program = Path(sysconfig.get_path("scripts")) / "molecule"
    if not program.is_file():
        raise Unprepared(f"{program} is missing; remove {ROOT / '.venv/.prepared'} and run ./inv again: it installs what the tests need.")
    state = work / "state"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    told = work / "variables.json"
    told.write_text(json.dumps(variables(env)), encoding="utf-8")
    reader = _Reader(chosen)
    with (
        (work / "output.txt").open("w", encoding="utf-8") as log,
        subprocess.Popen(
            [str(program), "--base-config", str(_COMMON), "test", "--destroy", "never"],
            cwd=chosen.directory,
            env=_environment(env, state, told),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            log.flush()
            reader.take(line.rstrip())
    return reader.steps(process.returncode)


class _Reader:
    """Steps from what molecule says while it works. What is not said did not happen."""

    def __init__(self, chosen: Scenario) -> None:
        self._hosts: Sequence[str] = chosen.hosts
        self._steps = {name: Step(name, trouble="did not run") for name in chosen.steps}
        self._open: Step | None = None
        self._began = 0.0
        self._wrong: list[str] = []
        self._last = ""

    def take(self, line: str) -> None:
        line = _COLOUR.sub("", line)
        mark, recap = _MARK.search(line), _RECAP.match(line)
        if mark is not None and mark["said"] == "Executing":
            self._open, self._began, self._wrong = self._steps.get(mark["step"]), time.monotonic(), []
            if self._open is not None:
                self._open.trouble = "did not end"
        elif mark is not None and self._open is not None and mark["step"] == self._open.name:
            self._open.seconds = time.monotonic() - self._began
            self._open.trouble = self._judge(self._open, mark["said"])
            self._open = None
        elif recap is not None and self._open is not None:
            self._open.changed[recap["host"]] = int(recap["changed"])
            if int(recap["unreachable"]) or int(recap["failed"]):
                self._wrong.append(f"{recap['host']} {'was unreachable' if int(recap['unreachable']) else 'failed'}")
        elif line.strip() and mark is None:
            self._last = line.strip()

    def steps(self, rc: int) -> list[Step]:
        steps = list(self._steps.values())
        if rc != 0 and not any(step.trouble for step in steps):
            steps[-1].trouble = f"molecule ended with status {rc}: {self._last[:200]}"
        return steps

    def _judge(self, step: Step, said: str) -> str:
        silent = [host for host in self._hosts if host not in step.changed] if step.name in _PLAYS else []
        changed = [f"{host} ({count})" for host, count in step.changed.items() if count] if step.name in _QUIET else []
        if self._wrong:
            return ", ".join(self._wrong)
        if changed:
            return f"something is still changed on {', '.join(changed)}"
        if not said.startswith("Executed: Successful"):
            return f"molecule says {said.removeprefix('Executed: ')[:200]}"
        return f"says nothing of {', '.join(silent)}" if silent else ""


def _environment(env: Environment, state: Path, told: Path) -> Mapping[str, str]:
    scripts = sysconfig.get_path("scripts")
    return {
        **{name: value for name, value in os.environ.items() if name in _PASSED},
        "PATH": os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)]),
        # Otherwise the lines of molecule and of Ansible come in another order than they were said.
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
        "ANSIBLE_NOCOLOR": "1",
        "MOLECULE_EPHEMERAL_DIRECTORY": str(state.resolve()),
        "GOLIVE_CHECKOUT": str(ROOT),
        "GOLIVE_INVENTORY": str((env.state / "hosts.yml").resolve()),
        "GOLIVE_VARIABLES": str(told.resolve()),
    }
