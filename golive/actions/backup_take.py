"""``backup.take``: each agent host's state is a snapshot of this run, in a restic repository."""

from __future__ import annotations

from datetime import timedelta

from golive.actions._backup import asked, settings, snapshots, taken
from golive.actions._world import concluded, unknown
from golive.actions.port import Finding, Findings, Found, Outcome, StepContext, action
from golive.gates.verdict import Verdict

__all__ = ["BackupTake"]

_LIMIT_S = 7200.0
"""Longest that restic may take on one host: a first backup of much content over a thin line."""


@action
class BackupTake:
    """A host is done when its repository lists a snapshot tagged with this run. A repository that does not answer leaves it unknown."""

    name = "backup.take"
    budget = timedelta(hours=8)

    def probe(self, ctx: StepContext) -> Findings:
        hosts, known = list(ctx.fleet().agents), snapshots(ctx)
        answers = asked(ctx, hosts)
        found: dict[str, Finding] = unknown(answers)
        for name, answer in answers.items():
            if answer.data is None:
                continue
            snapshot = answer.data["snapshot"]
            if snapshot is None:
                found[name] = Finding(Found.ABSENT, "no snapshot of this run")
            elif known.get(name, {}).get("snapshot") != snapshot["id"]:
                # Made by a process that died before it could journal it.
                found[name] = Finding(Found.PARTIAL, f"snapshot {snapshot['id'][:12]} is not journaled")
            else:
                found[name] = Finding(Found.DONE, f"snapshot {snapshot['id'][:12]}")
        return {host.name: found[host.name] for host in hosts}

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        hosts = [host for host in ctx.fleet().agents if host.name in todo]
        words = ["take"] if ctx.env.settings.backup.content else ["take", "--without-content"]
        answers = taken(ctx, hosts, words, settings(ctx.env, ctx.fleet()), _LIMIT_S)
        for name, answer in sorted(answers.items()):
            if answer.data is not None:
                ctx.note("backup", {"host": name, **{key: value for key, value in answer.data.items() if key != "settings_changed"}})
        outcome = concluded(answers, "saved")
        if outcome.verdict is not Verdict.PASS:
            return outcome
        saved = snapshots(ctx)
        total, files = sum(fact["bytes"] for fact in saved.values()), sum(fact["files"] for fact in saved.values())
        summary = f"state of {len(saved)} hosts saved: {files} files, {total / 2**20:.1f} MiB"
        return Outcome(Verdict.PASS, summary, outcome.data, outcome.changed)

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "a snapshot is kept; rollback never restores one")
