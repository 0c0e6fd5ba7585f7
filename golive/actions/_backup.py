"""What the actions of a backup share: where it goes, the password that opens it, and hosts a wave at a time."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from golive.actions._world import Answer, answered, command, everywhere, world
from golive.actions.port import StepContext
from golive.environment import Environment
from golive.errors import BadInput
from golive.fleet.model import Fleet, Host

__all__ = ["PORT", "asked", "password", "settings", "snapshots", "taken"]

PORT = 7460
"""Of the repositories on ops (dwcp-backup.service)."""
_ASK_S = 60.0
_CREDENTIALS = re.compile(r"://[^/@]*:[^/@]*@")


def settings(env: Environment, fleet: Fleet) -> dict[str, Any]:
    """What a host is told on stdin. Raises BadInput for a repository that names a password: it would be in a file for all to read."""
    told = env.settings.backup
    if told.repository is None:
        url = f"rest:https://{fleet.ops.name}:{PORT}"
        return {"repository": url, "password": password(env), "certificate": True}
    if _CREDENTIALS.search(told.repository):
        raise BadInput(
            f"inventories/{env.name}/environment.yaml: backup.repository holds a password; "
            "put it into /etc/dwcp/backup/environment on the hosts (docs/backup.md)."
        )
    return {"repository": told.repository, "password": password(env), "certificate": False}


def password(env: Environment) -> str | None:
    """The password of the repositories: ``keys/backup_password`` of the environment's state, made when needed for those on its ops host.

    None where there is no such file: the hosts have it then, or say that they do not.
    """
    path = env.state / "keys" / "backup_password"
    if not path.exists():
        if env.settings.backup.repository is not None:
            return None
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.touch(mode=0o600)
        fresh.write_text(f"{secrets.token_urlsafe(32)}\n", encoding="ascii")
        try:
            os.link(fresh, path)  # another process may have made one at the same time: that one is everybody's
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    if path.stat().st_mode & 0o077:
        raise BadInput(f"{path} can be read by others; `chmod 600 {path}`.")
    text = path.read_text(encoding="utf-8").strip()
    if not text or "\n" in text:
        raise BadInput(f"{path} must hold one line, the password of the backup repositories.")
    return text


def asked(ctx: StepContext, hosts: Sequence[Host]) -> Mapping[str, Answer]:
    """``dwcp-host backup status`` of all ``hosts``, for this run."""
    return everywhere(ctx, hosts, "backup", "status", "--env", ctx.env.name, "--of", ctx.run, timeout_s=_ASK_S)


def taken(
    ctx: StepContext, hosts: Sequence[Host], words: Sequence[str], given: Mapping[str, Any] | None, limit_s: float
) -> dict[str, Answer]:
    """``dwcp-host backup WORDS`` on ``hosts``, as many at the same time as the environment lets plays work on."""
    said: dict[str, Answer] = {}
    more = ("--env", ctx.env.name, "--of", ctx.run, "--limit", f"{limit_s:g}", "--token", str(ctx.token), "--run", ctx.run)
    told = json.dumps(given).encode() if given is not None else None
    for wave in _waves(hosts, ctx.env.settings.hosts_at_once):
        ctx.check()
        argv = command(wave[0], "dwcp-host", "backup", *words, *more)
        got = world(ctx.env, ctx.fleet()).shell.each(wave, argv, input=told, timeout_s=limit_s + _ASK_S)
        said |= {host.name: answered(host, got[host.name]) for host in wave}
        ctx.tell("backup", {"done": len(said), "of": len(hosts)})
    return said


def snapshots(ctx: StepContext) -> dict[str, dict[str, Any]]:
    """By host, what this run's backup said of its snapshot."""
    return {fact["host"]: fact for fact in ctx.facts("backup")}


def _waves(hosts: Sequence[Host], at_once: int) -> Iterator[Sequence[Host]]:
    by_user: dict[str, list[Host]] = {}
    for host in hosts:
        by_user.setdefault(host.ssh_user, []).append(host)
    for same in by_user.values():
        for begin in range(0, len(same), at_once):
            yield same[begin : begin + at_once]
