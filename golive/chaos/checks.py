"""What has to be true after a round, whatever struck: by the hosts' own ledgers, held against the journal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from golive import engine
from golive.engine import Record, RunState
from golive.sim.machine import lives
from golive.sim.world import SimHost, World

__all__ = ["after", "lost_s"]

_MAY = {
    "install": {"release.install"},
    "activate": {"release.activate"},
    "deactivate": {"release.deactivate", "release.retire", "release.activate"},
    "load-start": {"load.start"},
    "load-stop": {"load.start"},
    "prune": {"release.retire"},
    "weight set": {"traffic.shift", "traffic.attach"},
    "slot enable": {"traffic.attach"},
    "slot label": {"traffic.attach"},
    "slot disable": {"traffic.detach", "release.retire"},
    "lease open": {"traffic.shift"},
    "lease pass": {"gate.metrics"},
    "lease close": {"traffic.close"},
    "targets set": {"monitoring.targets"},
}
"""Which kind of step may have which effect on a host."""


def after(world: World, state: RunState, *, may_hold: bool, may_lose: bool, may_abort: bool = False) -> list[str]:
    """Everything that is wrong, as sentences. Empty: the round ended right."""
    journal = engine.open_journal(world.env)
    records = journal.read()
    wrong = [f"journal: {said}" for said in journal.verify()]
    wrong += [] if may_abort and state.outcome == "aborted" else _ended(state, may_hold)
    wrong += _effects(world, records)
    if state.outcome == "succeeded":
        wrong += _fleet(world, str(state.release), str(state.incumbent), held=False)
    elif state.outcome in ("rolled-back", "aborted", "held"):
        # A run that was aborted before the incumbent was there owes nobody anything yet.
        attached = any(record.kind == "step.outcome" and record.step == "incumbent-attached" for record in records)
        held = state.outcome == "held" or (state.outcome == "aborted" and not attached)
        wrong += _fleet(world, str(state.incumbent), str(state.release), held=held) if state.incumbent else []
    if not may_lose:
        wrong += [f"{site}: users got no answer for {seconds:.1f} s" for site, seconds in lost_s(world).items() if seconds > 0]
    return wrong


def _ended(state: RunState, may_hold: bool) -> list[str]:
    if state.outcome in ("succeeded", "rolled-back"):
        return []
    if state.outcome == "held":
        held = state.held or {}
        if not held.get("reason") or not held.get("do"):
            return ["the run is held, and does not say why or what to do"]
        return [] if may_hold else [f"the run is still held after everything was mended: {held['reason']}"]
    return [f"the run ended {state.outcome}"]


def _fleet(world: World, serves: str, gone: str, *, held: bool) -> list[str]:
    """Every host: ``serves`` runs and gets everything, ``gone`` runs nowhere. Of a held run only that somebody serves."""
    wrong, now = [], world.clock.world()
    for agent in world.fleet.agents:
        units = world.host(agent.name).ledger.read().units
        mine, other = units.get(f"dwcp-agent@{serves}.service"), units.get(f"dwcp-agent@{gone}.service")
        if not held and (mine is None or not mine.on or not mine.enabled):
            wrong.append(f"{agent.name} was skipped: {serves} does not run there for good")
        if not held and serves != gone and other is not None and other.on and lives(world, f"dwcp-agent@{gone}.service", other.since, now):
            wrong.append(f"{agent.name}: {gone} still runs")
    for gateway in world.fleet.gateways:
        host = world.host(gateway.name)
        share, slots = host.ledger.read().weight_at(world.clock.world()), _json(host, "slots.json")
        slot = "b" if (share or 0) >= 50 else "a"
        label = (slots.get(slot) or {}).get("release")
        if share is None:
            wrong.append(f"{gateway.name}: HAProxy is down")
        elif not held and (share not in (0, 100) or label != serves):
            wrong.append(f"{gateway.name} was skipped: slot b has {share} %, and slot {slot} is {label}, not {serves}")
        elif not held and (host.places.gateway / "lease.json").exists():
            wrong.append(f"{gateway.name}: the weight's lease is still open")
    return wrong


def _json(host: SimHost, name: str) -> dict[str, Any]:
    try:
        return dict(json.loads((host.places.gateway / name).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def _effects(world: World, records: Sequence[Record]) -> list[str]:
    """No effect without a step that meant it, and none twice."""
    meant: dict[tuple[str, int], set[str]] = {}
    for record in records:
        if record.kind == "step.intent":
            meant.setdefault((record.run, record.token), set()).add(str(record.data["uses"]))
    wrong = []
    for host in (world.host(machine.name) for machine in world.fleet.hosts):
        wrong += _twice(host)
        for effect in _recorded(host):
            may = _MAY.get(effect["verb"])
            known = meant.get((effect["run"], effect["token"]), set())
            if may is not None and effect["result"].get("changed") and not may & known:
                wrong.append(f"{host.name}: {effect['verb']} by token {effect['token']}, and no step of that token meant it")
    return wrong


def _recorded(host: SimHost) -> list[dict[str, Any]]:
    try:
        lines = host.places.effects.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue  # torn by a kill; the next line stands by itself
    return [effect for effect in found if isinstance(effect.get("result"), dict)]


def _twice(host: SimHost) -> list[str]:
    """What the machine's own ledger saw happen again while it was so already."""
    wrong, on, weight = [], set[str](), None
    for event in host.ledger.read().events:
        match event["do"]:
            case "start":
                if event["unit"] in on:
                    wrong.append(f"{host.name}: {event['unit']} was started twice")
                on.add(event["unit"])
            case "stop":
                on.discard(event["unit"])
            case "boot" | "replaced":
                on.clear()
            case "haproxy":
                weight = event["maps"].get("weights.map", {}).get("slot_b") if event["up"] else None
            case "map" if event["map"] == "weights.map":
                if event["value"] == weight:
                    wrong.append(f"{host.name}: the weight was set to {weight} twice")
                weight = event["value"]
    replaced = [event["t"] for event in host.ledger.events if event["do"] == "replaced"]
    if not replaced:
        done = [e["result"]["id"] for e in _recorded(host) if e["verb"] == "install" and e["result"].get("changed")]
        wrong += [f"{host.name}: {release} was installed twice" for release in sorted({one for one in done if done.count(one) > 1})]
    return wrong


