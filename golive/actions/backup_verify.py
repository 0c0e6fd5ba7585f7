"""``backup.verify``: each snapshot of this run was restored beside what is there, and is what was saved."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field

from golive.actions._backup import asked, snapshots, taken
from golive.actions._world import Answer, concluded, unknown
from golive.actions.port import Finding, Findings, Found, Outcome, StepContext, action
from golive.fleet.model import Host
from golive.gates.verdict import Verdict

__all__ = ["BackupVerify"]

_LIMIT_S = 7200.0


@action
class BackupVerify:
    """A pass needs of every host: every file with its hash, every database whole, and about as much as the last verified one had."""

    name = "backup.verify"
    budget = timedelta(hours=8)

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        least_of_last: float = Field(default=0.5, ge=0, le=1)
        """Share of the last verified snapshot's files and bytes below which a person has to look."""

    def probe(self, ctx: StepContext) -> Findings:
        hosts = list(ctx.fleet().agents)
        answers = asked(ctx, hosts)
        journaled = {fact["snapshot"] for fact in ctx.facts("backup.verified")}
        found: dict[str, Finding] = unknown(answers)
        for name, answer in answers.items():
            if answer.data is None:
                continue
            verified, mine = answer.data["verified"], snapshots(ctx).get(name, {}).get("snapshot")
            if not verified or verified["snapshot"] != mine:
                found[name] = Finding(Found.ABSENT, "not verified yet")
            elif mine not in journaled:
                # By a process that died before it could journal it; the host tells what it found and restores nothing again.
                found[name] = Finding(Found.PARTIAL, "verified, and not journaled")
            else:
                found[name] = Finding(Found.DONE, "verified")
        return {host.name: found[host.name] for host in hosts}

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        hosts, known = [host for host in ctx.fleet().agents if host.name in todo], snapshots(ctx)
        missing = [host.name for host in hosts if host.name not in known]
        if missing:
            return Outcome(
                Verdict.ERROR, f"{missing[0]} has no snapshot of this run (and {len(missing) - 1} more); backup.take comes first"
            )
        most = str(ctx.env.settings.backup.restore_limit_mib << 20)
        shared = ("verify", "--most-bytes", most, "--least-of-last", f"{ctx.params['least_of_last']:g}")

        def one(host: Host) -> dict[str, Answer]:
            return taken(ctx, [host], (*shared, "--snapshot", known[host.name]["snapshot"]), None, _LIMIT_S)

        answers: dict[str, Answer] = {}
        with ThreadPoolExecutor(max_workers=min(32, ctx.env.settings.hosts_at_once)) as pool:
            for said in pool.map(one, hosts):
                answers |= said
        for name, answer in sorted(answers.items()):
            if answer.data is not None:
                ctx.note("backup.verified", {"host": name, **answer.data})
        outcome = concluded(answers, "verified")
        if outcome.verdict is not Verdict.PASS:
            return outcome
        facts = {fact["host"]: fact for fact in ctx.facts("backup.verified")}
        files, databases = sum(fact["files"] for fact in facts.values()), sum(fact["databases"] for fact in facts.values())
        compared = "no earlier one to compare with" if any(f["last"] is None for f in facts.values()) else "about as large as the last"
        summary = f"snapshots of {len(facts)} hosts restored: {files} files as they were saved, {databases} databases whole, {compared}"
        return Outcome(Verdict.PASS, summary, outcome.data, outcome.changed)

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "what was restored to look at it is removed already")
