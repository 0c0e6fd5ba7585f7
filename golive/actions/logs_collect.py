"""``logs.collect``: the candidate's logs and core dumps are kept on the operator's machine before it is stopped."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from golive.actions._world import command, everywhere, hosts_for, release_of, world
from golive.actions.port import Finding, Findings, Found, Outcome, StepContext, action
from golive.errors import GoliveError
from golive.fleet.model import Host
from golive.gates.verdict import Verdict

__all__ = ["LogsCollect"]

_LINES = 20_000
"""Newest lines kept per host; a candidate that logs more has said it by then."""
_CORE_BYTES = 512 << 20
"""A larger core dump stays on its host, and is named."""
_CORE_S = 90.0


@action
class LogsCollect:
    """Reads the unit's journal and its newest core dump from every host into the run's directory.

    A silent host is named; it does not stop the way back. Core dumps hold what the process held, keys among it: their files are the
    operator's alone. What of them stays on a host, and why there is none, is said.
    """

    name = "logs.collect"
    budget = timedelta(minutes=3)

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        release: Literal["candidate", "incumbent"]

    def probe(self, ctx: StepContext) -> Findings:
        return {
            host.name: Finding(Found.DONE if (ctx.workdir / f"{host.name}.log").exists() else Found.ABSENT, "log file")
            for host in hosts_for(ctx, ctx.params["release"])
        }

    def apply(self, ctx: StepContext, todo: Findings) -> Outcome:
        unit = f"dwcp-agent@{release_of(ctx, ctx.params['release'])}.service"
        hosts = [h for h in hosts_for(ctx, ctx.params["release"]) if h.name in todo]
        shell, missed = world(ctx.env, ctx.fleet()).shell, []
        words = ("journalctl", "--unit", unit, "--output", "short-iso", "--no-pager", "--lines", str(_LINES))
        ctx.workdir.mkdir(parents=True, exist_ok=True)
        said = {}
        for user in sorted({host.ssh_user for host in hosts}):
            same = [host for host in hosts if host.ssh_user == user]
            said.update(shell.each(same, command(same[0], *words), timeout_s=60))
        for name, got in said.items():
            if isinstance(got, GoliveError) or got.rc != 0:
                missed.append(name)
                (ctx.workdir / f"{name}.missed").write_text(f"not collected: {got}\n", encoding="utf-8")
            else:
                # Whole or not at all: a log that a kill cut off would count as collected.
                partial = ctx.workdir / f".{name}.log.{os.getpid()}"
                partial.write_bytes(got.stdout)
                partial.replace(ctx.workdir / f"{name}.log")
                (ctx.workdir / f"{name}.missed").unlink(missing_ok=True)
        kept = f"logs of {len(hosts) - len(missed)} hosts in {ctx.workdir}"
        summary = f"{kept}; not collected from {', '.join(missed)}" if missed else kept
        dumps = _cores(ctx, [host for host in hosts if host.name not in missed])
        there = [name for name, told in dumps.items() if told["cores"]]
        if there:
            stayed = sum(told["stayed"] for told in dumps.values())
            summary += f"; core dumps of {', '.join(there)}" + (f", {stayed} of them left on the hosts" if stayed else "")
        return Outcome(Verdict.PASS, summary, {"missed": missed, "directory": str(ctx.workdir), "cores": dumps})

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "logs are kept")


def _cores(ctx: StepContext, hosts: Sequence[Host]) -> dict[str, dict[str, Any]]:
    """By host: how many ``cores`` it has, how many of them ``stayed`` there, which ``file`` one is in here, and ``why`` else."""
    release = release_of(ctx, ctx.params["release"])
    answers = everywhere(ctx, hosts, "cores", release, timeout_s=30) if hosts else {}

    def one(host: Host) -> dict[str, Any]:
        told = answers[host.name]
        if told.data is None:
            return {"cores": 0, "stayed": 0, "file": None, "why": told.trouble}
        found = list(told.data.get("cores") or ())
        if not found:
            return {"cores": 0, "stayed": 0, "file": None, "why": str(told.data.get("none", ""))}
        count, newest = len(found) + int(told.data.get("more") or 0), found[0]
        file, why = None, f"the newest has {int(newest['bytes']) >> 20} MiB; it is in {told.data.get('directory')} there"
        if int(newest["bytes"]) <= _CORE_BYTES:
            file, why = _fetched(ctx, host, newest["read"])
        return {"cores": count, "stayed": count - (file is not None), "file": file, "why": why}

    with ThreadPoolExecutor(max_workers=8) as pool:
        return dict(zip([host.name for host in hosts], pool.map(one, hosts), strict=True))


def _fetched(ctx: StepContext, host: Host, words: Sequence[str]) -> tuple[str | None, str]:
    """The file here that has the dump, compressed; or None and why not."""
    shell, path = world(ctx.env, ctx.fleet()).shell, ctx.workdir / f"{host.name}.core.gz"
    try:
        got = shell.run(host, command(host, "bash", "-c", f"set -o pipefail; {shlex.join(words)} | gzip -1"), timeout_s=_CORE_S)
    except GoliveError as error:
        return None, str(error)
    if got.rc != 0 or not got.stdout:
        said = got.stderr.decode(errors="replace").strip().splitlines()
        return None, said[-1] if said else f"reading it ended with {got.rc}"
    path.touch(mode=0o600)
    path.write_bytes(got.stdout)
    return str(path), ""
