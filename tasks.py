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

_TAKE_OVER = "replace a holder on another machine that is dead for certain: it has to stay silent for its whole ttl"
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
    # A verb that says nothing, as a timer's should that has nothing to do, prints no empty line either.
    trouble = _printed(json.dumps(result.data) if as_json else result.text) if as_json or result.text else ""
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


_SIMULATED = {
    *(
        "abort",
        "approve",
        "chaos",
        "destroy",
        "dry_run",
        "golive",
        "journal_export",
        "journal_show",
        "journal_verify",
        "pause",
        "provision",
    ),
    *("reject", "report", "resume", "rollback", "skip", "status", "waive"),
}
"""Verbs that simulated hosts can do."""


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
        "from": "leave out what comes before this stage",
        "until": "stop after this stage; the same command goes on later",
        "dry-run": "say what would happen, in order: Terraform's plan, Ansible's check mode, what gates ask; change nothing",
        "continue": "for timers: go on with a run that is due, else do nothing",
        "take_over": _TAKE_OVER,
        "hosts": "sim:N for N simulated hosts; --env sim-N for every other verb",
        **_COMMON,
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
    help={"name": "stage of runbooks/golive.yaml", "env": "environment to work on", "pace": "real or rehearsal", **_COMMON},
)
def stage(_: Context, name: str, env: str = "", release: str = "", pace: str = "", json: bool = False, debug: bool = False) -> None:
    """Run one stage alone."""
    options = {"release": release or None, "pace": pace or None, "from_stage": name, "until_stage": name}
    finish(lazily("golive", env, **options, quiet=json), as_json=json, debug=debug)


