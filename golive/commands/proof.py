"""Tests, measurements and faults."""

from __future__ import annotations

from typing import Any

from invoke.context import Context
from invoke.tasks import task

from golive.commands.ending import COMMON, finish, lazily
from golive.verbs.result import Result

__all__ = ["bench", "chaos", "regress", "test", "validate"]


@task(
    help={
        "long": "what takes more than half an hour too",
        "no-lab": "leave out what needs root and the lab",
        "suite": "run one part alone: core, datapath or prodlike",
        "sanitize": "with --suite core: under sanitizers and valgrind too",
        **COMMON,
    }
)
def test(
    _: Context,
    long: bool = False,
    no_lab: bool = False,
    suite: str = "",
    sanitize: bool = False,
    json: bool = False,
    debug: bool = False,
) -> None:
    """Run the tests: style, types, units, the agent, real tools, and the whole product on the lab."""

    def work() -> Result:
        from golive.verbs import suite as verb

        return verb.suite(long=long, lab=not no_lab, only=suite, sanitize=sanitize)

    finish(work, as_json=json, debug=debug)


@task(positional=["name"], help={"name": "what to measure: core, encoding, forecast, fragmentation, memory or wan", **COMMON})
def bench(_: Context, name: str, json: bool = False, debug: bool = False) -> None:
    """Measure what the agent reaches beside its peers, and write it into docs/results."""

    def work() -> Result:
        from golive.verbs.bench import bench as measure

        return measure(name)

    finish(work, as_json=json, debug=debug)


@task(
    help={
        "env": "the lab",
        "hosts": "sim:N for N simulated hosts",
        "seed": "decides everything that is drawn",
        "rounds": "how many rounds",
        "every-record": "kills alone: on simulated hosts at each journal record of a run, on the lab at drawn ones",
        "rehearsal": "one run from T-7d to T+24h with several faults instead",
        "keep": "write the result into this file too",
        **COMMON,
    }
)
def chaos(
    _: Context,
    env: str = "lab",
    hosts: str = "",
    seed: int = 1,
    rounds: int = 20,
    every_record: bool = False,
    rehearsal: bool = False,
    keep: str = "",
    json: bool = False,
    debug: bool = False,
) -> None:
    """Strike runs with faults from a seed; exit 0 only when every one of them ended right."""
    options: dict[str, Any] = {
        "seed": seed,
        "count": rounds,
        "every_record": every_record,
        "rehearsal": rehearsal,
        "keep": keep,
        "quiet": json,
    }
    finish(lazily("chaos", env, hosts, **options), as_json=json, debug=debug)


@task(
    help={
        "env": "whose hosts are measured on, and whose releases",
        "release": "version of the candidate; the environment's own by default",
        "local": "on this machine over loopback, without any host; no evidence about an environment",
        "long": "1 GiB and 1000 connections too",
        "pairs": "how often each is measured, instead of the policy's number",
        "only": "parts alone, as in requests,transfer-64 (also state, switch); no evidence then",
        "report": "write the table in Markdown into this file too",
        **COMMON,
    }
)
def regress(
    _: Context,
    env: str = "lab",
    release: str = "",
    local: bool = False,
    long: bool = False,
    pairs: str = "",
    only: str = "",
    report: str = "",
    json: bool = False,
    debug: bool = False,
) -> None:
    """Measure the candidate beside the running incumbent, turn by turn; exit 0 only when every row of policies/regress.yaml passes."""
    options: dict[str, Any] = {"local": local, "long": long, "pairs": pairs, "only": only, "report": report}
    finish(lazily("regress", env, release=release or None, **options), as_json=json, debug=debug)


@task(
    help={
        "suite": "components, integration or end-to-end; all three by default",
        "env": "whose hosts and release",
        "local": "end to end on this machine over loopback, without any host; no evidence about an environment",
        "long": "1 GiB too",
        **COMMON,
    },
)
def validate(
    _: Context, suite: str = "", env: str = "lab", local: bool = False, long: bool = False, json: bool = False, debug: bool = False
) -> None:
    """Measure each component against its bar, the parts together, and the whole between hosts; exit 0 only when every row passes."""
    finish(lazily("validate", env, suite=suite, local=local, long=long), as_json=json, debug=debug)
