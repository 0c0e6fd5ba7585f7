"""``inv schedule``: a timer of this machine goes on with the run when it is due, so that nothing has to live through days of waiting."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from golive.environment import Environment
from golive.errors import Held, Unprepared
from golive.verbs._units import cron_line, units
from golive.verbs.result import Result

__all__ = ["schedule"]

_BOOTED = Path("/run/systemd/system")
"""There while systemd is the machine's init; see sd_booted(3)."""


def schedule(env: Environment, *, remove: bool = False, only_say: bool = False) -> Result:
    """Installs the timer (root: of the machine; else: the user's own), takes it away, or says what it would be.

    Raises Unprepared, with the line for a crontab, where there is no systemd; Held when systemd says no.
    """
    made, line = units(env, of_root=_root()), cron_line(env)
    where = _directory()
    data: dict[str, Any] = {"schema": 1, "env": env.name, "timer": f"{made.name}.timer", "directory": str(where), "cron": line}
    if only_say:
        shown = "\n".join(f"# {where / name}\n{text}" for name, text in made.files.items())
        return Result({**data, "installed": None, "units": made.files}, f"{shown}\n# or, in a crontab:\n{line}")
    if not _BOOTED.is_dir() or shutil.which("systemctl") is None:
        what = "take this line out of your crontab" if remove else "put this line into the crontab of who runs go-lives (`crontab -e`)"
        raise Unprepared(f"systemd does not run this machine, so there is no timer to {'remove' if remove else 'install'}; {what}: {line}")
    if remove:
        there = [where / name for name in made.files if (where / name).exists()]
        if there:
            _systemctl("disable", "--now", f"{made.name}.timer")
        for path in there:
            path.unlink()
        _systemctl("daemon-reload")
        text = f"{made.name}.timer is gone" if there else f"{made.name}.timer was not there"
        return Result({**data, "installed": False}, f"{text}; a run in {env.name} goes on when you say `./inv golive --env {env.name}`.")
    _written(where, made.files)
    _systemctl("daemon-reload")
    _systemctl("enable", "--now", f"{made.name}.timer")
    text = f"{made.name}.timer asks every minute whether a run in {env.name} is due, and goes on with it; `--remove` takes it away."
    if not _root():
        text += " It works while you are logged in, or always after `loginctl enable-linger`. Your SSH key must need no passphrase then."
    return Result({**data, "installed": True}, text)


def _root() -> bool:
    return os.geteuid() == 0


def _directory() -> Path:
    if _root():
        return Path("/etc/systemd/system")
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def _written(where: Path, files: Mapping[str, str]) -> None:
    where.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        fresh = where / f".{name}.{os.getpid()}"
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(where / name)


def _systemctl(*words: str) -> None:
    argv = ["systemctl", *([] if _root() else ["--user"]), *words]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or f"it ended with {done.returncode}").splitlines()[-1]
        raise Held(f"`{' '.join(argv)}` did not work: {said}. Mend that, then repeat the command; `--print` shows what is installed.")