@task(
    help={
        "env": "environment to work on",
        "reason": "why: outage, breach, corruption, degradation or security, or words of your own",
        "to": "incumbent; after a sign-off, an earlier version to take live again",
        "pace": "real or rehearsal",
        "take_over": _TAKE_OVER,
        **_COMMON,
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
    options = {"reason": reason, "to": to, "pace": pace or None, "take_over": take_over}
    finish(lazily("rollback", env, **options, quiet=json), as_json=json, debug=debug)


@task(help={"env": "environment to work on", "reason": "why, for whoever finds the run standing", **_COMMON})
def pause(_: Context, env: str = "", reason: str = "", json: bool = False, debug: bool = False) -> None:
    """Let the running step finish and begin no other; traffic stays as it is and is watched on."""
    finish(lazily("pause", env, reason=reason), as_json=json, debug=debug)


@task(help={"env": "environment to work on", "reason": "why, for the journal", **_COMMON})
def resume(_: Context, env: str = "", reason: str = "", json: bool = False, debug: bool = False) -> None:
    """Let a paused run go on; without a living process `golive` continues it."""
    finish(lazily("resume", env, reason=reason), as_json=json, debug=debug)


@task(
    help={
        "env": "environment to work on",
        "reason": "why, for the journal and the report",
        "pace": "real or rehearsal",
        "take_over": _TAKE_OVER,
        **_COMMON,
    }
)
def abort(
    _: Context, env: str = "", reason: str = "", pace: str = "", take_over: bool = False, json: bool = False, debug: bool = False
) -> None:
    """End the run now, whatever it waits for, by the whole way back when the candidate is on hosts; exit 4 when done."""
    finish(lazily("abort", env, reason=reason, pace=pace or None, take_over=take_over, quiet=json), as_json=json, debug=debug)


@task(
    help={
        "env": "environment whose run is continued when it is due",
        "remove": "take it away again",
        "print": "only say what would be installed",
        **_COMMON,
    }
)
def schedule(_: Context, env: str = "", remove: bool = False, print_: bool = False, json: bool = False, debug: bool = False) -> None:
    """Have a systemd timer go on with the environment's run when it is due, so that no process has to live for days."""
    finish(lazily("schedule", env, remove=remove, only_say=print_), as_json=json, debug=debug)


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
        "suite": "run one part alone: core, datapath or prodlike",
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
    name="verify",
    help={
        "env": "environment whose journal is checked",
        "anchors": "where heads were seen: hosts (and this machine), or file (this machine alone)",
        "file": "an export to check instead; needs no environment",
        "key": "file of public keys that are trusted, besides the environment's own",
        "anchor": "SEQ:HASH that somebody noted; several with commas",
        "superseded": "beginning of the identity of an earlier journal that was given up on purpose",
        **_COMMON,
    },
)
def journal_verify(
    _: Context,
    env: str = "",
    anchors: str = "hosts",
    file: str = "",
    key: str = "",
    anchor: str = "",
    superseded: str = "",
    json: bool = False,
    debug: bool = False,
) -> None:
    """Find any edit, reorder or cut of the journal; exit 0 only when it fits what hosts saw of it and its signatures."""

    def alone() -> Result:
        from golive.verbs import journal_verify as verb

        return verb.journal_file_verify(file=file, key=key, anchor=anchor)

    options = {"anchors": anchors, "file": file, "key": key, "anchor": anchor, "superseded": superseded}
    finish(alone if file and not env else lazily("journal_verify", env, **options), as_json=json, debug=debug)


@task(
    name="show",
    help={"env": "environment to read", "run": "one run alone", "kind": "one kind alone, as in step.outcome or step", **_COMMON},
)
def journal_show(_: Context, env: str = "", run: str = "", kind: str = "", json: bool = False, debug: bool = False) -> None:
    """Print the journal's records."""
    finish(lazily("journal_show", env, run=run, kind=kind), as_json=json, debug=debug)


@task(name="export", help={"env": "environment to read", "out": "file to write; one below .golive by default", **_COMMON})
def journal_export(_: Context, env: str = "", out: str = "", json: bool = False, debug: bool = False) -> None:
    """Write the whole journal, its head and a signature into one file that can be checked anywhere."""
    finish(lazily("journal_export", env, out=out), as_json=json, debug=debug)


@task(name="anchor", help={"env": "environment whose last run is over", "take_over": _TAKE_OVER, **_COMMON})
def journal_anchor(_: Context, env: str = "", take_over: bool = False, json: bool = False, debug: bool = False) -> None:
    """Sign the journal and leave its head on the hosts once more, for those that were away when the run ended."""
    finish(lazily("journal_anchor", env, take_over=take_over), as_json=json, debug=debug)


_STEP = "the step, as STAGE/STEP"
_KEY = "your SSH key; ~/.ssh/id_ed25519 by default"
_YES = "sign without being asked again"


@task(
    help={
        "env": "environment whose run asks",
        "stage": "where several are open, the stage that asks",
        "role": "where you hold several, the role you sign as",
        "key": _KEY,
        "comment": "for the journal and the report",
        "yes": _YES,
        **_COMMON,
    }
)
def approve(
    _: Context,
    env: str = "",
    stage: str = "",
    role: str = "",
    key: str = "",
    comment: str = "",
    yes: bool = False,
    json: bool = False,
    debug: bool = False,
) -> None:
    """Sign, with your own SSH key, that the run may go on; shows what it is about first."""
    options = {"stage": stage or None, "role": role or None, "key": key or None, "comment": comment, "yes": yes}
    finish(lazily("approve", env, **options), as_json=json, debug=debug)


@task(
    help={
        "env": "environment whose run asks",
        "reason": "why not",
        "stage": "where several are open, the stage that asks",
        "role": "where you hold several, the role you sign as",
        "key": _KEY,
        "yes": _YES,
        **_COMMON,
    }
)
def reject(
    _: Context,
    env: str = "",
    reason: str = "",
    stage: str = "",
    role: str = "",
    key: str = "",
    yes: bool = False,
    json: bool = False,
    debug: bool = False,
) -> None:
    """Sign that the run may not go on; the step that asked fails at once."""
    options = {"reason": reason, "stage": stage or None, "role": role or None, "key": key or None, "yes": yes}
    finish(lazily("reject", env, **options), as_json=json, debug=debug)


@task(
    help={
        "env": "environment of the run",
        "step": _STEP,
        "reason": "why it may be left out",
        "until": "how long, as 24h or a time",
        "key": _KEY,
        "yes": _YES,
        **_COMMON,
    }
)
def waive(
    _: Context,
    env: str = "",
    step: str = "",
    reason: str = "",
    until: str = "24h",
    key: str = "",
    yes: bool = False,
    json: bool = False,
    debug: bool = False,
) -> None:
    """Sign, as the owner of its stage, that a step may be left out; `inv skip` then leaves it out."""
    options = {"step": step, "reason": reason, "until": until, "key": key or None, "yes": yes}
    finish(lazily("waive", env, **options), as_json=json, debug=debug)


@task(help={"env": "environment of the run", "step": _STEP, "reason": "for the journal", **_COMMON})
def skip(_: Context, env: str = "", step: str = "", reason: str = "", json: bool = False, debug: bool = False) -> None:
    """Leave out a step that a signed waiver covers."""
    finish(lazily("skip", env, step=step, reason=reason), as_json=json, debug=debug)


@task(help={"env": "environment of the run", "test": "send one message by this route instead", **_COMMON})
def notify(_: Context, env: str = "", test: str = "", json: bool = False, debug: bool = False) -> None:
    """Tell people what is due about a run on which no process works; or try a route."""
    finish(lazily("notify", env, test=test), as_json=json, debug=debug)


@task(
    help={
        "env": "environment whose waves it takes",
        "site": "site it stands at",
        "name": "its own for good; this machine's by default",
        **_COMMON,
    }
)
def worker(_: Context, env: str = "", site: str = "", name: str = "", json: bool = False, debug: bool = False) -> None:
    """Take waves of a site from the queue and play them, until told to stop."""
    finish(lazily("worker", env, site=site, name=name), as_json=json, debug=debug)


@task(
    help={
        "env": "environment of the host",
        "host": "agent host whose store is lost",
        "snapshot": "id, as the report or restic says it",
        "reason": "why, for the journal",
        **_COMMON,
    }
)
def restore(
    _: Context, env: str = "", host: str = "", snapshot: str = "", reason: str = "", json: bool = False, debug: bool = False
) -> None:
    """After a disaster only: make a host's store that of a snapshot; rollback never does this."""
    finish(lazily("restore", env, host=host, snapshot=snapshot, reason=reason), as_json=json, debug=debug)


@task(help={"env": "environment to look at", "deadline": "seconds for all hosts together, 90 by default", **_COMMON})
def preflight(_: Context, env: str = "", deadline: str = "", json: bool = False, debug: bool = False) -> None:
    """Tell every problem of every host and of this machine, before anything is touched; exit 4 when there is one."""
    finish(lazily("preflight", env, deadline=deadline), as_json=json, debug=debug)


@task(
    iterable=["release"],
    help={
        "env": "environment that decides who signs and which releases may go in",
        "output": "file to write; under .golive/<env>/bundles by default",
        "release": "version to take along, may be given again; those of the environment by default",
        "key": "signing key; needed outside the lab",
        "image": "the lab's host image too",
        "debs": "the Debian packages of requirements/apt.txt too",
        **_COMMON,
    },
)
def bundle(
    _: Context,
    env: str = "",
    output: str = "",
    release: list[str] | None = None,
    key: str = "",
    image: bool = False,
    debs: bool = False,
    json: bool = False,
    debug: bool = False,
) -> None:
    """Pack the controller itself, with every wheel it needs, for a site without registries."""
    options = {"output": output, "release": list(release or []), "key": key or None, "image": image, "debs": debs}
    finish(lazily("bundle", env, **options), as_json=json, debug=debug)


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
    *(
        provision,
        drift,
        destroy,
        package,
        golive,
        stage,
        pause,
        resume,
        abort,
        rollback,
        schedule,
        status,
        verify,
        report,
        test,
        bench,
        molecule,
        approve,
        reject,
        waive,
        skip,
        notify,
        worker,
        restore,
        preflight,
        bundle,
        chaos,
    ),
    Collection("lab", wan),
    Collection("journal", journal_verify, journal_show, journal_export, journal_anchor),
)
