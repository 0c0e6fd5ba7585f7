"""``inv status``: where the run and the hosts stand, asked now. Reads only."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from golive import engine
from golive.engine import RunState, Standing
from golive.environment import Environment
from golive.errors import GoliveError
from golive.fleet.inventory import read_fleet
from golive.fleet.model import Fleet, Host
from golive.fleet.port import Commands, stand_in
from golive.fleet.ssh import Shell
from golive.fleet.tunnel import proxy
from golive.verbs._watch import watched
from golive.verbs.result import Result
from golive.views.asks import asks
from golive.views.view import version_of

__all__ = ["status"]

JSON = dict[str, Any]

_NOT_FOUND = 127
_SCRAPED_WITHIN_S = 30.0


def status(env: Environment, *, watch: bool = False) -> Result:
    """One picture of the environment; with ``watch`` after having shown its run until that is over or the reader has seen enough.

    What a host or gateway does not say now is ``unreachable`` or taken from the journal, and then called so.
    """
    if watch:
        watched(env)
    standing = engine.standing(env)
    fleet = _fleet(env)
    with ExitStack() as stack:
        shell = _shell(env, fleet, stack) if fleet is not None else None
        traffic, source = _traffic(standing, fleet, shell)
        data = {
            **_run(env, standing),
            "traffic": traffic,
            "traffic_from": source,
            "hosts": [_with_aside(row, standing) for row in _hosts(fleet, shell)],
            "requests": _requests(env, fleet, standing.last),
        }
    return Result(data, _text(data, standing))


def _shell(env: Environment, fleet: Fleet, stack: ExitStack) -> Commands:
    hosts = stand_in(env)
    shell: Commands = Shell(env, fleet) if hosts is None else hosts.shell(fleet)
    stack.callback(shell.close)
    return shell


def _fleet(env: Environment) -> Fleet | None:
    try:
        return read_fleet(env)
    except GoliveError:
        return None


def _run(env: Environment, standing: Standing) -> JSON:
    state = standing.last
    gate = state.gates[-1] if state.gates else {}
    trigger = state.triggers[0].get("reason") if state.triggers else gate.get("trigger")
    return {
        "schema": 1,
        "env": env.name,
        "run": state.run,
        "outcome": state.outcome,
        "stage": state.stage,
        "step": state.step,
        "release": version_of(state.release),
        "incumbent": version_of(state.incumbent),
        "max_candidate_weight": state.max_candidate_weight,
        "verdict": {"gate": gate.get("verdict"), "trigger": trigger},
        "wave": state.wave,
        "aside": state.aside,
        "held": state.held,
        "paused": state.paused,
        "aborting": state.aborting,
        "waiting_until": _waiting_until(state),
        "asks": [{"of": ask.of, "what": ask.what} for ask in asks(state, alive=standing.holder is not None)],
        "approvals": [
            {name: question.get(name) for name in ("stage", "step", "roles", "count", "expires", "not_by")}
            | {"answers": [{name: answer[name] for name in ("person", "role", "decision")} for answer in question["answers"]]}
            for question in engine.open_questions(state)
        ],
        "waived": [{"step": where, "why": step.summary} for where, step in state.steps.items() if step.status == "waived"],
        "not_told": [entry for entry in state.notices if entry["is"] != "sent"],
        "holder": standing.holder.sentence if standing.holder is not None else None,
        "started": state.started,
        "ended": state.ended,
    }


def _waiting_until(state: RunState) -> str | None:
    """When the stage is due that a run waits for, with or without a process; None for one that waits for nothing, or not for time."""
    if not state.open:
        return None
    if state.held is not None:
        until = state.held.get("waiting_until")
        return str(until) if until else None
    stage = state.stages.get(state.stage or "")
    return stage.due if stage is not None and stage.status == "waiting" and not state.rolling_back else None


def _traffic(standing: Standing, fleet: Fleet | None, shell: Commands | None) -> tuple[JSON, str]:
    """Percent by version at each gateway, as the gateways do it now; where one does not say, as the journal last saw them all."""
    state = standing.last
    known = {release: 0 for release in (state.release, state.incumbent) if release}
    if fleet is not None and shell is not None and fleet.agents:
        from golive.traffic import traffic_of

        try:
            read = traffic_of(shell, fleet, run="status", token=0, candidate_slot="a").read()
            return {point: _by_version({**known, **weights.by_release()}) for point, weights in sorted(read.items())}, "gateways"
        except GoliveError:
            pass
    return {gateway: _by_version(weights) for gateway, weights in sorted(state.traffic.items())}, "journal"


def _by_version(weights: Mapping[str, float]) -> dict[str, float]:
    """A version may have been built twice: then its releases share one entry."""
    shares: dict[str, float] = {}
    for release, percent in weights.items():
        name = version_of(release) or release
        shares[name] = shares.get(name, 0) + percent
    return {name: int(share) if share == int(share) else share for name, share in shares.items()}


def _hosts(fleet: Fleet | None, shell: Commands | None) -> list[JSON]:
    """Every host: ``up``, ``bare`` (nothing of the toolkit on it) or ``unreachable``, and the agents that run there."""
    if fleet is None or shell is None:
        return []
    answers: dict[str, Any] = {}
    for privileged in (True, False):
        hosts = [host for host in fleet.hosts if (host.ssh_user == "root") is privileged]
        words = ["dwcp-host", "status"] if privileged else ["sudo", "-n", "dwcp-host", "status"]
        answers |= shell.each(hosts, words, timeout_s=15) if hosts else {}
    return [_host(host, answers.get(host.name)) for host in fleet.hosts]


def _host(host: Host, got: Any) -> JSON:
    said: JSON = {"name": host.name, "site": host.site, "state": "unreachable", "running": []}
    if got is None or isinstance(got, GoliveError):
        return said
    if got.rc == _NOT_FOUND or b"command not found" in got.stderr:
        return {**said, "state": "up" if host.role == "ops" else "bare"}
    try:
        rows = json.loads(got.stdout)["releases"]
        running = [{"version": row["version"], "digest": row["digest"], "unit": row["unit"]} for row in rows if row["active"]]
    except (ValueError, KeyError, TypeError):
        return {**said, "state": "unknown"}
    return {**said, "state": "up", "running": running}


def _with_aside(row: JSON, standing: Standing) -> JSON:
    """A host that the run goes on without says so; what it answers now stays."""
    known = standing.last.aside.get(row["name"])
    return {**row, "set_aside": known} if known else row


def _requests(env: Environment, fleet: Fleet | None, state: RunState) -> JSON:
    """Requests of all load clients during the run, from their counters; null where those cannot be read."""
    unknown = {"total": None, "failed": None}
    if state.requests["total"]:
        return dict(state.requests)
    if fleet is None or state.started is None or env.is_sim:
        return unknown
    from datetime import datetime

    from golive.gates.adapters import Prometheus, operator_tls

    end = datetime.fromisoformat(state.ended).timestamp() if state.ended else time.time()
    begin = datetime.fromisoformat(state.started).timestamp()
    try:
        prometheus = Prometheus(fleet.ops.address, operator_tls(env.state / "pki"), proxy=proxy(env, fleet))
    except GoliveError:
        return unknown
    try:
        counted = [prometheus.raw("dwcp_load_requests_total", {"job": "load"}, _SCRAPED_WITHIN_S, at) for at in (begin, end)]
    finally:
        prometheus.close()
    after = counted[1]
    if not isinstance(after, list):
        return unknown
    before = {_key(track.labels): float(track.series.value[-1]) for track in counted[0]} if isinstance(counted[0], list) else {}
    total = failed = 0.0
    for track in after:
        was, now = before.get(_key(track.labels), 0.0), float(track.series.value[-1])
        # A counter that is lower than before belongs to a client that was started anew during the run.
        more = now - was if now >= was else now
        total += more
        failed += more if track.labels.get("result") != "ok" else 0.0
    return {"total": round(total), "failed": round(failed)}


def _key(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _text(data: JSON, standing: Standing) -> str:
    if standing.last.run is None:
        lines = [f"No run was ever started in {data['env']}; `./inv golive --env {data['env']}` starts one."]
    else:
        where = "/".join(part for part in (data["stage"], data["step"]) if part)
        lines = [
            f"{data['env']}: run {data['run']} of {data['release']} against {data['incumbent'] or 'nothing'}: {data['outcome']} at {where}"
        ]
    if standing.last.held:
        lines.append(f"  {standing.last.held.get('reason')} {standing.last.held.get('do') or ''}".rstrip())
    if data["paused"]:
        lines.append(f"  paused by {data['paused']['by']} at {data['paused']['at']}: {data['paused']['reason']}")
    if data["aborting"]:
        lines.append(f"  to be ended, asked by {data['aborting']['by']}: {data['aborting']['reason']}")
    if data["waiting_until"]:
        lines.append(f"  waits until {data['waiting_until']}")
    lines += [f"  asked of {ask['of']}: {ask['what']}" for ask in data["asks"]]
    if (standing.last.rollback or {}).get("overruns"):
        late = ", ".join(f"{over['stage']} ({over['seconds']:.0f} s)" for over in (standing.last.rollback or {})["overruns"])
        lines.append(f"  the way back took longer than its budget: {late}")
    lines += _people(data)
    if standing.last.open and (wave := data["wave"]) is not None:
        where = f", {wave['site']}" if wave["site"] else ""
        lines.append(f"  wave {wave['wave']} of {wave['of']}{where} of step {wave['step']} {'done' if wave['done'] else 'under way'}")
    if data["holder"]:
        lines.append(f"  held by {data['holder']}")
    if data["verdict"]["gate"]:
        lines.append(f"  last gate {data['verdict']['gate']}" + (f", {data['verdict']['trigger']}" if data["verdict"]["trigger"] else ""))
    for gateway, weights in data["traffic"].items():
        told = " (by the journal)" if data["traffic_from"] == "journal" else ""
        lines.append(f"  {gateway}: {', '.join(f'{version} {share} %' for version, share in sorted(weights.items()))}{told}")
    for host in data["hosts"]:
        running = ", ".join(f"{row['version']} ({row['digest'][:12]})" for row in host["running"])
        lost = f"; set aside, {host['set_aside']['state']}: {host['set_aside']['reason']}" if host.get("set_aside") else ""
        lines.append(f"  {host['name']}: {host['state']}{', ' + running if running else ''}{lost}")
    if data["requests"]["total"] is not None:
        lines.append(f"  {data['requests']['total']:,} requests, {data['requests']['failed']:,} failed")
    return "\n".join(lines)


def _people(data: JSON) -> list[str]:
    """Who is asked, what was waived, who could not be told."""
    lines = []
    for asked in data["approvals"]:
        given = ", ".join(f"{answer['decision']} by {answer['person']}" for answer in asked["answers"]) or "no answer yet"
        lines.append(
            f"  waits for {asked['count']} approval(s) of {' or '.join(asked['roles'])} at {asked['stage']}/{asked['step']} until "
            f"{asked['expires']} ({given}): ./inv approve --env {data['env']} --stage {asked['stage']}"
        )
    lines += [f"  WAIVED {waived['step']}: {waived['why']}" for waived in data["waived"]]
    unrouted = [entry for entry in data["not_told"] if entry["is"] == "unrouted"]
    if unrouted:
        whom = sorted({str(name) for entry in unrouted for name in entry.get("to") or ()})
        lines.append(f"  nobody was told {len(unrouted)} times: no route for {', '.join(whom)} in inventories/{data['env']}/notify.yaml")
    for entry in [entry for entry in data["not_told"] if entry not in unrouted][-5:]:
        why = entry.get("why") or "it may or may not have gone out"
        lines.append(f"  not told ({entry['key']}{', ' + entry['route'] if entry.get('route') else ''}): {why}")
    return lines
