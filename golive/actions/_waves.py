"""A change that reaches the fleet wave after wave, and the hosts that a run may lose on the way.

What a wave did is journaled before the next one begins (``wave.started``, ``wave.done``). A host that fails or does not answer is counted
against the policy's ``failure_budget``, in absolute numbers over the whole fleet and the whole run: within it the host is set aside
(``host.set-aside``), beyond it no further wave begins.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from golive.actions._world import Answer, aside, change
from golive.actions.port import Findings, Found, Outcome, StepContext
from golive.fleet.ansible import PlayResult, play_step
from golive.fleet.model import Host
from golive.fleet.variables import variables
from golive.fleet.waves import Wave, budget_of, policy_of, remaining, waves
from golive.gates.verdict import Verdict

__all__ = ["Went", "answered", "change_wave", "in_waves", "planned", "play_wave", "played", "set_aside", "spared"]

JSON = dict[str, Any]

_LOOKS = 3
"""How often a silent host is asked before it is set aside."""
_PAUSE_S = 2.0


@dataclass(frozen=True)
class Went:
    """How a wave went on each of its hosts. A host that is in none of these was not heard of."""

    done: Mapping[str, int]
    """Number of things changed."""
    failed: Mapping[str, str] = field(default_factory=dict)
    unreachable: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
    data: JSON = field(default_factory=dict)
    """By host or as a whole, for the step's outcome."""

    @property
    def trouble(self) -> Mapping[str, str]:
        return {**self.unknown, **self.unreachable, **self.failed}


def answered(answers: Mapping[str, Answer]) -> Went:
    """What ``dwcp-host`` said on the hosts of a wave."""
    of = {
        kind: {n: a.trouble for n, a in answers.items() if a.data is None and a.kind == kind}
        for kind in ("failed", "unreachable", "unknown")
    }
    done = {name: int(bool(a.data.get("changed"))) for name, a in answers.items() if a.data is not None}
    data = {"hosts": {name: a.data if a.data is not None else {"trouble": a.trouble} for name, a in answers.items()}}
    return Went(done, **of, data=data)


def played(result: PlayResult) -> Went:
    """What a play did on the hosts of a wave. One that ended without naming a host that went wrong says nothing of any."""
    told = result.trouble()
    if told and not result.failed and not result.unreachable:
        return Went({}, unknown={result.playbook: told}, data={"plays": result.as_json()})
    failed = {name: f"{name}: {why}" for name, why in result.failed.items()}
    silent = {name: f"{name}: {why}" for name, why in result.unreachable.items()}
    done = {name: count for name, count in result.changed.items() if name not in failed}
    return Went(done, failed, silent, data={"plays": result.as_json()})


def play_wave(
    ctx: StepContext, wave: Wave, playbook: str, *, hosts: Sequence[Host], extravars: Mapping[str, Any], digest: str = ""
) -> PlayResult:
    """``playbook`` on the hosts of a wave: by a worker near them where the environment has workers, else by this process."""
    names = [host.name for host in hosts]
    if ctx.env.settings.workers is None:
        return play_step(ctx, playbook, extravars=extravars, limit=names)
    from golive.workers import play_on_worker

    return play_on_worker(ctx, wave, playbook, hosts=names, extravars={**variables(ctx.env), **extravars}, digest=digest)


def change_wave(ctx: StepContext, wave: Wave, hosts: Sequence[Host], *words: str, timeout_s: float) -> Went:
    """``dwcp-host WORDS`` on the hosts of a wave: by a worker near them where the environment has workers, else over SSH from here."""
    if ctx.env.settings.workers is None:
        return answered(change(ctx, hosts, *words, timeout_s=timeout_s))
    return played(play_wave(ctx, wave, "host_verb.yml", hosts=hosts, extravars={"dwcp_verb": list(words)}))


def planned(ctx: StepContext, hosts: Sequence[Host]) -> tuple[Wave, ...]:
    """The waves of ``hosts``; the same in every try of every run over this fleet."""
    return waves(hosts, policy_of(ctx.env.policy, f"policies/{ctx.env.settings.policy}.yaml"), salt=ctx.env.name)


