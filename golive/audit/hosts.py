"""What hosts keep of the journal: its heads, left there by ``dwcp-host anchor`` over SSH."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from golive.actions._world import command, world
from golive.actions.port import Finding, Findings, Found
from golive.audit.key import public_key
from golive.engine.ports import Anchor
from golive.environment import Environment
from golive.errors import GoliveError, Unprepared
from golive.fleet.inventory import read_fleet
from golive.fleet.ssh import Completed

__all__ = ["Kept", "kept", "leave"]

_ANSWER_S = 15.0
_NOT_FOUND = 127


@dataclass(frozen=True)
class Kept:
    """What one host holds of an environment's journals."""

    heads: tuple[Mapping[str, Any], ...]
    """``journal``, ``seq``, ``hash``, ``run``, ``at``; oldest first."""
    damaged: int = 0
    key: str = ""


def leave(env: Environment, anchor: Anchor) -> Findings:
    """The journal's head is kept on every host that says DONE. No hosts, no findings."""
    words = ["anchor", "set", "--token", str(anchor.token), "--run", anchor.run, "--env", anchor.env, "--journal", anchor.journal]
    words += ["--seq", str(anchor.head.seq), "--hash", anchor.head.hash, "--wait", "5"]
    with contextlib.suppress(GoliveError):
        words += ["--key", public_key(env)]
    return {name: _taken(got) for name, got in _everywhere(env, words).items()}


def kept(env: Environment) -> dict[str, Kept | str]:
    """By host, what it holds, or why that is not known."""
    return {name: _read(got) for name, got in _everywhere(env, ["anchor", "get", "--env", env.name]).items()}


def _everywhere(env: Environment, words: list[str]) -> dict[str, Completed | GoliveError]:
    try:
        fleet = read_fleet(env)
    except Unprepared:
        return {}
    shell = world(env, fleet).shell
    found: dict[str, Completed | GoliveError] = {}
    for privileged in (True, False):
        hosts = [host for host in fleet.hosts if (host.ssh_user == "root") is privileged]
        if hosts:
            found |= shell.each(hosts, command(hosts[0], "dwcp-host", *words), timeout_s=_ANSWER_S)
    return found


def _taken(got: Completed | GoliveError) -> Finding:
    if isinstance(got, GoliveError):
        return Finding(Found.UNKNOWN, str(got))
    older = _older(got)
    if older:
        return Finding(Found.ABSENT, older)
    if got.rc != 0:
        return Finding(Found.UNKNOWN, _said(got))
    try:
        data = json.loads(got.stdout)
        told = {"key": data["key"], "others": list(data["others"])}
    except (ValueError, KeyError, TypeError):
        return Finding(Found.UNKNOWN, "dwcp-host answered something else than it should")
    return Finding(Found.DONE, "", told)


def _read(got: Completed | GoliveError) -> Kept | str:
    if isinstance(got, GoliveError):
        return str(got)
    if _older(got) or got.rc != 0:
        return _older(got) or _said(got)
    try:
        data = json.loads(got.stdout)
        return Kept(tuple(_head(head) for head in data["heads"]), int(data["damaged"]), str(data["key"]))
    except (ValueError, KeyError, TypeError):
        return "dwcp-host answered something else than it should"


def _head(head: Mapping[str, Any]) -> Mapping[str, Any]:
    shapes: dict[str, Callable[[Any], Any]] = {"journal": str, "seq": int, "hash": str, "run": str, "at": str}
    return {name: shape(head[name]) for name, shape in shapes.items()}


def _older(got: Completed) -> str:
    if got.rc == _NOT_FOUND or b"command not found" in got.stderr:
        return "a bare host: nothing of the toolkit is on it"
    if got.rc == 2 and b"invalid choice: 'anchor'" in got.stderr:
        return "its dwcp-host is older and keeps no heads; the base play brings a newer one"
    return ""


def _said(got: Completed) -> str:
    said = got.stderr.decode(errors="replace").strip().splitlines()
    return said[-1] if said else f"dwcp-host anchor ended with {got.rc}"
