"""Both releases on hosts of the environment: the receiver at one site, the sender at another, and who asks beside the receiver.

The environment is held for as long as it is measured, so no run begins meanwhile, and none is disturbed: where a process works, or users
may be on a candidate, it is refused before anything changes. Of the two releases the one that does not run is installed and started without
any traffic (no gateway learns of it), and is stopped again afterwards; its files stay, as after a rehearsal.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from golive import actions, engine
from golive.actions._world import Answer, World, ask, change, command, world
from golive.actions.checks_smoke import CONTROL_PORT
from golive.actions.port import Found, StepContext
from golive.engine.holding import held
from golive.engine.lease import Lease
from golive.engine.ports import Ports
from golive.environment import Environment
from golive.errors import GoliveError, Held, Occupied, Unprepared
from golive.fleet.inventory import read_fleet
from golive.fleet.model import Fleet, Host
from golive.gates.verdict import Verdict
from golive.regress.ground import Ask, Ground, Side, ask_with
from golive.releases import Release
from golive.runbook import Pace, RealClock

__all__ = ["beside", "places"]

_TLS = "/etc/dwcp/tls"
_STORE = "/var/lib/dwcp/store"
_IDENTITY = {"ca": f"{_TLS}/ca.crt", "cert": f"{_TLS}/agent.crt", "key": f"{_TLS}/agent.key"}


def places(fleet: Fleet) -> tuple[Host, Host, Host]:
    """Sender, receiver and the receiver's neighbour: two sites, and the neighbour where the load client is. Raises Unprepared."""
    sites = sorted({host.site for host in fleet.agents})
    if len(sites) < 2:
        raise Unprepared(f"Environment {fleet.env} has agents at {len(sites)} site; a regression is measured between two.")
    at = {site: [host for host in fleet.agents if host.site == site] for site in sites}
    receivers = at[sites[0]]
    neighbour = next((host for host in reversed(receivers) if host != receivers[0]), at[sites[1]][0])
    return at[sites[1]][0], receivers[0], neighbour


@contextmanager
def beside(env: Environment, incumbent: Release, candidate: Release) -> Iterator[Ground]:
    """Both run on the receiver until the block is left, and what was started for it is stopped then.

    Raises:
        Occupied: a process works on the environment.
        Held: users may be on a candidate, or a host does not do what it is told.
        Unprepared: neither release runs there, or there are no hosts.
    """
    if env.is_sim:
        raise Unprepared(f"Environment {env.name} has no machines to measure on; `./inv regress --local` measures on this one.")
    fleet = read_fleet(env)
    sender, receiver, neighbour = places(fleet)
    standing = engine.standing(env)
    if standing.holder is not None:
        raise Occupied(
            f"{standing.holder.sentence} holds environment {env.name}; measure when it has ended, as a go-live must not be disturbed."
        )
    if standing.last.open and (standing.last.exposed or standing.last.rolling_back):
        raise Held(
            f"Run {standing.last.run} of {env.name} is {standing.last.outcome} with users on its candidate; finish it with "
            f"`./inv golive --env {env.name}` or take it back, then measure."
        )
    actions.load_all()
    few = Fleet(env=fleet.env, hosts=tuple(host for host in fleet.hosts if host.name in {sender.name, receiver.name} or host.role == "ops"))
    mark = f"regress-{secrets.token_hex(4)}"
    with ExitStack() as left:
        _, lease, journal = left.enter_context(held(env, Ports(), take_over=False))
        run = standing.last.run or "none"
        slots: list[dict[str, Any]] = []
        context = _contexts(env, few, lease, mark, incumbent, candidate, slots)
        runs = _running(env, context("incumbent"), receiver, (incumbent, candidate), slots)
        journal.append("regress.begun", {"candidate": candidate.id, "incumbent": incumbent.id, "hosts": [sender.name, receiver.name]}, run)
        left.callback(lambda: _noted(journal, run))
        _started(left, env, context, receiver, runs, (incumbent, candidate))
        port = _ports(context("incumbent"), receiver, (incumbent, candidate))
        notes = _quiet(left, env, fleet, context("incumbent"))
        there = world(env, few)
        asks = {host.name: _asks(there, host) for host in (sender, receiver)}
        near = asks.get(neighbour.name) or _asks(world(env, few), neighbour)
        work = f"/var/tmp/{mark}"  # noqa: S108 - on a host, its name drawn, made by root
        left.callback(_cleared, asks[sender.name], [work])
        stores = [f"{_STORE}/agent.{host.name}/{mark}" for host in {sender.name: sender, neighbour.name: neighbour}.values()]
        left.callback(_cleared, asks[receiver.name], stores)

        def side(role: str, release: Release) -> Side:
            program = (f"/opt/dwcp/releases/{release.id}/bin/dwcp",)
            unit = {"unit": f"dwcp-agent@{release.id}.service"}
            return Side(role, release.id, program, port[release.id], unit, version=release.version)

        yield Ground(
            where=f"{env.name}: {sender.name} to {receiver.name}, requests from {neighbour.name}",
            incumbent=side("incumbent", incumbent),
            candidate=side("candidate", candidate),
            address=receiver.address,
            sender=asks[sender.name],
            receiver=asks[receiver.name],
            neighbour=near,
            sender_tls=_IDENTITY,
            neighbour_tls=_IDENTITY,
            work=work,
            stores=stores,
            prefix=mark,
            ship=lambda path, content: _shipped(there, sender, path, content),
            notes=notes,
            still=lease.ensure,
        )


