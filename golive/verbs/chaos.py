"""``inv chaos``: faults from a seed, and whether every run that they struck ended right."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from golive.chaos import postgres, rounds
from golive.chaos.rounds import Plan, Row
from golive.environment import Environment
from golive.errors import BadInput
from golive.evidence import Subject, record, toolkit_source, unchanged, unkept
from golive.evidence.judging import VALID
from golive.verbs._chaos_lab import lab_rounds_of
from golive.verbs._place import writable
from golive.verbs.result import Result

__all__ = ["chaos"]

_FAILED = 1


def chaos(
    env: Environment,
    *,
    seed: int = 1,
    count: int = 20,
    every_record: bool = False,
    rehearsal: bool = False,
    keep: str = "",
    quiet: bool = False,
) -> Result:
    """Plays rounds on simulated hosts; exit code 0 only when every one of them ended right.

    Args:
        env: as ``--env lab --hosts sim:N`` or ``--env sim-N`` gives it.
        seed: decides everything that is drawn.
        count: how many rounds.
        every_record: instead of drawn rounds: kill -9 at each journal record of a whole run, one run a record.
        rehearsal: instead: one whole run, T-7d to T+24h, with several faults in it.
        keep: a file that gets the result as JSON.
        quiet: say nothing while it goes.
    """
    if not env.is_lab:
        raise BadInput(
            f"Faults are for simulated hosts (./inv chaos --env lab --hosts sim:200) and for the lab's, not for the hosts of {env.name}."
        )
    if not isinstance(env.journal, Path):
        raise BadInput(
            f"Rounds are played in a journal that is a file, and {env.name}'s is a database that others may share: "
            "unset GOLIVE_JOURNAL, or take `journal:` out of its environment.yaml."
        )
    writable("--keep", keep)
    if count < 1:
        raise BadInput(f"--rounds must be at least 1, not {count}.")
    started, toolkit = datetime.now(UTC), toolkit_source()
    asked = "--rehearsal" if rehearsal else "--every-record" if every_record and env.is_sim else f"--rounds {count}"
    if env.is_sim:
        kind = "rehearsal" if rehearsal else "records" if every_record else "sim"
        result = _on_simulated(env, seed, count, every_record, rehearsal, keep, quiet)
    else:
        kind, asked = ("lab-records", f"{asked} --every-record") if every_record else ("lab", asked)
        played = lab_rounds_of(env, seed, count, every_record=every_record, rehearsal=rehearsal)
        result = _played(env, seed, played, keep, quiet)
    command = f"./inv chaos --env {env.name} --seed {seed} {asked}"
    why = unkept(lambda: _recorded(kind, result, command, toolkit, started))
    return Result(result.data, result.text + why, result.exit_code)


def _on_simulated(env: Environment, seed: int, count: int, every_record: bool, rehearsal: bool, keep: str, quiet: bool) -> Result:
    hosts = f"sim:{env.name.removeprefix('sim-')}"
    plans = [] if rehearsal or every_record else [rounds.drawn(seed, number) for number in range(1, count + 1)]
    if any(plan.fault.database for plan in plans):
        postgres.programs()
    with rounds.ground(hosts) as root:
        if rehearsal:
            played: Iterable[Row] = [rounds.rehearsal(root, hosts, seed)]
        elif every_record:
            played = _every_record(root, hosts)
        else:
            played = _side_by_side(root, hosts, plans)
        return _played(env, seed, played, keep, quiet)


def _recorded(kind: str, result: Result, command: str, toolkit: Subject, started: datetime) -> None:
    """The rounds as evidence of the toolkit, once all that were asked for were played by the same one."""
    unchanged([toolkit])
    rows = result.data.get("rows", [])
    record(
        check=f"chaos.{kind}",
        subjects=[toolkit],
        command=command,
        result="PASS" if rows and result.exit_code == 0 else "FAIL",
        summary=result.text,
        facts={**result.data},
        output=json.dumps(result.data).encode(),
        started=started,
        valid_for=VALID["chaos"],
    )


def _played(env: Environment, seed: int, played: Iterable[Row], keep: str, quiet: bool) -> Result:
    rows: list[Row] = []
    data: dict[str, Any] = {}
    for row in played:
        rows.append(row)
        data = {"schema": 1, "env": env.name, "seed": seed, "rounds": len(rows), "rows": [one.to_json() for one in rows]}
        if keep:  # after each: hours of rounds are not lost with the last of them
            Path(keep).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        if not quiet:
            print(_line(row), file=sys.stderr, flush=True)
    return Result(data, _text(rows), 0 if all(row.ok for row in rows) else _FAILED)


def _side_by_side(root: Path, hosts: str, plans: list[Plan]) -> Iterable[Row]:
    """As many rounds at a time as there are processors; each in a process that starts its controllers by fork."""
    with ProcessPoolExecutor(_together(), mp_context=get_context("fork")) as pool:
        yield from pool.map(_Played(root, hosts), plans)


def _together() -> int:
    """Rounds at a time: time passes in none, so that they work and do not wait."""
    return len(os.sched_getaffinity(0))


class _Played:
    def __init__(self, root: Path, hosts: str) -> None:
        self._root, self._hosts = root, hosts

    def __call__(self, plan: Plan) -> Row:
        return rounds.struck(self._root, self._hosts, plan)


def _every_record(root: Path, hosts: str) -> Iterable[Row]:
    """A run is killed at record 1, 2, 3, ... and gone on with."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:  # a world opened here would be every child's
        left = pool.submit(rounds.kill_points, root, hosts).result()
    with ProcessPoolExecutor(_together(), mp_context=get_context("fork")) as pool:
        # Spread over the run: whoever stops before the end has seen something of every stage.
        yield from pool.map(_Resumed(root, hosts), sorted(range(1, len(left) + 1), key=lambda number: (number % 8, number)))


class _Resumed:
    def __init__(self, root: Path, hosts: str) -> None:
        self._root, self._hosts = root, hosts

    def __call__(self, number: int) -> Row:
        return rounds.resumed(self._root, self._hosts, number)


def _line(row: Row) -> str:
    recovery = "-" if row.recovery_s is None else f"{row.recovery_s:.1f} s"
    told = f"{row.round:4d}  {'ok   ' if row.ok else 'WRONG'}  {row.fault} at {row.at}{'' if row.struck else ' (not reached)'}"
    told += f", {row.candidate}: {row.end}, recovered in {recovery}, {row.commands} commands, {row.seconds:.1f} s"
    return told + "".join(f"\n        {sentence}" for sentence in row.wrong[:6])


def _text(rows: list[Row]) -> str:
    wrong = [row for row in rows if not row.ok]
    ends: dict[str, int] = {}
    for row in rows:
        ends[row.end] = ends.get(row.end, 0) + 1
    times = sorted(row.recovery_s for row in rows if row.recovery_s is not None)
    told = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
    recovered = f"; recovered in {times[len(times) // 2]:.1f} s at the median, {times[-1]:.1f} s at most" if times else ""
    seconds = sum(row.seconds for row in rows)
    return f"{len(rows)} rounds, {len(wrong)} wrong ends: {told}{recovered}. {seconds:.0f} s of work."
