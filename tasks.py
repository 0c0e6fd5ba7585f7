"""The operator's verbs: parse, call golive, render, exit code. `./inv --list` names them."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from invoke import Collection, Context, task

from golive import environment
from golive.errors import BadInput, GoliveError
from golive.verbs.result import Result

_SIMULATED = {"chaos", "destroy", "golive", "provision", "report", "rollback", "status"}
"""Verbs that simulated hosts can do."""
_COMMON = {"json": "one JSON object on stdout", "debug": "show tracebacks"}


def finish(work: Callable[[], Result], *, as_json: bool = False, debug: bool = False) -> None:
    """Prints a verb's result (one JSON object with ``--json``) and ends with its exit code; an error is one sentence on stderr."""
    try:
        result = work()
    except GoliveError as error:
        _failed(error, error.message, error.exit_code, as_json=as_json, debug=debug)
    except KeyboardInterrupt as error:
        _failed(error, "Interrupted; run the same command again to go on.", 130, as_json=as_json, debug=debug)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sentence = f"This machine says no: {where}{error.strerror or error}. Mend that, then run the same command again."
        _failed(error, sentence, 2, as_json=as_json, debug=debug)
    except Exception as error:
        sentence = f"Unexpected {type(error).__name__}: {error}. This is a bug; run it again with --debug for the details."
        _failed(error, sentence, 1, as_json=as_json, debug=debug)
    trouble = _printed(json.dumps(result.data) if as_json else result.text)
    if trouble:
        print(f"The work is done (exit code {result.exit_code}), but what it says could not be printed: {trouble}.", file=sys.stderr)
    # How the work ended stands, printed or not; but nobody has been told of a success.
    sys.exit(result.exit_code or (2 if trouble else 0))


