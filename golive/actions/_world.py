"""What actions share: connections to the hosts of one environment, and the commands they send there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from golive.actions.port import Finding, Found, Outcome, StepContext
from golive.environment import Environment, state_root
from golive.errors import BadInput, GoliveError, Held, Unreachable
from golive.fleet.model import Fleet, Host
from golive.fleet.port import Commands, stand_in
from golive.fleet.ssh import Completed, Shell
from golive.gates.verdict import Verdict

__all__ = [
    "Answer",
    "World",
    "answered",
    "aside",
    "ask",
    "change",
    "command",
    "concluded",
    "everywhere",
    "hosts_for",
    "release_of",
    "slot_of",
    "unknown",
    "world",
]


@dataclass(frozen=True)
class World:
    """One environment's hosts and the open connections to them."""

    fleet: Fleet
    shell: Commands


_open: dict[str, World] = {}


def key_of(env: Environment) -> str:
    """Two environments of one name, under two state roots, are two."""
    return str(state_root() / env.name)


def world(env: Environment, fleet: Fleet) -> World:
    """The environment's connections, kept between steps and made anew when the fleet changed (a host was replaced)."""
    key = key_of(env)
    known = _open.get(key)
    if known is not None and known.fleet == fleet:
        return known
    if known is not None:
        known.shell.close()
    hosts = stand_in(env)
    fresh = World(fleet, Shell(env, fleet) if hosts is None else hosts.shell(fleet))
    _open[key] = fresh
    return fresh


def release_of(ctx: StepContext, role: str) -> str:
    """The release id that plays ``role`` (candidate, incumbent, load) in this run."""
    if role == "candidate":
        return ctx.candidate
    if role == "load":
        return ctx.load
    if role == "incumbent" and ctx.incumbent is not None:
        return ctx.incumbent
    raise BadInput(f"Step {ctx.step}: this run has no {role} release.")


_BACK = "rollback:"
"""Beginning of the names of the stages of the way back."""


def aside(ctx: StepContext) -> Mapping[str, Mapping[str, Any]]:
    """Hosts that this run goes on without, and why. On the way back only those that are bare: on any other the candidate may be, too."""
    last = {str(fact["host"]): fact for fact in ctx.facts("host.set-aside")}
    if ctx.stage.startswith(_BACK):
        return {name: fact for name, fact in last.items() if fact["state"] == "bare"}
    return last


def hosts_for(ctx: StepContext, role: str) -> Sequence[Host]:
    """The hosts on which a release of ``role`` is to run; those that were set aside left out."""
    fleet, without = ctx.fleet(), aside(ctx)
    return [host for host in (fleet.loads if role == "load" else fleet.agents) if host.name not in without]


def command(host: Host, *words: str) -> list[str]:
    """``words`` as the privileged user of ``host``."""
    return list(words) if host.ssh_user == "root" else ["sudo", "-n", *words]


@dataclass(frozen=True)
class Answer:
    """What one host said: ``data`` when its command succeeded, else ``trouble`` as a sentence."""

    data: dict[str, Any] | None
    trouble: str = ""
    refused: bool = False
    kind: Literal["failed", "unreachable", "unknown"] = "unknown"
    """Of a trouble: the host said that it could not, it said nothing, or what it said tells nothing (or is not its own)."""
    bare: bool = False
    """The host has no ``dwcp-host``, or one from before this verb: the play that is to come brings it."""


def answered(host: Host, got: Completed | GoliveError) -> Answer:
    """What ``dwcp-host`` said, from how its command ended."""
    if isinstance(got, GoliveError):
        return Answer(None, f"{host.name}: {got}", kind="unreachable" if isinstance(got, Unreachable) else "unknown")
    said = got.stderr.decode(errors="replace").strip().splitlines()
    if got.rc != 0:
        why = said[-1] if said else f"exit status {got.rc} without a word"
        return Answer(None, f"{host.name}: {why}", refused=got.rc == 4, kind="failed", bare=_is_bare(got))
    try:
        data = json.loads(got.stdout)
    except ValueError:
        return Answer(None, f"{host.name}: dwcp-host answered something that is not JSON")
    return Answer(data, "") if isinstance(data, dict) else Answer(None, f"{host.name}: dwcp-host answered no JSON object")


