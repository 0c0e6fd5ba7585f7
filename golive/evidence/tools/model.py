"""A tool that shows something: the command lines it runs, and what their exit codes and words are worth."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from golive.environment import ROOT
from golive.errors import GoliveError
from golive.evidence.statement import Result

__all__ = ["Command", "Judged", "Outcome", "Place", "Result", "Said", "Subject", "Tool", "python", "run", "venv"]

Subject = Literal["source", "toolkit"]

_PASSED = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "USER", "GOLIVE_STATE", "GOLIVE_TERRAFORM")
"""Variables of the caller that a tool gets. No others: what it says has to depend on the checkout alone."""


@dataclass(frozen=True)
class Command:
    """One command line."""

    argv: tuple[str, ...]
    directory: Path
    variables: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 900


@dataclass(frozen=True)
class Said:
    """How a command ended. ``rc`` is None when it did not end by itself, or never began; ``why`` says so then."""

    command: Command
    rc: int | None
    output: str
    why: str = ""


@dataclass(frozen=True)
class Judged:
    """What the words of a tool are worth."""

    result: Result
    summary: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a tool looks (``root``, never written to) and where it may write (``scratch``, gone afterwards)."""

    root: Path
    scratch: Path


@dataclass(frozen=True)
class Tool:
    """A named probe that runs something real.

    Attributes:
        name: What ``runbooks/checklist.yaml`` calls it.
        says: What is so when it passes, for people.
        subject: What its word is about: ``source`` (the agent's sources), ``toolkit`` (all else), or both. It holds for these bytes only.
        valid: For how long.
        commands: The command lines, in order. May lay out what they need in ``scratch``.
        judge: What came of it. It passes only what says that it looked at something: silence is no pass.
    """

    name: str
    says: str
    subject: tuple[Subject, ...]
    valid: timedelta
    commands: Callable[[Place], Sequence[Command]]
    judge: Callable[[Place, Sequence[Said]], Judged]


@dataclass(frozen=True)
class Outcome:
    """A tool's word, and everything it rests on."""

    result: Result
    summary: str
    facts: Mapping[str, Any]
    output: bytes
    command: str


def run(tool: Tool, root: Path = ROOT) -> Outcome:
    """Runs ``tool`` on the checkout ``root``. Whatever keeps it from looking is UNKNOWN, with the reason, and raises nothing."""
    with tempfile.TemporaryDirectory(prefix="golive-tool-") as scratch:
        place = Place(root.resolve(), Path(scratch).resolve())
        try:
            commands = tool.commands(place)
        except (GoliveError, OSError) as error:
            return Outcome("UNKNOWN", f"{tool.name} could not begin: {error}", {}, b"", "")
        said: list[Said] = []
        for command in commands:
            said.append(_said(command))
            if said[-1].rc is None:
                break
        judged = _judged(tool, place, said)
        shown = [_shown(place, each.command) for each in said]
        output = "".join(f"$ {line}\n{each.output}[{_end(each)}]\n" for line, each in zip(shown, said, strict=True))
        return Outcome(judged.result, judged.summary, judged.facts, output.encode(), "\n".join(shown))


def _judged(tool: Tool, place: Place, said: Sequence[Said]) -> Judged:
    if not said:
        return Judged("UNKNOWN", f"{tool.name} found nothing to look at.")
    if said[-1].rc is None:
        return Judged("UNKNOWN", f"{tool.name}: {said[-1].why}")
    if not any(each.output.strip() for each in said):
        return Judged("UNKNOWN", f"{tool.name} said nothing at all, which shows nothing.")
    try:
        return tool.judge(place, said)
    except (ArithmeticError, AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        return Judged("UNKNOWN", f"What {tool.name} said could not be read: {type(error).__name__}: {error}.")


def _said(command: Command) -> Said:
    surroundings = {name: value for name, value in os.environ.items() if name in _PASSED} | dict(command.variables)
    # Tools find their like (ansible-lint runs ansible-playbook) beside this Python, whatever else is installed.
    surroundings["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), surroundings.get("PATH", os.defpath)])
    try:
        done = subprocess.run(
            command.argv,
            cwd=command.directory,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=command.timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        told = error.stdout or b""
        return Said(command, None, told.decode(errors="replace"), f"it did not end within {command.timeout_s:.0f} s.")
    except OSError as error:
        return Said(command, None, "", f"{Path(command.argv[0]).name} cannot be run here: {error.strerror}.")
    return Said(command, done.returncode, done.stdout.decode(errors="replace"))


def _end(said: Said) -> str:
    return said.why if said.rc is None else f"exit code {said.rc}"


def _shown(place: Place, command: Command) -> str:
    """The command as one would type it in the checkout, with ``$SCRATCH`` for the directory that is gone afterwards."""
    words = shlex.join(_named(place, word) for word in command.argv).replace("'$SCRATCH", "$SCRATCH'")
    own = " ".join(f"{name}={shlex.quote(_named(place, value))}" for name, value in command.variables.items())
    where = _named(place, str(command.directory))
    return " ".join(part for part in (f"cd {where} &&" if where != "." else "", own, words) if part)


def _named(place: Place, word: str) -> str:
    if word == sys.executable:
        return "python"
    if word.startswith(f"{Path(sys.executable).parent}/"):
        return Path(word).name
    return word.replace(str(place.scratch), "$SCRATCH").replace(f"{place.root}/", "").replace(str(place.root), ".")


def python(*words: str) -> tuple[str, ...]:
    """A command line of this very Python."""
    return (sys.executable, *words)


def venv(name: str) -> str:
    """The program ``name`` that was installed with this Python, else the one on PATH; else its bare name, which then cannot be run."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name) or name
