"""``inv regress``: the candidate beside the incumbent, turn by turn, on the environment's hosts or on this machine alone."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from golive import engine, releases
from golive.environment import Environment
from golive.errors import BadInput
from golive.evidence import unkept
from golive.regress.fleet import beside
from golive.regress.ground import Ground
from golive.regress.kept import keep
from golive.regress.loopback import loopback
from golive.regress.measures import Extent, compared
from golive.regress.told import document, in_words, markdown, passed
from golive.regress.tolerances import read_policy
from golive.releases import Release
from golive.verbs._place import writable
from golive.verbs.golive import _ids
from golive.verbs.result import Result

__all__ = ["ended_whole", "pair_of", "regress"]

_LONG = Extent(pairs=0, sizes_mib=(1, 16, 64, 1024), connections=(10, 100, 1000), requests=2000, switched_mib=64)


def regress(
    env: Environment,
    *,
    release: str | None = None,
    local: bool = False,
    long: bool = False,
    pairs: str = "",
    only: str = "",
    report: str = "",
    quiet: bool = False,
) -> Result:
    """Measures ``release`` (the environment's own by default) beside what it would replace; exit code 0 only when every row passes, else 4.

    Args:
        env: whose hosts, and whose releases.
        release: version of the candidate.
        local: on this machine over loopback, without any host.
        long: 1 GiB and 1000 connections too.
        pairs: instead of the policy's number.
        only: what measures begin with, as in ``requests`` or ``transfer-64``; such a part is no evidence.
        report: write the table in Markdown into this file too.
        quiet: tell nothing meanwhile.

    Raises:
        Occupied: a process works on the environment, or took it over meanwhile.
        BadInput, Unprepared, Held: it cannot be measured there as it is; the message says what to type first.
    """
    writable("--report", report)
    policy, started = read_policy(), datetime.now(UTC)
    extent = _extent(policy.pairs, pairs, long)
    candidate, incumbent = pair_of(env, release)
    place: AbstractContextManager[Ground] = loopback(incumbent, candidate) if local else beside(env, incumbent, candidate)
    rows = []
    with ended_whole(), place as ground:
        for row in compared(ground, policy, extent, _tell(quiet), only=only):
            rows.append(row.to_json())
        where, notes = ground.where, list(ground.notes)
    words = ["./inv regress", f"--env {env.name}", f"--release {candidate.version}"]
    words += [
        option for option, given in (("--local", local), ("--long", long), (f"--pairs {pairs}", pairs), (f"--only {only}", only)) if given
    ]
    roles = {"candidate": candidate.id, "incumbent": incumbent.id}
    told = document(" ".join(words), started, rows, where, env=env.name, **roles, notes=notes)
    place_of = None if local else env.name
    why = "" if only else unkept(lambda: keep("regress", place_of, candidate, [incumbent], told, started))
    title = f"{candidate.id} beside {incumbent.id}: {where}"
    if report:
        lines = [f"# {title}", "", f"{told['command']}, {told['started']}, {told['machine']}", "", markdown(rows), "", *notes]
        Path(report).write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = told["counts"]
    said = f"{found['PASS']} rows pass, {found['FAIL']} fail, {found['UNKNOWN']} are not decided. {' '.join(f'{note}.' for note in notes)}"
    return Result(told, f"{in_words(rows, title)}\n{said}{why}", 0 if passed(rows) else 4)


def _extent(of_policy: int, pairs: str, long: bool) -> Extent:
    if pairs and not (pairs.isdecimal() and 5 <= int(pairs) <= 200):
        raise BadInput(f"--pairs {pairs!r} is no number from 5 to 200.")
    asked = _LONG if long else Extent(pairs=0)
    return replace(asked, pairs=int(pairs) if pairs else of_policy)


def pair_of(env: Environment, version: str | None) -> tuple[Release, Release]:
    """Candidate and incumbent; of a release that is live already, the one that was live before it.

    Raises BadInput when there is nothing to compare with.
    """
    candidate, incumbent, _ = _ids(env, version)
    if candidate == incumbent:
        earlier = [release for release in engine.standing(env).earlier if release != candidate]
        first = env.settings.first_incumbent
        if earlier:
            incumbent = earlier[0]
        elif first is not None and first != releases.find_id(candidate).version:
            incumbent = releases.newest(first).id
        else:
            raise BadInput(f"{candidate} is live in {env.name} and nothing was before it; name another candidate with --release.")
    if incumbent is None:
        raise BadInput(f"Nothing serves in {env.name} by its settings; name it as first_incumbent in its environment.yaml.")
    return releases.verified(env, candidate), releases.verified(env, incumbent)


@contextmanager
def ended_whole() -> Iterator[None]:
    """Who ends this process by SIGTERM gets what Ctrl-C gives: what was started is stopped first."""

    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tell(quiet: bool) -> Callable[[str], None]:
    return (lambda line: None) if quiet else (lambda line: print(line, file=sys.stderr, flush=True))