def _is_bare(got: Completed) -> bool:
    """A shell's exit status for a command that does not exist, sudo's word for it, or an older ``dwcp-host``'s for its verb."""
    return got.rc == 127 or b"command not found" in got.stderr or (got.rc == 2 and b"invalid choice" in got.stderr)


def everywhere(ctx: StepContext, hosts: Sequence[Host], *words: str, timeout_s: float = 60) -> Mapping[str, Answer]:
    """Runs ``dwcp-host WORDS`` on all ``hosts`` at once."""
    shell = world(ctx.env, ctx.fleet()).shell
    by_user: dict[str, list[Host]] = {}
    for host in hosts:
        by_user.setdefault(host.ssh_user, []).append(host)
    answers: dict[str, Answer] = {}
    for same in by_user.values():
        got = shell.each(same, command(same[0], "dwcp-host", *words), timeout_s=timeout_s)
        answers.update({host.name: answered(host, got[host.name]) for host in same})
    return answers


def change(ctx: StepContext, hosts: Sequence[Host], *words: str, timeout_s: float = 60) -> Mapping[str, Answer]:
    """Like ``everywhere``, for verbs that change something: carries the fencing token and the run."""
    return everywhere(ctx, hosts, *words, "--token", str(ctx.token), "--run", ctx.run, timeout_s=timeout_s)


def ask(ctx: StepContext, hosts: Sequence[Host]) -> Mapping[str, Answer]:
    """``dwcp-host status`` of all ``hosts``."""
    return everywhere(ctx, hosts, "status")


def unknown(answers: Mapping[str, Answer]) -> dict[str, Finding]:
    """A finding UNKNOWN for every host that did not answer."""
    return {
        name: Finding(Found.UNKNOWN, answer.trouble, {"unreachable": True} if answer.kind == "unreachable" else {})
        for name, answer in answers.items()
        if answer.data is None
    }


def slot_of(ctx: StepContext, role: str) -> str:
    """The slot that ``role``'s release has on the whole fleet: the incumbent keeps its own, the candidate takes the other.

    Decided once per run and journaled, so that the way back needs no answer from a dead host. Raises Held when hosts disagree or one
    does not answer: a slot is never guessed.
    """
    release = release_of(ctx, role)
    for fact in ctx.facts("slot"):
        if fact["release"] == release:
            return str(fact["slot"])
    answers = ask(ctx, hosts_for(ctx, "incumbent"))
    silent = [a.trouble for a in answers.values() if a.data is None]
    if silent:
        raise Held(f"Which slot is free cannot be told: {silent[0]}. Mend the host, then run the same command again.")
    seen = {
        entry["slot"]
        for answer in answers.values()
        for entry in (answer.data or {})["releases"]
        if entry["id"] == ctx.incumbent and entry["slot"] is not None
    }
    if len(seen) > 1:
        raise Held(f"Release {ctx.incumbent} is in slot a on some hosts and in slot b on others; deactivate it where it is wrong.")
    taken: str = seen.pop() if seen else "a"
    slot = taken if role == "incumbent" or release == ctx.incumbent else {"a": "b", "b": "a"}[taken]
    ctx.note("slot", {"release": release, "slot": slot})
    return slot


def concluded(answers: Mapping[str, Answer], summary: str) -> Outcome:
    """PASS when every host did it, FAIL when one refused or could not, ERROR when one did not answer or none was asked."""
    if not answers:
        return Outcome(Verdict.ERROR, f"no host was asked, so nothing is {summary}")
    trouble = [a.trouble for a in answers.values() if a.data is None]
    data = {name: a.data if a.data is not None else {"trouble": a.trouble} for name, a in answers.items()}
    if trouble:
        said_no = any(a.refused for a in answers.values())
        more = f" (and {len(trouble) - 1} more)" if len(trouble) > 1 else ""
        return Outcome(Verdict.FAIL if said_no else Verdict.ERROR, trouble[0] + more, {"hosts": data})
    changed = sum(1 for a in answers.values() if a.data and a.data.get("changed"))
    return Outcome(Verdict.PASS, summary, {"hosts": data}, changed=changed)
