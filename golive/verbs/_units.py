"""The timer that goes on with a run when it is due: as systemd's units, and as the line of a crontab."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from golive.environment import ROOT, Environment, state_root

__all__ = ["Units", "cron_line", "units"]


@dataclass(frozen=True)
class Units:
    """A service and its timer."""

    name: str
    service: str
    timer: str

    @property
    def files(self) -> dict[str, str]:
        """Text by file name."""
        return {f"{self.name}.service": self.service, f"{self.name}.timer": self.timer}


def units(env: Environment, *, of_root: bool, program: Path = ROOT / "inv") -> Units:
    """The units of ``env``, for the machine (``of_root``) or for one user's own systemd.

    The timer never starts a run: ``--continue`` goes on with one that is due, and ends quietly else.
    """
    name = f"dwcp-golive-{env.name}"
    command = " ".join(_word(word) for word in (str(program), "golive", "--env", env.name, "--continue"))
    # A service of the machine has no HOME unless it says whose it is.
    user = "User=root\n" if of_root else ""
    service = f"""# Made by `./inv schedule --env {env.name}`; `./inv schedule --env {env.name} --remove` takes it away.
[Unit]
Description=Go on with the go-live of {env.name} when it is due
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
{user}WorkingDirectory={_path(program.parent)}
Environment={_word(f"GOLIVE_STATE={state_root().resolve()}")}
ExecStart={command}
# A run with users on the candidate lives for a day; one that is stopped ends its step, is held, and is continued by the next turn.
TimeoutStartSec=infinity
TimeoutStopSec=60
KillMode=mixed
"""
    timer = f"""# Made by `./inv schedule --env {env.name}`; `./inv schedule --env {env.name} --remove` takes it away.
[Unit]
Description=Every minute: is the go-live of {env.name} due?

[Timer]
OnCalendar=minutely
AccuracySec=5s
Persistent=true

[Install]
WantedBy=timers.target
"""
    return Units(name, service, timer)


def cron_line(env: Environment, *, program: Path = ROOT / "inv") -> str:
    """The same for a crontab. A percent sign would end the command there."""
    log = state_root().resolve() / env.name / "schedule.log"
    state = f"GOLIVE_STATE={shlex.quote(str(state_root().resolve()))}"
    line = f"cd {shlex.quote(str(program.parent))} && {state} {shlex.quote(str(program))} golive --env {env.name} --continue"
    return f"* * * * * {line} >> {shlex.quote(str(log))} 2>&1".replace("%", r"\%")


def _word(text: str) -> str:
    """One word of a unit file's command: quoted, and with nothing in it that systemd would replace."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$") + '"'


def _path(path: Path) -> str:
    """A path as a setting of its own, which takes no quotes."""
    return str(path).replace("%", "%%")
