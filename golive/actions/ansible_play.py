"""``ansible.play``: a playbook has run on every host of the fleet. Each host keeps a trace of it; Ansible looks at what it does itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from golive.actions._waves import Went, answered, in_waves, play_wave, played, spared
from golive.actions._world import Answer, aside, ask, change, everywhere, unknown
from golive.actions.port import Finding, Findings, Found, Outcome, StepContext, action
from golive.fleet.ansible import play_step
from golive.fleet.model import Host
from golive.fleet.plays import issued, play_digest
from golive.fleet.variables import variables
from golive.fleet.waves import Wave
from golive.gates.verdict import Verdict

__all__ = ["AnsiblePlay"]


@action
class AnsiblePlay:
    """Plays are at-least-once: one that was cut short starts from its first task and finds what it did before.

    A host is done when its trace names this very play, in this run and step; so a process that goes on leaves it alone, and a new run
    plays everywhere and repairs what drifted.
    """

    name = "ansible.play"
    budget = timedelta(minutes=20)

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        playbook: str = Field(pattern=r"^[a-z][a-z0-9_]*\.yml$")

    def probe(self, ctx: StepContext) -> Findings:
        digest = play_digest(ctx.env, ctx.params["playbook"], variables(ctx.env))
        return spared(ctx, ctx.fleet().hosts, lambda hosts: _look(ctx, hosts, digest))

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        playbook, extravars = ctx.params["playbook"], variables(ctx.env)
        digest = play_digest(ctx.env, playbook, extravars)
        # What a play wrote and told no handler of before it was cut off, it tells when it comes again.
        unfinished = sorted(name for name, finding in todo.items() if finding.found is Found.PARTIAL or ctx.attempt > 1)
        if unfinished:
            extravars = {**extravars, "dwcp_unfinished": unfinished}

        def play(wave: Wave, hosts: Sequence[Host]) -> Went:
            if ctx.env.settings.workers is not None:  # there the job itself looks at the traces and leaves them
                return played(play_wave(ctx, wave, playbook, hosts=hosts, extravars=extravars, digest=digest))
            begun = _trace(ctx, hosts, "begin", digest)
            # A host that refuses the trace refuses the play: it has seen another controller, or cannot write.
            refused = answered({name: answer for name, answer in begun.items() if answer.data is None and not answer.bare})
            going = [host for host in hosts if host.name not in refused.trouble]
            if not going:
                return refused
            # By name, so that a host which the play says nothing of is missed: "every host" would also be none.
            went = played(play_wave(ctx, wave, playbook, hosts=going, extravars=extravars))
            there = [host for host in going if host.name in went.done]
            untold = answered({n: a for n, a in _trace(ctx, there, "done", digest).items() if a.data is None and not a.bare})
            done = {name: changed for name, changed in went.done.items() if name not in untold.trouble}
            return Went(
                done,
                {**refused.failed, **went.failed, **untold.failed},
                {**refused.unreachable, **went.unreachable, **untold.unreachable},
                {**refused.unknown, **went.unknown, **untold.unknown},
                went.data,
            )

        hosts = [host for host in ctx.fleet().hosts if host.name not in aside(ctx)]
        return in_waves(ctx, hosts, todo, f"{playbook} is played", play)

    def plan(self, ctx: StepContext) -> list[str]:
        """Check mode. The output, with what would become of which file, is kept where the line says."""
        book = ctx.params["playbook"]
        result = play_step(ctx, book, extravars=variables(ctx.env), limit=[host.name for host in ctx.fleet().hosts], check=True)
        told = [f"{book} would change {count} things on {host}" for host, count in result.changed.items() if count]
        if not told and result.ok:
            told = [f"{book} would change nothing on {len(result.changed)} hosts"]
        if result.trouble():
            told.append(f"not known everywhere: {result.trouble()}")
        return [*told, *([f"all of it: {result.log}"] if result.log and not result.trouble() else [])]

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "what a play configured stays")


def _name(playbook: str) -> str:
    return PurePath(playbook).stem


def _trace(ctx: StepContext, hosts: Sequence[Host], state: str, digest: str) -> Mapping[str, Answer]:
    return change(ctx, hosts, "play", state, _name(ctx.params["playbook"]), "--digest", digest, "--step", f"{ctx.stage}/{ctx.step}")


def _look(ctx: StepContext, hosts: Sequence[Host], digest: str) -> Findings:
    answers = ask(ctx, hosts)
    found: dict[str, Finding] = {}
    for name, answer in answers.items():
        if answer.bare:
            found[name] = Finding(Found.ABSENT, "a bare host: nothing of the toolkit is on it")
        elif answer.data is not None:
            found[name] = _read(ctx, (answer.data.get("plays") or {}).get(_name(ctx.params["playbook"]), {}), digest)
    found |= unknown({name: answer for name, answer in answers.items() if name not in found})
    half = _half_shipped(ctx, [host for host in hosts if found[host.name].found is Found.DONE])
    return {host.name: half.get(host.name, found[host.name]) for host in hosts}


def _read(ctx: StepContext, trace: Any, digest: str) -> Finding:
    if trace == {}:
        return Finding(Found.ABSENT, "never played here")
    if trace is None:
        return Finding(Found.PARTIAL, "the trace of the play cannot be read; it is played again")
    if trace.get("state") != "done":
        return Finding(Found.PARTIAL, f"a play of run {trace.get('run')} began at {trace.get('at')} and did not come to its end")
    if (trace.get("run"), trace.get("step")) != (ctx.run, f"{ctx.stage}/{ctx.step}"):
        return Finding(Found.ABSENT, f"last played by run {trace.get('run')}; a new run plays again, for what drifted since")
    if trace.get("digest") != digest:
        return Finding(Found.ABSENT, "played in this run with other roles, variables or certificates")
    return Finding(Found.DONE, f"played in this run at {trace.get('at')}")


def _half_shipped(ctx: StepContext, hosts: Sequence[Host]) -> Findings:
    """PARTIAL for each host on which a certificate is not the one that was issued, or is there without its own key."""
    wanted = {host.name: certificates for host in hosts if (certificates := issued(ctx.env, host.name))}
    if not wanted:
        return {}
    found: dict[str, Finding] = {}
    for name, answer in everywhere(ctx, [host for host in hosts if host.name in wanted], "certificates").items():
        if answer.data is None:
            found |= unknown({name: answer})
            continue
        there = answer.data.get("certificates") or {}
        for file, sha256 in wanted[name].items():
            has = there.get(file)
            if has is None or has.get("sha256") != sha256:
                lies = "is missing" if has is None else f"is {str(has.get('sha256'))[:12]}"
                found[name] = Finding(Found.PARTIAL, f"certificate {file} {lies}, issued is {sha256[:12]}")
            elif not has.get("fits"):
                found[name] = Finding(Found.PARTIAL, f"certificate {file} lies there with a key of another")
    return found