def in_waves(
    ctx: StepContext, hosts: Sequence[Host], todo: Collection[str], what: str, do: Callable[[Wave, Sequence[Host]], Went]
) -> Outcome:
    """``do`` reached all of ``todo``, wave after wave, as far as the failure budget goes.

    Args:
        ctx: The step.
        hosts: Everything the change is meant for, done or not: the waves are cut from it.
        todo: Names of those to be changed now.
        what: What is true where it went well, as in ``3.0.0-... runs``.
        do: Changes the hosts of one wave; what it raises ends the step, and the wave stays open in the journal.
    """
    by_name = {host.name: host for host in hosts}
    left_out = aside(ctx)
    plan = remaining(planned(ctx, hosts), {name for name in todo if name not in left_out})
    if not plan:
        return Outcome(Verdict.ERROR, f"no host was asked, so nowhere is it true that {what}")
    done: dict[str, int] = {}
    lost: list[str] = []
    data: JSON = {}
    for wave in plan:
        ctx.check()
        ctx.ensure()
        ctx.note("wave.started", {**wave.to_json(), "what": what})
        ctx.tell("wave", {**wave.to_json(), "what": what})
        began = ctx.clock.monotonic()
        went = do(wave, [by_name[name] for name in wave.hosts])
        unheard = {n: f"{n}: nothing was heard of it" for n in wave.hosts if n not in went.done and n not in went.trouble}
        seconds = round(ctx.clock.monotonic() - began, 3)
        counts = {"failed": dict(went.failed), "unreachable": dict(went.unreachable), "unknown": {**went.unknown, **unheard}}
        ctx.note("wave.done", {**wave.to_json(), "what": what, "changed": sum(went.done.values()), "seconds": seconds, **counts})
        done |= went.done
        _gather(data, went.data)
        if not went.trouble and not unheard:
            continue
        ctx.ensure()  # a host that refuses us because another controller has taken over has not failed
        why = "" if counts["unknown"] else set_aside(ctx, went.failed, went.unreachable)
        if counts["unknown"] or why:
            return _stopped(ctx, wave, plan, went, unheard, why, data)
        lost += list(went.trouble)
    summary = f"{what} on {len(done)} hosts in {len(plan)} waves" if len(plan) > 1 else f"{what} on {len(done)} hosts"
    if lost:
        summary += f"; NOT on {', '.join(lost)}: set aside within the failure budget, not done"
    if not done:
        return Outcome(Verdict.ERROR, f"{what} on no host: {', '.join(lost)} set aside", data)
    return Outcome(Verdict.PASS, summary, data, changed=sum(done.values()))


def spared(ctx: StepContext, hosts: Sequence[Host], look: Callable[[Sequence[Host]], Findings]) -> Findings:
    """What ``look`` finds on ``hosts``, without those set aside. Silent ones are set aside as far as the failure budget goes, after
    they were asked again; what is left unknown is for a person to decide."""
    without = aside(ctx)
    found = dict(look([host for host in hosts if host.name not in without]))
    if ctx.stage.startswith("rollback:") or not budget_of(ctx.env.policy).unreachable:
        return found
    silent = _silent(found)
    for _ in range(_LOOKS - 1):
        if not silent:
            return found
        ctx.sleep(_PAUSE_S)
        found |= look([host for host in hosts if host.name in silent])
        silent = _silent(found)
    if silent and not set_aside(ctx, {}, silent):
        return {name: finding for name, finding in found.items() if name not in silent}
    return found


def _silent(found: Findings) -> dict[str, str]:
    return {name: f.reason for name, f in found.items() if f.found is Found.UNKNOWN and f.data.get("unreachable")}


def set_aside(ctx: StepContext, failed: Mapping[str, str], unreachable: Mapping[str, str]) -> str:
    """The hosts are set aside; or says why they cannot be, and none of them is."""
    fleet, budget, known = ctx.fleet(), budget_of(ctx.env.policy), aside(ctx)
    needed = [name for name in (*failed, *unreachable) if (host := fleet.named(name)).gateway or host.role == "ops"]
    if needed:
        return f"{needed[0]} is a {'gateway' if fleet.named(needed[0]).gateway else 'host of monitoring'}: no run goes on without it"
    for kind, more, allowed in (("failed", failed, budget.failed), ("unreachable", unreachable, budget.unreachable)):
        before = sum(1 for fact in known.values() if fact.get("state") == kind)
        if more and before + len(more) > allowed:
            return f"{before + len(more)} {kind}, the failure budget of the whole fleet is {allowed}"
    for kind, hosts in (("failed", failed), ("unreachable", unreachable)):
        for name, reason in hosts.items():
            ctx.note("host.set-aside", {"host": name, "state": kind, "reason": reason, "by": ctx.step})
    return ""


def _stopped(ctx: StepContext, wave: Wave, plan: Sequence[Wave], went: Went, unheard: Mapping[str, str], why: str, data: JSON) -> Outcome:
    trouble = [*went.unreachable.values(), *went.failed.values(), *went.unknown.values(), *unheard.values()]
    more = f" (and {len(trouble) - 1} more)" if len(trouble) > 1 else ""
    untouched = sum(len(later.hosts) for later in plan if later.number > wave.number)
    told = f"{trouble[0]}{more}; stopped after {wave}"
    told += f": {why}" if why and (went.failed or went.unreachable) else ""
    told += f"; {untouched} hosts of later waves were not touched" if untouched else ""
    only_no = bool(went.failed) and not went.unreachable and not went.unknown and not unheard
    return Outcome(Verdict.FAIL if only_no else Verdict.ERROR, told, data)


def _gather(data: JSON, more: JSON) -> None:
    """Takes a wave's ``more`` into the step's ``data``: what is by host is joined, what is one per wave is a list."""
    for key, value in more.items():
        if key == "hosts":
            data[key] = {**data.get(key, {}), **value}
        else:
            data.setdefault(key, []).append(value)