Contexts = Callable[[str], StepContext]


def _contexts(
    env: Environment, few: Fleet, lease: Lease, mark: str, incumbent: Release, candidate: Release, slots: list[dict[str, Any]]
) -> Contexts:
    """What actions are given here: as in a run's step, but over few hosts, and what they note stays here."""
    own: dict[str, list[dict[str, Any]]] = {"slot": slots}

    def context(role: str) -> StepContext:
        work: Path = env.state / "regress" / mark / role
        work.mkdir(parents=True, exist_ok=True, mode=0o700)
        return StepContext(
            env=env,
            fleet=lambda: few,
            run=mark,
            stage="regress",
            step=role,
            token=lease.token,
            candidate=candidate.id,
            incumbent=incumbent.id,
            load="",
            params={"release": role},
            clock=RealClock(),
            workdir=work,
            note=lambda kind, data: own.setdefault(kind, []).append(dict(data)),
            facts=lambda kind: list(own.get(kind, ())),
            tell=lambda kind, data: None,
            pace=Pace(),
            mark=f"{env.name}/{mark}/{lease.token}",
            ensure=lease.ensure,
        )

    return context


def _running(env: Environment, ctx: StepContext, receiver: Host, pair: tuple[Release, Release], slots: list[dict[str, Any]]) -> set[str]:
    """Which of the two runs on the receiver; the slot of either, in ``slots``. Raises Unprepared when neither runs."""
    answer = ask(ctx, [receiver])[receiver.name]
    if answer.data is None:
        again = f"`./inv golive --env {env.name} --until infrastructure` puts it right"
        raise Unprepared(f"{answer.trouble.rstrip('.')}; {again}, then measure.")
    there = {entry["id"]: entry for entry in answer.data["releases"]}
    runs = {release.id for release in pair if there.get(release.id, {}).get("active")}
    if not runs:
        raise Unprepared(
            f"Neither {pair[0].id} nor {pair[1].id} runs in {env.name}: `./inv golive --env {env.name} --until infrastructure` installs "
            "and starts the incumbent, then measure."
        )
    taken = {entry["slot"]: id_ for id_, entry in there.items() if entry["active"]}
    for release in pair:
        known = there.get(release.id, {}).get("slot")
        free = next((slot for slot in CONTROL_PORT if taken.get(slot) in (None, release.id)), None)
        if release.id not in runs and taken.get(known, release.id) != release.id:
            known = None  # where it was installed once, another runs now
        if (slot := known or free) is None:
            raise Held(f"{receiver.name}: no slot is free for {release.id}; {', '.join(taken.values())} run there.")
        slots.append({"release": release.id, "slot": slot})
    return runs


