"""Machines: looked at, made or adopted, compared, checked, given back."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from golive.commands.ending import COMMON, finish, lazily

__all__ = ["destroy", "drift", "molecule", "preflight", "provision", "restore", "verify", "wan"]


@task(help={"env": "environment to look at", "deadline": "seconds for all hosts together, 90 by default", **COMMON})
def preflight(_: Context, env: str = "", deadline: str = "", json: bool = False, debug: bool = False) -> None:
    """Tell every problem of every host and of this machine, before anything is touched; exit 4 when there is one."""
    finish(lazily("preflight", env, deadline=deadline), as_json=json, debug=debug)


@task(help={"env": "environment to provision", **COMMON})
def provision(_: Context, env: str = "", json: bool = False, debug: bool = False) -> None:
    """Make or adopt the environment's hosts; run again, it changes nothing."""
    finish(lazily("provision", env), as_json=json, debug=debug)


@task(help={"env": "environment to look at", **COMMON})
def drift(_: Context, env: str = "", json: bool = False, debug: bool = False) -> None:
    """Name what differs from the declaration; exit 6 when something does."""
    finish(lazily("drift", env), as_json=json, debug=debug)


@task(help={"env": "environment to remove", "image": "the lab's host image too", **COMMON})
def destroy(_: Context, env: str = "", image: bool = False, json: bool = False, debug: bool = False) -> None:
    """Remove the lab from this machine; forget an environment whose hosts are yours."""
    finish(lazily("destroy", env, with_image=image), as_json=json, debug=debug)


@task(help={"env": "environment to check", **COMMON})
def verify(_: Context, env: str = "", json: bool = False, debug: bool = False) -> None:
    """Check every host over SSH against what is live; exit 4 when a check does not pass."""
    finish(lazily("verify", env, quiet=json), as_json=json, debug=debug)


@task(
    help={
        "env": "environment of the host",
        "host": "agent host whose store is lost",
        "snapshot": "id, as the report or restic says it",
        "reason": "why, for the journal",
        **COMMON,
    }
)
def restore(
    _: Context, env: str = "", host: str = "", snapshot: str = "", reason: str = "", json: bool = False, debug: bool = False
) -> None:
    """After a disaster only: make a host's store that of a snapshot; rollback never does this."""
    finish(lazily("restore", env, host=host, snapshot=snapshot, reason=reason), as_json=json, debug=debug)


@task(help={"env": "lab to use", "role": "one role; every role by default", **COMMON})
def molecule(_: Context, env: str = "", role: str = "", json: bool = False, debug: bool = False) -> None:
    """Apply each role twice and in check mode on hosts of the lab, and look at what it did; exit 4 when a step does not pass."""
    finish(lazily("molecule", env, role=role or None, quiet=json), as_json=json, debug=debug)


@task(
    help={
        "env": "the lab",
        "link": "one link, as in ams-nyc; every link by default",
        "rtt": "delay there and back, as in 80ms",
        "jitter": "how far a packet's delay is off at most, as in 5ms",
        "rate": "each way, as in 200mbit or 1gbit",
        "loss": "share of packets lost each way, as in 0.5%",
        **COMMON,
    }
)
def wan(
    _: Context,
    env: str = "lab",
    link: str = "",
    rtt: str = "",
    jitter: str = "",
    rate: str = "",
    loss: str = "",
    json: bool = False,
    debug: bool = False,
) -> None:
    """Show what the links between the lab's sites do, or change it while they are used."""
    finish(lazily("wan", env, link=link or None, rtt=rtt, jitter=jitter, rate=rate, loss=loss), as_json=json, debug=debug)
