"""``inv validate``: each component against its bars, parts together, and the whole between hosts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from golive.environment import Environment
from golive.errors import BadInput
from golive.evidence import unkept
from golive.regress.fleet import beside
from golive.regress.ground import Ground
from golive.regress.kept import keep
from golive.regress.loopback import loopback
from golive.regress.told import document, in_words, passed
from golive.regress.tolerances import read_policy
from golive.validate.components import components
from golive.validate.end_to_end import end_to_end
from golive.validate.integration import integration
from golive.verbs.regress import ended_whole, pair_of
from golive.verbs.result import Result

__all__ = ["SUITES", "validate"]

SUITES = ("components", "integration", "end-to-end")


def validate(env: Environment, *, suite: str = "", local: bool = False, long: bool = False, quiet: bool = False) -> Result:
    """Measures ``suite``, or all three; exit code 0 only when every row passes, else 4.

    What is no part of the product yet is a row that says so, and no pass.

    Args:
        env: whose hosts and release, for what goes from end to end.
        suite: one of them.
        local: end to end on this machine over loopback, without any host.
        long: 1 GiB, too.
        quiet: tell nothing meanwhile.

    Raises:
        BadInput: there is no such suite.
        Occupied, Held, Unprepared: the hosts cannot be measured as they are.
    """
    if suite and suite not in SUITES:
        raise BadInput(f"There is no suite {suite!r}; known are {', '.join(SUITES)}.")
    chosen, started, bars = [suite] if suite else list(SUITES), datetime.now(UTC), read_policy().end_to_end
    candidate, incumbent = pair_of(env, None)
    tell = _tell(quiet)
    rows: list[dict[str, Any]] = []
    where = "this machine"
    notes: list[str] = []
    if "end-to-end" in chosen:  # first: whether the hosts can be used is known before anything takes minutes
        place: AbstractContextManager[Ground] = loopback(incumbent, candidate) if local else beside(env, incumbent, candidate)
        with ended_whole(), place as ground:
            where, notes = ground.where, list(ground.notes)
            rows += end_to_end(ground, bars, tell, long=long)
    if "integration" in chosen:
        rows = [*integration(tell), *rows]
    if "components" in chosen:
        rows = [*components(tell), *rows]
    words = [
        "./inv validate",
        *([suite] if suite else []),
        f"--env {env.name}",
        *(["--local"] if local else []),
        *(["--long"] if long else []),
    ]
    told = document(" ".join(words), started, rows, where, env=env.name, release=candidate.id, suites=chosen, notes=notes)
    check, place_of = f"validate.{suite}" if suite else "validate", None if local else env.name
    why = unkept(lambda: keep(check, place_of, candidate, [], told, started))
    found = told["counts"]
    said = (
        f"{found['PASS']} rows pass, {found['FAIL']} fail, {found['UNKNOWN']} say nothing. {' '.join(f'{note}.' for note in notes)}".strip()
    )
    return Result(told, f"{in_words(rows, f'{candidate.id}: {where}', peer='peer')}\n{said}{why}", 0 if passed(rows) else 4)


def _tell(quiet: bool) -> Callable[[str], None]:
    return (lambda line: None) if quiet else (lambda line: print(line, file=sys.stderr, flush=True))
