"""Asks every host at once, each by one command, and waits for none of them longer than the deadline."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from golive.environment import Environment
from golive.errors import GoliveError, Unprepared
from golive.fleet.inventory import read_fleet, read_static_hosts
from golive.fleet.model import Fleet, Host
from golive.fleet.pki import check_ca
from golive.fleet.ssh import Shell
from golive.preflight.certificates import judged_certificates
from golive.preflight.clocks import Offset, judged_clocks
from golive.preflight.controller import judged_controller, wanted_releases
from golive.preflight.finding import Finding, problem, warning
from golive.preflight.judge import Expected, judged
from golive.preflight.question import COMMAND, question, script
from golive.preflight.report import Report

__all__ = ["declared_fleet", "preflight"]

_AT_ONCE = 64
_HOST_S = 25.0
"""For one host: connecting, and the probe, which itself waits at most some ten seconds."""


@dataclass(frozen=True)
class _Seen:
    """What one host said, or why it said nothing."""

    answer: Mapping[str, Any] | None
    trouble: Finding | None = None
    offset: Offset | None = None


def preflight(
    env: Environment,
    *,
    knows: Callable[[str], bool],
    looks: Mapping[str, Callable[[], object]],
    deadline_s: float = 90,
    tell: Callable[[str], None] = lambda line: None,
) -> Report:
    """Looks at this machine and at every declared host; changes nothing.

    Args:
        env: Which hosts, and what is asked of them.
        knows: Whether a run, by its id, is one of this environment's: who holds a host's fence must be.
        looks: More checks of this machine, by name; what one raises is its problem.
        deadline_s: For all hosts together.
        tell: Told what takes long, before it does.

    Raises:
        BadInput, Unprepared: there is no list of hosts, or it is wrong.
    """
    began = time.monotonic()
    fleet = declared_fleet(env)
    tell(f"asking {len(fleet.hosts)} hosts of {env.name}")
    with Shell(env, fleet) as shell:
        seen = _asked(shell, fleet, deadline_s, site_cache=env.settings.site_cache)
    controller = list(judged_controller(env, looks))
    silent = [name for name, each in seen.items() if each.answer is None]
    expected = _expected(env, fleet, knows)
    found: dict[str, list[Finding]] = {}
    for host in fleet.hosts:
        each = seen[host.name]
        found[host.name] = [each.trouble] if each.trouble is not None else []
        if each.answer is not None:
            found[host.name] += _safely(host, each.answer, expected, silent)
    _add_clocks(found, seen)
    _add_twins(found, seen)
    _add_certificates(env, fleet, found)
    return Report(env.name, controller, found, silent, time.monotonic() - began)


def declared_fleet(env: Environment) -> Fleet:
    """The hosts as ``hosts.yaml`` lists them, provisioned or not; the lab's as last provisioned."""
    if env.is_lab:
        return read_fleet(env)
    return Fleet(env=env.name, hosts=tuple(sorted(read_static_hosts(env), key=lambda host: host.name)))


def _asked(shell: Shell, fleet: Fleet, deadline_s: float, *, site_cache: bool) -> dict[str, _Seen]:
    pool = ThreadPoolExecutor(max_workers=min(_AT_ONCE, len(fleet.hosts)), thread_name_prefix="preflight")
    try:
        futures: dict[str, Future[_Seen]] = {
            host.name: pool.submit(_ask, shell, host, script(question(fleet, host, site_cache=site_cache))) for host in fleet.hosts
        }
        wait(futures.values(), timeout=deadline_s)
        late = problem("deadline", f"was not asked to the end within {deadline_s:.0f} s; run it again with a longer --deadline.")
        return {name: future.result() if future.done() else _Seen(None, late) for name, future in futures.items()}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _ask(shell: Shell, host: Host, text: bytes) -> _Seen:
    try:
        # First a command of nothing: the clock is read between two moments that have no connecting between them.
        shell.run(host, ["true"], timeout_s=_HOST_S)
        asked = time.time()
        got = shell.run(host, COMMAND, input=text, timeout_s=_HOST_S)
        answered = time.time()
    except GoliveError as error:
        return _Seen(None, problem("ssh", error.message.removeprefix(f"{host.name}: ")))
    said = got.text.strip().splitlines()
    if said == ["no-python"]:
        return _Seen(None, problem("python", "has no python3; apt-get install --no-install-recommends python3 python3-venv."))
    try:
        answer = json.loads(said[-1])
        return _Seen(answer, None, Offset.measured(asked, answer["began"], answer["ended"], answered))
    except (ValueError, KeyError, TypeError, IndexError):
        complaint = (got.stderr.decode("utf-8", "replace").strip().splitlines() or said or [f"exit status {got.rc}"])[-1]
        return _Seen(None, problem("probe", f"could not be looked at: {complaint[:200]}."))


def _safely(host: Host, answer: Mapping[str, Any], expected: Expected, silent: list[str]) -> list[Finding]:
    try:
        return judged(host, answer, expected, silent)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return [problem("probe", f"answered what this toolkit does not understand ({type(error).__name__}: {error}).")]


def _expected(env: Environment, fleet: Fleet, knows: Callable[[str], bool]) -> Expected:
    settings, state = env.settings, env.state
    ca = state / "pki" / "ca.crt"
    try:
        needs = wanted_releases(env)
    except GoliveError:
        needs = []
    return Expected(
        env=env.name,
        cpus=settings.agent_cpus,
        memory_max=settings.agent_memory_max,
        releases=needs,
        ca=hashlib.sha256(ca.read_bytes().rstrip() + b"\n").hexdigest() if ca.is_file() else None,
        namespace=settings.signature_namespace,
        knows=knows,
        caches=fleet if settings.site_cache else None,
    )


def _add_clocks(found: dict[str, list[Finding]], seen: Mapping[str, _Seen]) -> None:
    for name, findings in judged_clocks({name: each.offset for name, each in seen.items() if each.offset is not None}).items():
        found[name] += findings


def _add_twins(found: dict[str, list[Finding]], seen: Mapping[str, _Seen]) -> None:
    first: dict[str, str] = {}
    for name, each in seen.items():
        machine = str(each.answer["machine_id"]) if each.answer is not None and each.answer.get("machine_id") else ""
        if machine and first.setdefault(machine, name) != name:
            says = (
                f"has the machine id of {first[machine]}: one machine listed twice, or a clone, which needs an /etc/machine-id of its own."
            )
            found[name].append(warning("twins", says))


def _add_certificates(env: Environment, fleet: Fleet, found: dict[str, list[Finding]]) -> None:
    try:
        ca = check_ca(env)
    except (GoliveError, Unprepared):
        return  # told of this machine: no certificate can be judged without it
    for host in fleet.hosts:
        found[host.name] += judged_certificates(env.state / "pki", host, ca)
