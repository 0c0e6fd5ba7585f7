"""``inv chaos --env lab``: rounds on real hosts, one after the other."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from golive import engine
from golive.chaos import lab_rounds
from golive.chaos.clock import WallClock
from golive.chaos.lab_faults import named
from golive.chaos.lab_port import HostFacts
from golive.chaos.lab_rounds import BAD, LabRow, drawn
from golive.chaos.lab_stage import LabStage
from golive.chaos.rounds import GOOD
from golive.environment import Environment
from golive.errors import BadInput, Refused
from golive.fleet.inventory import read_fleet
from golive.verbs.package import package

__all__ = ["lab_rounds_of"]

_GROUND_S = 900.0


def lab_rounds_of(env: Environment, seed: int, count: int, *, every_record: bool, rehearsal: bool) -> Iterator[LabRow]:
    """Makes the lab where there is none, and plays ``count`` rounds; every fault is lifted, also those of rounds that died before.

    Raises:
        BadInput: what only simulated hosts can do was asked.
        Unprepared: no clock of a process can be set on this machine.
        Refused: the lab could not be brought to where rounds begin.
    """
    if rehearsal:
        raise BadInput("A rehearsal with faults is one of simulated hosts: ./inv chaos --env lab --hosts sim:200 --rehearsal.")
    plans = [drawn(seed, number, kills_only=every_record) for number in range(1, count + 1)]
    directory = env.state / "chaos"
    directory.mkdir(exist_ok=True)
    stage, clock = LabStage(env, directory / "commands.log"), WallClock(directory)
    with _lifted(env, stage):
        _grounded(env, stage)
        if any(plan.candidate == BAD for plan in plans):
            package(env, release="3.0.1", defect="errors=2%")
        for plan in plans:
            fleet = read_fleet(env)
            yield lab_rounds.struck(env, fleet, stage, plan, clock)
            if named(plan.kind).replaces or engine.standing(env).last.open:
                _grounded(env, stage)


@contextmanager
def _lifted(env: Environment, stage: LabStage) -> Iterator[None]:
    """Nothing that a round changed is left changed, however this process is told to end."""
    before = {number: signal.signal(number, lab_rounds.interrupted) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        if (env.state / "fleet.json").exists():
            stage.mend()
        yield
    finally:
        if (env.state / "fleet.json").exists():
            stage.mend()
        for number, handler in before.items():
            signal.signal(number, handler)


def _serving(env: Environment, stage: LabStage) -> bool:
    """Whether the lab stands already as a round leaves it, so that nothing has to be made."""
    last = engine.standing(env).last
    if not (env.state / "fleet.json").exists() or last.run is None or last.open or last.signed_off or last.incumbent is None:
        return False
    agents = [host for host in stage.facts(None).hosts if host.agent]
    return bool(agents) and all(_runs(host, last.incumbent) for host in agents)


def _runs(host: HostFacts, release: str) -> bool:
    weight = host.weight or {}
    return any(entry["id"] == release and entry.get("active") for entry in host.releases) and (
        not host.gateway or (weight.get("runtime") is not None and weight.get("lease") is None)
    )


def _grounded(env: Environment, stage: LabStage) -> None:
    """The incumbent serves, users are there, and no run is open: what a round begins from."""
    if engine.standing(env).last.open:
        _typed(stage, ("abort", "--env", env.name, "--reason", "rounds begin"), (0, 3, 4))
    if _serving(env, stage):
        return
    _typed(stage, ("golive", "--env", env.name, "--release", GOOD, "--from", "infrastructure", "--until", "infrastructure"), (0,))
    serving = engine.standing(env).last.incumbent
    if serving is not None and serving.startswith(f"{GOOD}-"):
        raise Refused(f"{GOOD} is live here already; rounds take it live: begin with `./inv destroy --env {env.name}`.")


def _typed(stage: LabStage, words: tuple[str, ...], right: tuple[int, ...]) -> None:
    command = stage.type(words)
    try:
        status = command.waited(_GROUND_S)
    finally:
        command.end()
    if status not in right:
        raise Refused(f"`./inv {' '.join(words)}` ended with {status}, and rounds cannot begin: {command.said[:300]}")
