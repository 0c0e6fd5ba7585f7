"""``ansible.play``: a playbook has run on every host of the fleet. Ansible itself is the probe: what is right already stays unchanged."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field

from golive.actions.port import Finding, Findings, Found, Outcome, StepContext, action
from golive.fleet.ansible import play_step
from golive.fleet.variables import variables
from golive.gates.verdict import Verdict

__all__ = ["AnsiblePlay"]


@action
class AnsiblePlay:
    """Plays are at-least-once: a resumed play starts from its first task and finds what it did before."""

    name = "ansible.play"
    budget = timedelta(minutes=20)

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        playbook: str = Field(pattern=r"^[a-z][a-z0-9_]*\.yml$")

    def probe(self, ctx: StepContext) -> Findings:
        return {"environment": Finding(Found.ABSENT, "Ansible looks at each task anew")}

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        # By name, so that a host which the play says nothing of is missed: "every host" would also be none.
        hosts = [host.name for host in ctx.fleet().hosts]
        result = play_step(ctx, ctx.params["playbook"], extravars=variables(ctx.env), limit=hosts)
        trouble = result.trouble()
        if trouble:
            return Outcome(Verdict.ERROR if result.unreachable else Verdict.FAIL, trouble, result.as_json())
        missing = [name for name in hosts if name not in result.changed]
        if missing or not hosts:
            why = f"the play says nothing of {', '.join(missing)}" if missing else "there are no hosts to play on"
            return Outcome(Verdict.ERROR, f"{ctx.params['playbook']}: {why}; whether they are as declared is unknown", result.as_json())
        changed = sum(result.changed.values())
        summary = f"{ctx.params['playbook']} on {len(result.changed)} hosts in {result.duration_s:.0f} s, changed={changed}"
        return Outcome(Verdict.PASS, summary, result.as_json(), changed=changed)

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
