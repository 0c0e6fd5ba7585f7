"""Where a release stands: every item judged by the evidence that is there now, and the decision. Makes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from golive import releases
from golive.approvals import approvers_of
from golive.environment import Environment
from golive.errors import GoliveError
from golive.evidence import checklist
from golive.evidence.checklist import Checklist, Item
from golive.evidence.decision import Decision, Policy, decide, policy_of
from golive.evidence.judging import Judge, Judged
from golive.evidence.recording import store_here
from golive.evidence.signing import opened, said
from golive.evidence.store import Kept
from golive.evidence.subjects import Current
from golive.evidence.trust import trusted
from golive.releases import Release

__all__ = ["Standing", "standing"]


@dataclass(frozen=True)
class Standing:
    """Every item as the evidence has it now."""

    checklist: Checklist
    release: Release | None
    judged: dict[str, Judged]
    kept: dict[str, Kept]
    """Statements by digest."""
    wrong: list[str]
    foreign: int
    policy: Policy
    decision: Decision
    heads: dict[str, str]
    """The newest statement of each key: whoever keeps them elsewhere sees later that none was taken out."""
    judge: Judge


def standing(env: Environment, runbooks: Mapping[str, str], release: Release | None) -> Standing:
    """What the evidence says now of ``release``; None: it is not built, so that nothing is known of it.

    ``runbooks``: digests of today's runbooks by name. Raises BadInput for a policy that cannot be used, Unprepared when nobody's evidence
    counts in ``env``.
    """
    now = datetime.now(UTC)
    listed = checklist.read()
    policy = policy_of(env.policy, env.settings.policy)
    contents = store_here().contents(trusted(env))
    wrong = [f"Evidence: {sentence}" for sentence in contents.wrong]
    if release is not None:
        try:
            releases.verify_for(env, release.path)
        except GoliveError as error:
            wrong.append(error.message)
    people = _people(env, release, policy, now)
    judge = Judge(contents.kept, Current(env, release, runbooks), now, (env.name, *policy.evidence_from), people)
    judged = {item.id: judge.judged(item) for item in listed.items}
    kept = {one.digest: one for one in contents.kept}
    decision = decide(listed, judged, policy, wrong)
    return Standing(listed, release, judged, kept, wrong, contents.foreign, policy, decision, contents.heads, judge)


def _people(
    env: Environment, release: Release | None, policy: Policy, now: datetime
) -> Callable[[Kept, Item], tuple[str, datetime]] | None:
    """Checks a person's signature; None where the environment knows no people."""
    try:
        approvers = approvers_of(env)
    except GoliveError:
        return None

    def wrong(kept: Kept, item: Item) -> tuple[str, datetime]:
        try:
            word, _ = opened(store_here().output(kept), approvers, now)
        except GoliveError as error:
            return error.message.rstrip("."), now
        statement = kept.statement.predicate
        asked = item.attest.role if item.attest is not None else word.role
        decision = "waive" if statement.check.startswith("waive.") else "attest" if statement.result == "PASS" else "deny"
        if (word.env, word.item, word.says, word.decision) != (env.name, item.id, said(item), decision):
            return "what was signed is about something else than this item as it is now", now
        if decision != "waive" and word.role != asked:
            return f"role {asked} has to sign it, and {word.role} did", now
        if release is None or word.release != release.digest:
            return "what was signed is about another release", now
        if decision == "waive" and word.expires - word.issued > policy.waivers.longest:
            return "it was waived for longer than the policy lets it be", now
        return "", word.expires

    return wrong
