"""The controller's side: one wave enqueued, waited for, and read. What became of it is told by its row and by the hosts, never guessed."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from golive.errors import BadInput, Unreachable
from golive.fleet.ansible import PlayResult, Recap
from golive.workers.board import APPLICATION, VERSION, Board, queue_of
from golive.workers.parcel import packed, result_of

if TYPE_CHECKING:
    from golive.actions.port import StepContext
    from golive.environment import Environment
    from golive.fleet.waves import Wave

__all__ = ["JobLost", "play_on_worker", "url_of"]

JSON = dict[str, Any]

_POLL_S = 0.3
_TRIES = 3
"""How many workers may die under one wave before a person is asked."""
_MARGIN = 1.3
"""A worker ends its play by itself before the controller gives it up: so much later."""


class JobLost(Unreachable):
    """What a job did is not known: its worker died, or nobody took it."""


def url_of(env: Environment, site: str) -> str:
    """The database of the workers of ``site``. Raises BadInput when the environment names none."""
    workers = env.settings.workers
    found = workers.get(site or "any") if isinstance(workers, dict) else workers
    if not found:
        raise BadInput(f"inventories/{env.name}/environment.yaml names no database for the workers of {site or 'waves that cross sites'}.")
    return found


def play_on_worker(
    ctx: StepContext,
    wave: Wave,
    playbook: str,
    *,
    hosts: Sequence[str],
    extravars: Mapping[str, Any],
    digest: str = "",
    on_event: Callable[[JSON], None] | None = None,
    inventory: Path | None = None,
) -> PlayResult:
    """``playbook`` was played on ``hosts`` by a worker near them.

    Args:
        ctx: The step; the job carries its token, run and name.
        wave: Which one.
        playbook: Below ``playbooks/``.
        hosts: Those of the wave that are to be played on.
        extravars: As for a play of the controller's own.
        digest: Of what the play is made of, for the traces on the hosts; empty: it leaves none.
        on_event: Told of each event, after the job ended.
        inventory: Another inventory file.

    Raises:
        JobLost: the job vanished as often as that may happen, or no worker is there to take it.
    """
    url = url_of(ctx.env, wave.site)
    board = Board(url)
    began = time.monotonic()
    _patiently(ctx, board.prepare)
    workers = ctx.env.settings.workers
    for other in {url, *(workers.values() if isinstance(workers, dict) else ())}:
        # Of whatever run and site: this controller alone holds the environment, so nobody waits for an earlier job any more.
        _alone(ctx, Board(other), f"{ctx.env.name}/")
    told = {
        **extravars,
        **{
            "dwcp_wave_playbook": playbook,
            "dwcp_wave_play": Path(playbook).stem,
            "dwcp_wave_digest": digest,
            "dwcp_wave_trace": bool(digest),
        },
        **{"dwcp_wave_step": f"{ctx.stage}/{ctx.step}", "dwcp_token": ctx.token, "dwcp_run": ctx.run},
    }
    parcel = packed(ctx.env, hosts, "wave.yml", told, lambda data: _patiently(ctx, lambda: board.put(data)), inventory)
    sent = _patiently(ctx, lambda: board.put(parcel.stream))
    for number in range(1, _TRIES + 1):
        job = f"{ctx.env.name}/{ctx.run}/{ctx.stage}/{ctx.step}/wave-{wave.number}/{ctx.token}.{ctx.attempt}.{number}"
        ctx.note("job.enqueued", {"job": job, "queue": queue_of(ctx.env.name, wave.site), "wave": wave.number, "hosts": list(hosts)})
        text = json.dumps({"id": job, "env": ctx.env.name, "token": ctx.token, "parcel": sent, "files": dict(parcel.files)})
        _patiently(ctx, lambda job=job, text=text: _enqueue(board, url, queue_of(ctx.env.name, wave.site), job, text))  # type: ignore[misc]
        try:
            stream = _waited(ctx, board, job, wave.site)
        except JobLost as lost:
            ctx.note("job.lost", {"job": job, "why": str(lost), "wave": wave.number})
            _alone(ctx, board, job)
            continue
        result = _read(playbook, stream, hosts, time.monotonic() - began, on_event, ctx.workdir / f"wave-{wave.number}.{number}.events")
        ctx.note("job.done", {"job": job, "wave": wave.number, "rc": result.rc})
        return result
    raise JobLost(
        f"{wave}: {_TRIES} workers took its job and none came to an end, so how far it came is unknown; see `./inv worker` there."
    )


def _enqueue(board: Board, url: str, queue: str, job: str, text: str) -> None:
    """The job is on the queue, once: its id is the workflow's."""
    from dbos import DBOSClient

    from golive.workers.process import WORKFLOW

    board.announce(job)
    try:
        client = DBOSClient(system_database_url=url, retry_connection_errors=False, application_name=APPLICATION)
        try:
            client.enqueue({"queue_name": queue, "workflow_name": WORKFLOW, "workflow_id": job, "app_version": VERSION}, text)
        finally:
            client.destroy()
    except Exception as error:  # whatever the driver, the pool or DBOS raise of a database that is not there, or not prepared yet
        raise Unreachable(
            f"The job could not be enqueued: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        ) from None


def _waited(ctx: StepContext, board: Board, job: str, site: str) -> bytes:
    """The artifact stream of a job that came to its end. Raises JobLost when its worker is silent, or brought nothing."""
    patience = ctx.env.settings.workers_lost_s * _MARGIN
    seen: tuple[str | None, int] = (None, -1)
    since = time.monotonic()
    try:
        while True:
            if ctx.stop.wait(_POLL_S):
                ctx.check()
            try:
                row = board.of(job)
                if row is not None and row.result is not None:
                    return board.get(row.result)
                nobody = row is not None and row.worker is None and not _anybody(board, ctx.env.name, site, patience)
            except Unreachable:
                since = time.monotonic()  # a silence of the database is none of the worker's
                continue
            if row is None:
                raise JobLost(f"job {job} is no longer known to the database")
            if row.trouble is not None:
                raise JobLost(row.trouble)
            if (row.worker, row.beat) != seen or (row.worker is None and not nobody):
                seen, since = (row.worker, row.beat), time.monotonic()
            elif time.monotonic() - since > patience:
                if row.worker is None:
                    raise JobLost(
                        f"no worker of {site or 'any site'} is up; start one there: ./inv worker --env {ctx.env.name} --site SITE"
                    )
                raise JobLost(f"worker {row.worker} has been silent for {patience:.0f} s")
    except BaseException:
        with contextlib.suppress(Unreachable):
            board.give_up(job)
        raise


def _anybody(board: Board, env: str, site: str, patience: float) -> bool:
    return any(age < patience and site in ("", where) for where, _, age in board.workers(env))


def _alone(ctx: StepContext, board: Board, prefix: str) -> None:
    """No worker is at work on an earlier job any more: it said so, or was silent for so long that it has ended its play itself."""
    patience = ctx.env.settings.workers_lost_s * _MARGIN
    _patiently(ctx, board.prepare)
    for job in _patiently(ctx, lambda: board.give_up(prefix)):
        seen, since = -1, time.monotonic()
        while True:
            row = _patiently(ctx, lambda job=job: board.of(job))  # type: ignore[misc]
            if row is None or row.ended or time.monotonic() - since > patience:
                break
            if row.beat != seen:
                seen, since = row.beat, time.monotonic()
            if ctx.stop.wait(_POLL_S):
                ctx.check()


def _patiently(ctx: StepContext, call: Callable[[], Any]) -> Any:
    """What ``call`` returns once the database answers; the step's own budget ends the waiting."""
    while True:
        try:
            return call()
        except Unreachable as error:
            ctx.tell("workers", {"waiting": str(error)})
            if ctx.stop.wait(1.0):
                ctx.check()


def _read(
    playbook: str, stream: bytes, hosts: Sequence[str], seconds: float, on_event: Callable[[JSON], None] | None, log: Path
) -> PlayResult:
    recap = Recap(on_event, None)
    status = result_of(stream, recap.take)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(stream)
    if recap.stats is None:
        raise Unreachable(
            f"{playbook} was ended on the worker before it had a result ({status}), so how far it came is unknown; see {log}."
        )
    rc = 4 if recap.stats.get("dark") else 2 if recap.stats.get("failures") else 0 if status == "successful" else 1
    return recap.result(playbook, rc, hosts, seconds, log)