def _started(left: ExitStack, env: Environment, context: Contexts, receiver: Host, runs: set[str], pair: tuple[Release, Release]) -> None:
    """The one that does not run is installed, on the sender as well, and runs on the receiver."""
    known = actions.registered()
    for role, release in zip(("incumbent", "candidate"), pair, strict=True):
        ctx = context(role)
        todo = {name: found for name, found in known["release.install"].probe(ctx).items() if found.found is not Found.DONE}
        if todo:
            outcome = known["release.install"].apply(ctx, todo)
            if outcome.verdict is not Verdict.PASS:
                raise Held(f"{release.id} could not be installed to be measured: {outcome.summary}. Nothing of it runs.")
        if release.id not in runs:
            left.callback(_stopped, ctx, receiver, release)
            said = change(ctx, [receiver], "activate", release.id, timeout_s=90)
            _must(said, f"{release.id} did not start to be measured")


def _stopped(ctx: StepContext, receiver: Host, release: Release) -> None:
    said = change(ctx, [receiver], "deactivate", release.id, timeout_s=120)
    _must(said, f"{release.id}, started to be measured, could not be stopped; it has no traffic")


def _must(answers: Mapping[str, Answer], what: str) -> None:
    trouble = [answer.trouble for answer in answers.values() if answer.data is None]
    if trouble:
        raise Held(f"{what}: {trouble[0]}")


def _ports(ctx: StepContext, receiver: Host, pair: tuple[Release, Release]) -> dict[str, int]:
    """The control port of each, by the slot in which the host says that it runs."""
    answer = ask(ctx, [receiver])[receiver.name]
    found = {entry["id"]: entry["slot"] for entry in (answer.data or {}).get("releases", ()) if entry["active"] and entry["slot"]}
    for release in pair:
        if release.id not in found:
            raise Held(f"{receiver.name}: {release.id} does not run, or in no slot: {answer.trouble or found}.")
    return {release.id: CONTROL_PORT[found[release.id]] for release in pair}


def _quiet(left: ExitStack, env: Environment, fleet: Fleet, ctx: StepContext) -> list[str]:
    """The lab's load clients offer nothing while it is measured: only the incumbent would serve them, and be slower for it."""
    if not env.is_lab:
        return ["the incumbent served users meanwhile, the candidate did not: its figures can only look better than they are beside it"]
    at = list(fleet.loads)
    active = {
        name: [entry["id"] for entry in (answer.data or {}).get("load", ()) if entry["active"]] for name, answer in ask(ctx, at).items()
    }
    for name, ids in active.items():
        for load in ids:
            left.callback(_offering, ctx, fleet.named(name), load)
            _must(change(ctx, [fleet.named(name)], "load-stop", load, timeout_s=60), "the load client could not be stopped")
    return ["no users: the lab's load clients were stopped meanwhile"] if any(active.values()) else ["no load client ran"]


def _offering(ctx: StepContext, host: Host, load: str) -> None:
    _must(change(ctx, [host], "load-start", load, timeout_s=60), "the load client did not come back")


def _asks(there: World, host: Host) -> Ask:
    def run(words: list[str], given: bytes, limit_s: float) -> tuple[int, bytes, bytes]:
        got = there.shell.run(host, command(host, *words), input=given, timeout_s=limit_s)
        return got.rc, got.stdout, got.stderr

    return ask_with(run, host.name)


def _shipped(there: World, host: Host, path: str, content: bytes) -> None:
    words = ["sh", "-c", 'mkdir -p "$(dirname "$0")" && cat > "$0"', path]
    got = there.shell.run(host, command(host, *words), input=content, timeout_s=180)
    if got.rc:
        raise Held(f"{host.name}: {path} could not be written: {got.stderr.decode(errors='replace').strip()[:200]}.")


def _cleared(ask_: Ask, paths: list[str]) -> None:
    with contextlib.suppress(GoliveError):  # what is left is named after the measurement, and in nobody's way
        ask_({"do": "remove", "paths": paths}, 60.0)


def _noted(journal: Any, run: str) -> None:
    with contextlib.suppress(GoliveError):
        journal.append("regress.ended", {}, run)
