"""The units of this host, by systemctl. What systemd does not say is unknown, never "stopped"."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from golive.onhost import machine
from golive.onhost.failures import Refused
from golive.onhost.fence import Lock

__all__ = ["Unit", "disable", "enable", "last_words", "named", "reset_failed", "show", "start", "stop"]

_PROPERTIES = ("Id", "ActiveState", "SubState", "UnitFileState", "InvocationID", "MainPID")
_ASK_S = 30.0


@dataclass(frozen=True)
class Unit:
    """What systemd says of one unit."""

    name: str
    state: str
    """``active``, ``activating``, ``deactivating``, ``inactive``, ``failed``, ..."""
    enabled: bool
    invocation_id: str
    main_pid: int

    @property
    def active(self) -> bool:
        return self.state == "active"

    @property
    def idle(self) -> bool:
        """Whether nothing of it runs, starts or stops."""
        return self.state in ("inactive", "failed")


def named(kind: str, release: str) -> str:
    """The unit of a release: ``dwcp-agent@<id>.service`` or ``dwcp-load@<id>.service``."""
    return f"dwcp-{kind}@{release}.service"


def show(names: Iterable[str]) -> Mapping[str, Unit]:
    """The units called ``names``. Raises Refused when systemd does not answer for each of them."""
    wanted = list(names)
    if not wanted:
        return {}
    try:
        done = machine.here().run(
            ["systemctl", "show", "--property", ",".join(_PROPERTIES), "--", *wanted],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_ASK_S,
            env=_environment(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(f"systemctl does not answer ({error}), so it is unknown what runs.") from None
    units = {}
    for block in done.stdout.strip().split("\n\n"):
        facts = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if all(name in facts for name in _PROPERTIES):
            units[facts["Id"]] = Unit(
                facts["Id"],
                facts["ActiveState"],
                facts["UnitFileState"] in ("enabled", "enabled-runtime"),
                facts["InvocationID"],
                int(facts["MainPID"] or 0),
            )
    silent = [name for name in wanted if name not in units]
    if done.returncode != 0 or silent:
        raise Refused(f"systemctl says nothing of {', '.join(silent) or 'the units'}: {done.stderr.strip() or 'no reason given'}.")
    return units


def start(lock: Lock, name: str, timeout_s: float) -> None:
    """The unit is up, as far as systemd knows. Raises Refused with its last words otherwise."""
    _systemctl(lock, ["start", "--", name], timeout_s, f"{name} did not start")


def stop(lock: Lock, name: str, timeout_s: float) -> None:
    """The unit has drained and ended."""
    _systemctl(lock, ["stop", "--", name], timeout_s, f"{name} did not stop")


def enable(lock: Lock, name: str) -> None:
    """The unit starts at boot."""
    _systemctl(lock, ["enable", "--quiet", "--", name], _ASK_S, f"{name} could not be enabled")


def disable(lock: Lock, name: str) -> None:
    """The unit does not start at boot."""
    _systemctl(lock, ["disable", "--quiet", "--", name], _ASK_S, f"{name} could not be disabled")


def reset_failed(lock: Lock, name: str) -> None:
    """systemd has forgotten that the unit failed before."""
    _systemctl(lock, ["reset-failed", "--", name], _ASK_S, f"{name} could not be reset")


def last_words(name: str) -> str:
    """The last line that the unit's own processes logged, for a sentence; empty when there is none."""
    try:
        done = machine.here().run(
            ["journalctl", f"_SYSTEMD_UNIT={name}", "--lines", "1", "--output", "cat", "--no-pager", "--quiet"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_ASK_S,
            env=_environment(),
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()[:300]


def _systemctl(lock: Lock, arguments: list[str], timeout_s: float, trouble: str) -> None:
    try:
        done = lock.run(["systemctl", "--no-ask-password", *arguments], timeout=timeout_s, env=_environment())
    except subprocess.TimeoutExpired:
        raise Refused(f"{trouble} within {timeout_s:g} s.") from None
    except OSError as error:
        raise Refused(f"{trouble}: {error}.") from None
    if done.returncode != 0:
        said = last_words(arguments[-1]) or (done.stderr.strip().splitlines() or ["systemctl gave no reason"])[0]
        raise Refused(f"{trouble}: {said.rstrip('.')}.")


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": os.environ.get("HOME", "/root")}
