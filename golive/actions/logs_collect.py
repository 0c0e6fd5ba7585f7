"""``logs.collect``: the candidate's logs are kept on the operator's machine before it is stopped."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict

from golive.actions._world import command, hosts_for, release_of, world
from golive.actions.port import Finding, Findings, Found, Outcome, StepContext, action
from golive.errors import GoliveError
from golive.gates.verdict import Verdict

__all__ = ["LogsCollect"]

_LINES = 20_000
"""Newest lines kept per host; a candidate that logs more has said it by then."""


@action
class LogsCollect:
    """Reads the unit's journal from every host into the run's directory. A silent host is named; it does not stop the way back."""

    name = "logs.collect"
    budget = timedelta(minutes=3)

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        release: Literal["candidate", "incumbent"]

    def probe(self, ctx: StepContext) -> Findings:
        return {
            host.name: Finding(Found.DONE if (ctx.workdir / f"{host.name}.log").exists() else Found.ABSENT, "log file")
            for host in hosts_for(ctx, ctx.params["release"])
        }

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        unit = f"dwcp-agent@{release_of(ctx, ctx.params['release'])}.service"
        hosts = [h for h in hosts_for(ctx, ctx.params["release"]) if h.name in todo]
        shell, missed = world(ctx.env, ctx.fleet()).shell, []
        words = ("journalctl", "--unit", unit, "--output", "short-iso", "--no-pager", "--lines", str(_LINES))
        ctx.workdir.mkdir(parents=True, exist_ok=True)
        said = {}
        for user in sorted({host.ssh_user for host in hosts}):
            same = [host for host in hosts if host.ssh_user == user]
            said.update(shell.each(same, command(same[0], *words), timeout_s=60))
        for name, got in said.items():
            if isinstance(got, GoliveError) or got.rc != 0:
                missed.append(name)
                (ctx.workdir / f"{name}.missed").write_text(f"not collected: {got}\n", encoding="utf-8")
            else:
                # Whole or not at all: a log that a kill cut off would count as collected.
                partial = ctx.workdir / f".{name}.log.{os.getpid()}"
                partial.write_bytes(got.stdout)
                partial.replace(ctx.workdir / f"{name}.log")
                (ctx.workdir / f"{name}.missed").unlink(missing_ok=True)
        kept = f"logs of {len(hosts) - len(missed)} hosts in {ctx.workdir}"
        summary = f"{kept}; not collected from {', '.join(missed)}" if missed else kept
        return Outcome(Verdict.PASS, summary, {"missed": missed, "directory": str(ctx.workdir)})

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "logs are kept")
