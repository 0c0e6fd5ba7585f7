"""A run: begun, watched, steered, taken back."""

from __future__ import annotations

from typing import Any

from invoke.context import Context
from invoke.tasks import task

from golive.commands.ending import COMMON, TAKE_OVER, finish, lazily

__all__ = ["abort", "board", "golive", "pause", "report", "resume", "rollback", "schedule", "stage", "status", "worker"]


@task(
    help={
        "env": "environment to work on",
        "release": "version to take live; the environment's own by default",
        "pace": "real or rehearsal",
        "from": "leave out what comes before this stage",
        "until": "stop after this stage; the same command goes on later",
        "dry-run": "say what would happen, in order: Terraform's plan, Ansible's check mode, what gates ask; change nothing",
        "continue": "for timers: go on with a run that is due, else do nothing",
        "take_over": TAKE_OVER,
        "hosts": "sim:N for N simulated hosts; --env sim-N for every other verb",
        **COMMON,
    }
)
def golive(
    _: Context,
    env: str = "",
    release: str = "",
    pace: str = "",
    from_: str = "",
    until: str = "",
    dry_run: bool = False,
    continue_: bool = False,
    take_over: bool = False,
    hosts: str = "",
    json: bool = False,
    debug: bool = False,
) -> None:
    """Take a release to 100 % of traffic behind measured gates, or go on with the run that is not over."""
    options: dict[str, Any] = {"release": release or None, "pace": pace or None, "from_stage": from_ or None, "until_stage": until or None}
    if dry_run:
        finish(lazily("dry_run", env, hosts, **options, going_on=continue_), as_json=json, debug=debug)
    finish(lazily("golive", env, hosts, **options, going_on=continue_, take_over=take_over, quiet=json), as_json=json, debug=debug)


@task(
    positional=["name"],
    help={"name": "stage of runbooks/golive.yaml", "env": "environment to work on", "pace": "real or rehearsal", **COMMON},
)
def stage(_: Context, name: str, env: str = "", release: str = "", pace: str = "", json: bool = False, debug: bool = False) -> None:
    """Run one stage alone."""
    options: dict[str, Any] = {"release": release or None, "pace": pace or None, "from_stage": name, "until_stage": name}
    finish(lazily("golive", env, **options, quiet=json), as_json=json, debug=debug)


@task(help={"env": "environment to work on", "reason": "why, for whoever finds the run standing", **COMMON})
def pause(_: Context, env: str = "", reason: str = "", json: bool = False, debug: bool = False) -> None:
    """Let the running step finish and begin no other; traffic stays as it is and is watched on."""
    finish(lazily("pause", env, reason=reason), as_json=json, debug=debug)


@task(help={"env": "environment to work on", "reason": "why, for the journal", **COMMON})
def resume(_: Context, env: str = "", reason: str = "", json: bool = False, debug: bool = False) -> None:
    """Let a paused run go on; without a living process `golive` continues it."""
    finish(lazily("resume", env, reason=reason), as_json=json, debug=debug)


@task(
    help={
        "env": "environment to work on",
        "reason": "why, for the journal and the report",
        "pace": "real or rehearsal",
        "take_over": TAKE_OVER,
        **COMMON,
    }
)
def abort(
    _: Context, env: str = "", reason: str = "", pace: str = "", take_over: bool = False, json: bool = False, debug: bool = False
) -> None:
    """End the run now, whatever it waits for, by the whole way back when the candidate is on hosts; exit 4 when done."""
    finish(lazily("abort", env, reason=reason, pace=pace or None, take_over=take_over, quiet=json), as_json=json, debug=debug)


@task(
    help={
        "env": "environment to work on",
        "reason": "why: outage, breach, corruption, degradation or security, or words of your own",
        "to": "incumbent; after a sign-off, an earlier version to take live again",
        "pace": "real or rehearsal",
        "take_over": TAKE_OVER,
        **COMMON,
    }
)
def rollback(
    _: Context,
    env: str = "",
    reason: str = "",
    to: str = "incumbent",
    pace: str = "",
    take_over: bool = False,
    json: bool = False,
    debug: bool = False,
) -> None:
    """Send everything back to the incumbent, here or by the process that holds the run; exit 3 when done."""
    options: dict[str, Any] = {"reason": reason, "to": to, "pace": pace or None, "take_over": take_over}
    finish(lazily("rollback", env, **options, quiet=json), as_json=json, debug=debug)


@task(
    help={
        "env": "environment whose run is continued when it is due",
        "remove": "take it away again",
        "print": "only say what would be installed",
        **COMMON,
    }
)
def schedule(_: Context, env: str = "", remove: bool = False, print_: bool = False, json: bool = False, debug: bool = False) -> None:
    """Have a systemd timer go on with the environment's run when it is due, so that no process has to live for days."""
    finish(lazily("schedule", env, remove=remove, only_say=print_), as_json=json, debug=debug)


@task(help={"env": "environment to ask", "watch": "keep showing it", **COMMON})
def status(_: Context, env: str = "", watch: bool = False, json: bool = False, debug: bool = False) -> None:
    """Say where the run stands: stage, traffic, verdicts, hosts."""
    finish(lazily("status", env, watch=watch), as_json=json, debug=debug)


@task(
    help={
        "env": "environment to watch",
        "host": "address to listen on; any but loopback needs --token-file",
        "port": "port to listen on, 8650 by default; 0 for any that is free",
        "token-file": "file with the token that readers have to give",
        **COMMON,
    }
)
def board(
    _: Context, env: str = "", host: str = "127.0.0.1", port: str = "", token_file: str = "", json: bool = False, debug: bool = False
) -> None:
    """Serve a page on which people watch the run; reads only, ends with Ctrl-C."""
    finish(lazily("board", env, host=host, port=port, token_file=token_file, quiet=json), as_json=json, debug=debug)


@task(help={"env": "environment whose last run is reported", "run": "another run of it", **COMMON})
def report(_: Context, env: str = "", run: str = "", json: bool = False, debug: bool = False) -> None:
    """Write the run's report as Markdown and HTML."""
    finish(lazily("report", env, run=run or None), as_json=json, debug=debug)


@task(
    help={
        "env": "environment whose waves it takes",
        "site": "site it stands at",
        "name": "its own for good; this machine's by default",
        **COMMON,
    }
)
def worker(_: Context, env: str = "", site: str = "", name: str = "", json: bool = False, debug: bool = False) -> None:
    """Take waves of a site from the queue and play them, until told to stop."""
    finish(lazily("worker", env, site=site, name=name), as_json=json, debug=debug)