def _failed(error: BaseException, sentence: str, code: int, *, as_json: bool, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exception(error)
    if as_json:
        _printed(json.dumps({"schema": 1, "error": {"type": type(error).__name__, "message": sentence}}))
    print(sentence, file=sys.stderr)
    sys.exit(code)


def _printed(text: str) -> str:
    """Prints ``text``; says why when stdout takes nothing any more."""
    try:
        print(text, flush=True)
    except OSError as error:
        # What is left in the buffer must not change the exit code when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error.strerror or str(error)
    return ""


def lazily(verb: str, env: str, hosts: str = "", **options: Any) -> Callable[[], Result]:
    """The verb ``golive.verbs.<verb>`` on environment ``env``; imported when called, so that `--list` stays fast."""

    def work() -> Result:
        from importlib import import_module

        if not env:
            raise BadInput(f"Say which environment: --env with one of {', '.join(environment.known())}.")
        loaded = environment.load(env, hosts)
        if loaded.is_sim and verb not in _SIMULATED:
            raise BadInput(f"{verb} needs machines, and {loaded.name} has none; what works there: {', '.join(sorted(_SIMULATED))}.")
        result: Result = getattr(import_module(f"golive.verbs.{verb}"), verb)(loaded, **options)
        return result

    return work


@task(help={"env": "environment to provision", **_COMMON})
def provision(_: Context, env: str = "", json: bool = False, debug: bool = False) -> None:
    """Make or adopt the environment's hosts; run again, it changes nothing."""
    finish(lazily("provision", env), as_json=json, debug=debug)


@task(help={"env": "environment to look at", **_COMMON})
def drift(_: Context, env: str = "", json: bool = False, debug: bool = False) -> None:
    """Name what differs from the declaration; exit 6 when something does."""
    finish(lazily("drift", env), as_json=json, debug=debug)


@task(help={"env": "environment to remove", "image": "the lab's host image too", **_COMMON})
def destroy(_: Context, env: str = "", image: bool = False, json: bool = False, debug: bool = False) -> None:
    """Remove the lab from this machine; forget an environment whose hosts are yours."""
    finish(lazily("destroy", env, with_image=image), as_json=json, debug=debug)


@task(
    help={
        "env": "environment to work on",
        "release": "version to take live; the environment's own by default",
        "pace": "real or rehearsal",
        "from-stage": "leave out what comes before this stage",
        "until": "stop after this stage; the same command goes on later",
        "hosts": "sim:N for N simulated hosts; --env sim-N for every other verb",
        **_COMMON,
    }
)
def golive(
    _: Context,
    env: str = "",
    hosts: str = "",
    release: str = "",
    pace: str = "",
    from_stage: str = "",
    until: str = "",
    json: bool = False,
    debug: bool = False,
) -> None:
    """Take a release to 100 % of traffic behind measured gates, or go on with the run that is not over."""
    options = {"release": release or None, "pace": pace or None, "from_stage": from_stage or None, "until_stage": until or None}
    finish(lazily("golive", env, hosts, **options, quiet=json), as_json=json, debug=debug)


@task(
    positional=["name"],
    help={"name": "stage of runbooks/golive.yaml", "env": "environment to work on", "pace": "real or rehearsal", **_COMMON},
)
def stage(_: Context, name: str, env: str = "", release: str = "", pace: str = "", json: bool = False, debug: bool = False) -> None:
    """Run one stage alone."""
    options = {"release": release or None, "pace": pace or None, "from_stage": name, "until_stage": name}
    finish(lazily("golive", env, **options, quiet=json), as_json=json, debug=debug)


@task(help={"env": "environment to work on", "reason": "why, for the journal and the report", "pace": "real or rehearsal", **_COMMON})
def rollback(_: Context, env: str = "", reason: str = "", pace: str = "", json: bool = False, debug: bool = False) -> None:
    """Send everything back to the incumbent, here or by the process that holds the run; exit 3 when done."""
    finish(lazily("rollback", env, reason=reason, pace=pace or None, quiet=json), as_json=json, debug=debug)


@task(help={"env": "environment to ask", "watch": "keep showing it", **_COMMON})
def status(_: Context, env: str = "", watch: bool = False, json: bool = False, debug: bool = False) -> None:
    """Say where the run stands: stage, traffic, verdicts, hosts."""
    finish(lazily("status", env, watch=watch), as_json=json, debug=debug)


@task(help={"env": "environment to check", **_COMMON})
def verify(_: Context, env: str = "", json: bool = False, debug: bool = False) -> None:
    """Check every host over SSH against what is live; exit 4 when a check does not pass."""
    finish(lazily("verify", env, quiet=json), as_json=json, debug=debug)


@task(help={"env": "environment whose last run is reported", "run": "another run of it", **_COMMON})
def report(_: Context, env: str = "", run: str = "", json: bool = False, debug: bool = False) -> None:
    """Write the run's report as Markdown and HTML."""
    finish(lazily("report", env, run=run or None), as_json=json, debug=debug)


@task(
    help={
        "long": "what takes more than half an hour too",
        "no-lab": "leave out what needs root and the lab",
        "suite": "run one part alone: core or datapath",
        "sanitize": "with --suite core: under sanitizers and valgrind too",
        **_COMMON,
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


@task(positional=["name"], help={"name": "what to measure: core, encoding, forecast, fragmentation, memory or wan", **_COMMON})
def bench(_: Context, name: str, json: bool = False, debug: bool = False) -> None:
    """Measure what the agent reaches beside its peers, and write it into docs/results."""

    def work() -> Result:
        from golive.verbs.bench import bench as measure

        return measure(name)

    finish(work, as_json=json, debug=debug)


@task(help={"env": "lab to use", "role": "one role; every role by default", **_COMMON})
def molecule(_: Context, env: str = "", role: str = "", json: bool = False, debug: bool = False) -> None:
    """Apply each role twice and in check mode on hosts of the lab, and look at what it did; exit 4 when a step does not pass."""
    finish(lazily("molecule", env, role=role or None, quiet=json), as_json=json, debug=debug)


@task(
    help={
        "release": "version to build; everything the environment needs by default",
        "env": "environment that decides who signs",
        "defect": "lab only: errors=2%, latency=+40%, corrupt=0.1%, crash-after=30s or no-metrics",
        "key": "signing key; needed outside the lab",
        "freeze": "record what this version is made of from now on, instead of building",
        **_COMMON,
    }
)
def package(
    _: Context,
    release: str = "",
    env: str = "lab",
    defect: str = "",
    key: str = "",
    freeze: str = "",
    json: bool = False,
    debug: bool = False,
) -> None:
    """Build and sign releases, or freeze one."""
    options = {"release": release or None, "defect": defect or None, "key": key or None, "freeze": freeze or None}
    finish(lazily("package", env, **options), as_json=json, debug=debug)


@task(
    help={
        "env": "the lab",
        "link": "one link, as in ams-nyc; every link by default",
        "rtt": "delay there and back, as in 80ms",
        "jitter": "how far a packet's delay is off at most, as in 5ms",
        "rate": "each way, as in 200mbit or 1gbit",
        "loss": "share of packets lost each way, as in 0.5%",
        **_COMMON,
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


@task(
    help={
        "env": "the lab",
        "hosts": "sim:N for N simulated hosts",
        "seed": "decides everything that is drawn",
        "rounds": "how many rounds",
        "every-record": "kill the controller at each journal record of a run instead, one run a record",
        "rehearsal": "one run from T-7d to T+24h with several faults instead",
        "keep": "write the result into this file too",
        **_COMMON,
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
    options = {"seed": seed, "count": rounds, "every_record": every_record, "rehearsal": rehearsal, "keep": keep, "quiet": json}
    finish(lazily("chaos", env, hosts, **options), as_json=json, debug=debug)


namespace = Collection(
    *(provision, drift, destroy, package, golive, stage, rollback, status, verify, report, test, bench, molecule, chaos),
    Collection("lab", wan),
)
