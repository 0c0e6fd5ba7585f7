"""What has to be true after a round on real hosts: by what they say of themselves, held against the journal. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from golive.chaos.checks import _MAY
from golive.chaos.lab_port import Facts, HostFacts
from golive.engine import Record, RunState

__all__ = ["after"]


def after(
    state: RunState,
    records: Sequence[Record],
    before: Facts,
    now: Facts,
    *,
    may_hold: bool = False,
    may_lose: bool = False,
    restarts: bool = False,
    replaced: bool = False,
    candidate_was_out: bool = True,
) -> list[str]:
    """Everything that is wrong, as sentences. Empty: the round ended right.

    Args:
        state: the run that was struck, as it ended.
        records: of this round.
        before: what hosts said when the round began.
        now: what they say after it, with everything lifted.
        may_hold: what the fault left only a person can mend.
        may_lose: the fault itself ended or cut what answers users.
        restarts: the fault itself ends units.
        replaced: a host is another one now.
        candidate_was_out: whether the part of the runbook that was played puts the candidate on hosts.
    """
    wrong = list(now.journal) + _ended(state, may_hold)
    wrong += [f"{host.name} does not answer after everything was lifted: {host.why}" for host in now.hosts if host.why and not replaced]
    wrong += _effects(now, records, restarts=restarts or replaced)
    if state.outcome in ("rolled-back", "aborted", "succeeded") and not replaced:
        wrong += _fleet(now, str(state.incumbent), str(state.release))
        if not restarts and candidate_was_out:
            wrong += _restarted(before, now, str(state.incumbent))
    wrong += [f"the users' own account of {name} could not be read" for name in now.unread]
    if now.nobody and not may_lose:
        wrong.append(f"{now.nobody} of {now.requests} requests were answered by nobody")
    return wrong


def _ended(state: RunState, may_hold: bool) -> list[str]:
    if state.outcome in ("succeeded", "rolled-back", "aborted"):
        return []
    if state.outcome == "held":
        held = state.held or {}
        if not held.get("reason") or not held.get("do"):
            return ["the run is held, and does not say why or what to do"]
        return [] if may_hold else [f"the run is still held after everything was mended: {held['reason']}"]
    return [f"the run ended {state.outcome}"]


def _fleet(now: Facts, serves: str, gone: str) -> list[str]:
    """Every host: ``serves`` runs for good, ``gone`` nowhere; every gateway sends everybody to ``serves``, and no lease is open."""
    wrong = []
    for host in now.hosts:
        if host.why or not host.agent:
            continue
        releases = {str(entry["id"]): entry for entry in host.releases}
        mine, other = releases.get(serves), releases.get(gone)
        if mine is None or not mine.get("active") or not mine.get("enabled"):
            wrong.append(f"{host.name} was skipped: {serves} does not run there for good")
        if serves != gone and other is not None and (other.get("active") or other.get("enabled")):
            wrong.append(f"{host.name}: {gone} still runs")
        if host.gateway:
            wrong += _gateway(host, serves)
    return wrong


def _gateway(host: HostFacts, serves: str) -> list[str]:
    weight = host.weight
    if weight is None:
        return [f"{host.name}: the gateway does not say what it sends where"]
    wrong = []
    share = weight.get("runtime")
    if share is None:
        return [f"{host.name}: HAProxy does not answer: {weight.get('problem')}"]
    label = (weight.get("slots", {}).get("b" if share >= 50 else "a") or {}).get("release")
    if share not in (0, 100) or label != serves:
        wrong.append(f"{host.name} was skipped: slot b has {share} %, and the slot with the users is {label}, not {serves}")
    if not weight.get("consistent"):
        wrong.append(f"{host.name}: {weight.get('slot_b')} % on record, {share} % in HAProxy")
    if weight.get("lease") is not None:
        wrong.append(f"{host.name}: the weight's lease is still open")
    return wrong


def _restarted(before: Facts, now: Facts, incumbent: str) -> list[str]:
    """Nobody touches the incumbent: it is the same process that it was."""
    was = {host.name: _invocation(host, incumbent) for host in before.hosts if host.agent and not host.why}
    wrong = []
    for host in now.hosts:
        invocation = _invocation(host, incumbent)
        if host.agent and not host.why and was.get(host.name) and invocation and invocation != was[host.name]:
            wrong.append(f"{host.name}: {incumbent} was started again")
    return wrong


def _invocation(host: HostFacts, release: str) -> str | None:
    return next((entry.get("invocation_id") for entry in host.releases if entry.get("id") == release and entry.get("active")), None)


def _effects(now: Facts, records: Sequence[Record], *, restarts: bool) -> list[str]:
    """No effect of these records' runs without a step that meant it, and none twice."""
    meant: dict[tuple[str, int], set[str]] = {}
    for record in records:
        if record.kind == "step.intent":
            meant.setdefault((record.run, record.token), set()).add(str(record.data["uses"]))
    runs = {record.run for record in records}
    wrong = []
    for host in now.hosts:
        changed = [
            effect
            for effect in host.effects
            if effect.get("run") in runs and isinstance(effect.get("result"), Mapping) and effect["result"].get("changed")
        ]
        for effect in changed:
            may = _MAY.get(effect["verb"])
            if may is not None and not may & meant.get((effect["run"], effect["token"]), set()):
                wrong.append(f"{host.name}: {effect['verb']} by token {effect['token']}, and no step of that token meant it")
        wrong += _twice(host.name, changed, restarts=restarts)
    return wrong


def _twice(name: str, changed: Sequence[dict[str, Any]], *, restarts: bool) -> list[str]:
    wrong, here, on, weight = [], set[str](), set[str](), None
    for effect in changed:
        verb, result, args = effect["verb"], effect["result"], effect.get("args") or {}
        match verb:
            case "install":
                if result["id"] in here:
                    wrong.append(f"{name}: {result['id']} was installed twice")
                here.add(result["id"])
            case "prune":
                here.difference_update(result.get("removed") or ())
            case "activate":
                if result["id"] in on and not restarts:
                    wrong.append(f"{name}: {result['id']} was activated twice")
                on.add(result["id"])
            case "deactivate":
                on.discard(result["id"])
            case "weight set":
                if args.get("slot_b") == weight and weight is not None:
                    wrong.append(f"{name}: the weight was set to {weight} twice")
                weight = args.get("slot_b")
    return wrong