def lost_s(world: World) -> dict[str, float]:
    """By site: for how long a slot that had a share had no agent to answer, over everything since the first weight was set."""
    lost = {}
    for gateway in world.fleet.gateways:
        ledger = world.host(gateway.name).ledger.read()
        moments = sorted({at for at, _ in ledger.weights} | {t for s in world.servers(gateway.site) for t in _edges(world.host(s.name))})
        serving = next((at for at, share in ledger.weights if share is not None), None)
        first = _first(world, gateway.site)
        if serving is None or first is None:
            continue
        begin, total = max(serving, first), 0.0
        for at, end in zip(moments, [*moments[1:], world.clock.world()], strict=True):
            share = ledger.weight_at(at)
            if at < begin or share is None:
                continue
            slots = {slot for slot, part in (("a", 100 - share), ("b", share)) if part > 0}
            up = {slot for s in world.servers(gateway.site) for slot in _up(world.host(s.name), at)}
            total += (end - at) if slots - up else 0.0
        lost[gateway.site] = total if total > 0.01 else 0.0
    return lost


def _first(world: World, site: str) -> float | None:
    """When the site first had somebody to answer."""
    begun = [spans[0][0] for s in world.servers(site) for spans in world.host(s.name).ledger.read().spans.values() if spans]
    return min(begun) if begun else None


def _edges(host: SimHost) -> list[float]:
    spans = [span for name, each in host.ledger.read().spans.items() if name.startswith("dwcp-agent@") for span in each]
    return [moment for begin, end, _ in spans for moment in (begin, end) if moment is not None]


def _up(host: SimHost, at: float) -> set[str]:
    spans = [span for name, each in host.ledger.read().spans.items() if name.startswith("dwcp-agent@") for span in each]
    return {slot for begin, end, slot in spans if slot and begin <= at and (end is None or at < end)}
