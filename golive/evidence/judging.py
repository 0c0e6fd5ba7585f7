"""What the evidence says of one item, and why. Only evidence that is there, fresh, and about what stands here now, passes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Literal

from golive.evidence import checklist as c
from golive.evidence.store import Kept
from golive.evidence.subjects import Current

__all__ = ["STATES", "VALID", "Judge", "Judged", "State", "repeat"]

State = Literal["PASS", "FAIL", "UNKNOWN", "STALE", "WAIVED"]
STATES: tuple[State, ...] = ("PASS", "FAIL", "UNKNOWN", "STALE", "WAIVED")

VALID: Mapping[str, timedelta] = {
    "tests": timedelta(days=7),
    "bench": timedelta(days=30),
    "chaos": timedelta(days=30),
    "regress": timedelta(days=30),
    "validate": timedelta(days=30),
    "verify": timedelta(days=1),
    "query": timedelta(days=1),
    "run": timedelta(days=30),
    "rollback": timedelta(days=30),
    "tool": timedelta(days=7),
}
"""How long evidence of each kind holds when nothing else is said."""

_WORST: tuple[State, ...] = ("FAIL", "UNKNOWN", "STALE", "PASS")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Judged:
    """One item as the evidence has it."""

    id: str
    state: State
    reason: str
    evidence: tuple[str, ...] = ()
    """Digests of the statements that it rests on."""
    again: tuple[str, ...] = ()
    """What to type to make the evidence, or to make it again."""
    until: datetime | None = None
    """When the first of them ends to hold."""


@dataclass(frozen=True)
class _Said:
    state: State
    reason: str
    kept: tuple[Kept, ...] = ()


@dataclass
class Judge:
    """Judges items by what is ``kept``.

    Args:
        kept: statements whose signatures, places and outputs were checked.
        current: what the subjects are today.
        now: the time of judging.
        sources: environments whose evidence counts, the own one first.
        people: says what is wrong with a person's signature in the output of a statement, and until when it holds; None: nobody signs here.
    """

    kept: Iterable[Kept]
    current: Current
    now: datetime
    sources: Sequence[str]
    people: Callable[[Kept, c.Item], tuple[str, datetime]] | None = None
    _by_check: dict[str, list[Kept]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        for kept in sorted(self.kept, key=lambda one: (one.statement.predicate.finished, one.statement.predicate.seq)):
            self._by_check[kept.statement.predicate.check].append(kept)

    def judged(self, item: c.Item) -> Judged:
        """What is known of ``item`` now."""
        if item.unknown is not None:
            return self._or_waived(item, _Said("UNKNOWN", item.unknown), ())
        if item.attest is not None:
            return self._or_waived(item, self._attested(item, item.attest), (repeat(item, None, self.current.env.name),))
        said = [self._proved(item, number, proof) for number, proof in enumerate(item.proofs, 1)]
        worst = min(said, key=lambda one: _WORST.index(one.state))
        reasons = [one.reason for one in said if one.state == worst.state]
        kept = tuple({one.digest: one for part in said for one in part.kept}.values())
        lacking = [proof for proof, one in zip(item.proofs, said, strict=True) if one.state != "PASS"]
        again = tuple(dict.fromkeys(repeat(item, proof, self.current.env.name) for proof in (lacking or item.proofs)))
        return self._or_waived(item, _Said(worst.state, "; ".join(reasons), kept), again)

    def lacking(self, item: c.Item) -> list[c.Proof]:
        """Proofs of ``item`` that are neither shown nor refuted by anything that still holds."""
        return [proof for number, proof in enumerate(item.proofs, 1) if self._proved(item, number, proof).state not in ("PASS", "FAIL")]

    def _or_waived(self, item: c.Item, said: _Said, again: tuple[str, ...]) -> Judged:
        until = min((self._until(kept, item) for kept in said.kept), default=None) if said.state == "PASS" else None
        digests = tuple(kept.digest for kept in said.kept)
        if said.state != "PASS":
            waiver = self._newest(f"waive.{item.id}", own=True)
            if waiver is not None and waiver.statement.predicate.result == "PASS" and self.people is not None:
                wrong, ends = self.people(waiver, item)
                if not wrong and self.now < ends:
                    reason = f"{waiver.statement.predicate.summary} ({said.state} without it: {said.reason})"
                    return Judged(item.id, "WAIVED", reason, (waiver.digest, *digests), again, ends)
        return Judged(item.id, said.state, said.reason, digests, again, until)

    def _attested(self, item: c.Item, asked: c.Attest) -> _Said:
        found = self._newest(f"attest.{item.id}", own=True)
        if found is None:
            return _Said("UNKNOWN", f"{asked.role} has not signed it")
        if self.people is None:
            return _Said("UNKNOWN", "who may sign here is not known", (found,))
        wrong, ends = self.people(found, item)
        if wrong:
            return _Said("UNKNOWN", wrong, (found,))
        if other := self._other(found):
            return _Said("STALE", other, (found,))
        if not found.statement.predicate.finished <= self.now < min(ends, self._until(found, item)):
            return _Said("STALE", f"what {asked.role} signed has expired", (found,))
        state: State = found.statement.predicate.result
        return _Said(state, found.statement.predicate.summary, (found,))

    def _proved(self, item: c.Item, number: int, proof: c.Proof) -> _Said:
        if isinstance(proof, c.Tests):
            return self._by(item, f"tests.{item.id}", lambda f: _tests(f, proof.tests), own=False)
        if isinstance(proof, c.Bench):
            return self._by(item, f"bench.{proof.bench}", lambda f: _rows(f, proof.rows, proof.need.unmet), own=False)
        if isinstance(proof, c.Chaos):
            return self._by(item, f"chaos.{proof.chaos}", lambda f: _rounds(f, proof.least), own=False)
        if isinstance(proof, c.Regress):
            return self._by(item, "regress", lambda f: _rows(f, proof.regress, _not_ok))
        if isinstance(proof, c.Validate):
            return self._by(item, "validate", lambda f: _rows(f, proof.validate_, _not_ok))
        if isinstance(proof, c.Verify):
            return self._by(item, "verify", lambda f: _checks(f, proof.verify))
        if isinstance(proof, c.Query):
            return self._by(item, f"query.{item.id}.{number}", lambda f: _asked(f, proof))
        if isinstance(proof, c.Tool):
            return self._by(item, f"tool.{proof.tool}", lambda f: ("PASS", ""), own=False)
        kind, steps = ("run", proof.run) if isinstance(proof, c.Run) else ("rollback", proof.rollback)
        return self._by(item, kind, lambda f: _steps(f, steps))

    def _by(self, item: c.Item, check: str, look: Callable[[Row], tuple[State, str]], own: bool = True) -> _Said:
        """What the newest statement of ``check`` says. A newer one always counts more than an older one, whatever either says."""
        kept = self._newest(check, own)
        if kept is None:
            return _Said("UNKNOWN", f"there is no evidence {check}")
        at = kept.statement.predicate
        if other := self._other(kept):
            return _Said("STALE", other, (kept,))
        if at.finished > self.now:
            return _Said("UNKNOWN", f"{check} is of a time to come; a clock was wrong", (kept,))
        if self.now >= self._until(kept, item):
            return _Said("STALE", f"{check} held until {self._until(kept, item):%Y-%m-%d %H:%M}", (kept,))
        state, why = look(at.facts)
        if state == "PASS" and at.result != "PASS" and check.split(".")[0] in ("tests", "tool", "query"):
            state, why = at.result, at.summary
        return _Said(state, why or at.summary, (kept,))

    def _newest(self, check: str, own: bool) -> Kept | None:
        """Of the environments whose evidence counts, the first that has any; for what is of no environment, the newest of all."""
        every = self._by_check.get(check, [])
        if not own:
            return every[-1] if every else None
        for env in self.sources:
            mine = [kept for kept in every if kept.statement.predicate.env == env]
            if mine:
                return mine[-1]
        return None

    def _until(self, kept: Kept, item: c.Item) -> datetime:
        at = kept.statement.predicate
        return min(at.valid_until, at.finished + item.valid) if item.valid is not None else at.valid_until

    def _other(self, kept: Kept) -> str:
        """What the statement is about that is not what stands here now; empty when it is about this."""
        at = kept.statement.predicate
        for name, digest in kept.statement.digests().items():
            if name.startswith(("host:", "item:")) and (at.env != self.current.env.name or name.startswith("item:")):
                continue
            now = self.current.digest(name)
            if now != digest:
                return f"{at.check} is of another {name}" if now is not None else f"{at.check} is of {name}, which is not here"
        return ""


def repeat(item: c.Item, proof: c.Proof | None, env: str) -> str:
    """What to type to make the evidence of ``proof``; of the item when a person has to sign it."""
    if proof is None:
        role = item.attest.role if item.attest is not None else "ROLE"
        return f'./inv attest {item.id} --env {env} --role {role} --key KEY --comment "..."'
    if isinstance(proof, c.Bench):
        return f"./inv bench {proof.bench}"
    if isinstance(proof, c.Regress):
        return f"./inv regress --env {env}"
    if isinstance(proof, c.Validate):
        return f"./inv validate --env {env}"
    if isinstance(proof, c.Chaos):
        return _CHAOS[proof.chaos].format(least=proof.least)
    if isinstance(proof, c.Run | c.Rollback):
        return f"./inv golive --env {env}" if isinstance(proof, c.Run) else f'./inv rollback --env {env} --reason "..."'
    return f"./inv readiness --env {env} --only {item.id} --again"


_CHAOS = {
    "sim": "./inv chaos --env lab --hosts sim:20 --rounds {least}",
    "records": "./inv chaos --env lab --hosts sim:6 --every-record",
    "rehearsal": "./inv chaos --env lab --hosts sim:200 --rehearsal",
    "lab": "./inv chaos --env lab --rounds {least}",
    "lab-records": "./inv chaos --env lab --rounds {least} --every-record",
}


def _tests(facts: Row, asked: Sequence[str]) -> tuple[State, str]:
    outcomes = facts.get("tests")
    if not isinstance(outcomes, Mapping) or set(outcomes) != set(asked):
        return "STALE", "the checklist asks for other tests than were run"
    wrong = [f"{name.rpartition('/')[2]} {outcome}" for name, outcome in outcomes.items() if outcome != "passed"]
    return ("FAIL", ", ".join(wrong[:3])) if wrong else ("PASS", f"{len(outcomes)} tests passed, {facts.get('cases')} cases")


def _rows(facts: Row, patterns: Sequence[str], unmet: Callable[[Row], str]) -> tuple[State, str]:
    rows = facts.get("rows")
    if not isinstance(rows, list):
        return "UNKNOWN", "it has no rows"
    met: list[Row] = []
    for pattern in patterns:
        found = [row for row in rows if fnmatchcase(str(row.get("id")), pattern)]
        if not found:
            return "UNKNOWN", f"it has no row {pattern}"
        met += found
    unknown = [str(row["id"]) for row in met if row.get("ok") is None]
    if unknown:
        return "UNKNOWN", f"{unknown[0]} was not measured"
    wrong = [f"{row['id']}: {why}" for row in met if (why := unmet(row))]
    return ("FAIL", "; ".join(wrong[:3])) if wrong else ("PASS", "; ".join(_shown(row) for row in met[:3]))


def _shown(row: Row) -> str:
    ratio = row.get("ratio")
    return f"{row['id']} {ratio:.2f}x" if isinstance(ratio, int | float) else str(row["id"])


def _not_ok(row: Row) -> str:
    return "" if row.get("ok") is True else str(row.get("verdict") or "it is not ok")


def _rounds(facts: Row, least: int) -> tuple[State, str]:
    rows = facts.get("rows")
    if not isinstance(rows, list) or not rows:
        return "UNKNOWN", "no round was run"
    wrong = [str(row.get("round")) for row in rows if row.get("ok") is not True]
    if wrong:
        return "FAIL", f"round {wrong[0]} ended wrong"
    if len(rows) < least:
        return "UNKNOWN", f"{len(rows)} rounds of {least}"
    return "PASS", f"{len(rows)} rounds, none ended wrong"


def _checks(facts: Row, patterns: Sequence[str]) -> tuple[State, str]:
    checks = facts.get("checks")
    if not isinstance(checks, Mapping):
        return "UNKNOWN", "it has no checks"
    total = 0
    for pattern in patterns:
        found = {name: outcome for name, outcome in checks.items() if fnmatchcase(name, pattern)}
        if not found:
            return "UNKNOWN", f"no check {pattern} was run"
        if wrong := [name for name, outcome in found.items() if outcome != "passed"]:
            return "FAIL", f"{wrong[0]} {found[wrong[0]]}"
        total += len(found)
    return "PASS", f"{total} checks passed on the hosts"


def _asked(facts: Row, proof: c.Query) -> tuple[State, str]:
    if facts.get("query") != proof.query:
        return "STALE", "the checklist asks another question now"
    why = proof.need.unmet(facts)
    if why:
        return ("UNKNOWN" if facts.get("value") is None else "FAIL"), f"{proof.query}: {facts.get('why') or why}"
    return "PASS", f"{proof.query} is {facts['value']:.4g}"


def _steps(facts: Row, asked: Sequence[str] | str) -> tuple[State, str]:
    steps, outcome = facts.get("steps"), facts.get("outcome")
    if facts.get("wrong") != []:
        return "FAIL", f"the journal of run {facts.get('run')} is not as it was written"
    if isinstance(asked, str):
        asked = []
        if outcome != facts.get("asked_outcome"):
            return "FAIL", f"run {facts.get('run')} ended {outcome}"
    if not isinstance(steps, Mapping):
        return "UNKNOWN", "it has no steps"
    for step in asked:
        verdict = steps.get(step)
        if verdict is None:
            return "UNKNOWN", f"run {facts.get('run')} had no step {step}"
        if verdict != "PASS":
            return "FAIL", f"{step} of run {facts.get('run')} is {verdict}"
    return "PASS", f"run {facts.get('run')} {outcome}" + (f", {len(asked)} steps" if asked else "")
