"""Plays: Ansible through ansible-runner, with a result for every host and no word taken for granted."""

from __future__ import annotations

import os
import shlex
import shutil
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_runner.config.runner import RunnerConfig
from ansible_runner.runner import Runner

from golive.environment import ROOT, Environment
from golive.errors import GoliveError, Unprepared, Unreachable
from golive.fleet.port import stand_in
from golive.fleet.variables import variables
from golive.fleet.vault import variable_files, vault_environment

if TYPE_CHECKING:
    from golive.actions.port import StepContext

__all__ = ["PlayResult", "Recap", "play", "play_environment", "play_step"]

JSON = dict[str, Any]

_PASSED = ("HOME", "LANG", "LC_ALL", "SSH_AUTH_SOCK", "TERM", "TMPDIR", "TZ", "USER", "XDG_RUNTIME_DIR")
"""Variables of the operator that a play gets; ansible-runner would pass, and write down, all of them."""
_OWN = ("ANSIBLE_", "AWX_", "RUNNER_", "PYTHONPATH")


@dataclass(frozen=True)
class PlayResult:
    """How a play ended on each host."""

    playbook: str
    rc: int
    changed: Mapping[str, int]
    """Tasks that changed something, for every host that was reached to the end."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """What the failed task said, by host."""
    unreachable: Mapping[str, str] = field(default_factory=dict)
    duration_s: float = 0.0
    log: Path | None = None

    @property
    def ok(self) -> bool:
        return self.rc == 0 and not self.failed and not self.unreachable

    def trouble(self) -> str:
        """One sentence about what went wrong; empty when nothing did."""
        if self.ok:
            return ""
        told = [f"{host}: {why}" for host, why in {**self.unreachable, **self.failed}.items()]
        more = f" (and {len(told) - 1} more hosts)" if len(told) > 1 else ""
        return (
            (told[0] if told else f"{self.playbook} ended with status {self.rc}") + more + (f"; all of it: {self.log}" if self.log else "")
        )

    def as_json(self) -> JSON:
        """For the journal."""
        return {
            "playbook": self.playbook,
            "rc": self.rc,
            "changed": dict(self.changed),
            "failed": dict(self.failed),
            "unreachable": dict(self.unreachable),
            "duration_s": round(self.duration_s, 2),
            "log": str(self.log) if self.log else None,
        }


def play(
    env: Environment,
    playbook: str,
    *,
    extravars: Mapping[str, Any],
    limit: Sequence[str] | None,
    workdir: Path,
    child_env: Mapping[str, str] | None = None,
    check: bool = False,
    on_event: Callable[[JSON], None] | None = None,
    on_process: Callable[[int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    inventory: Path | None = None,
) -> PlayResult:
    """Runs ``playbooks/<playbook>`` and waits for it.

    Args:
        env: whose inventory (``.golive/<env>/hosts.yml``) is used.
        playbook: file name below ``playbooks/``.
        extravars: variables of the play besides those of the environment (``golive.fleet.variables``); never a secret.
        limit: host names, or None for all.
        workdir: gets a directory of this play's own with its output.
        child_env: variables that every process of the play inherits (the mark by which a later controller finds it).
        check: say what would change, and how, and change nothing.
        on_event: told of each of Ansible's events.
        on_process: told the pid of ansible-playbook as soon as it speaks.
        cancelled: asked now and then; the play is ended when it says True.
        inventory: another inventory file.

    Raises:
        Unprepared: there is no inventory yet, or the playbook is missing.
        Unreachable: the play ended without a result, so what it did is unknown.
        GoliveError: Ansible refused the playbook itself.
    """
    hosts_file = inventory or env.state / "hosts.yml"
    book = ROOT / "playbooks" / playbook
    if not hosts_file.is_file():
        raise Unprepared(f"{hosts_file} is missing; run: ./inv provision --env {env.name}.")
    if not book.is_file():
        raise Unprepared(f"{book} is missing.")
    files, secrets = variable_files(env), vault_environment(env)
    workdir.mkdir(parents=True, exist_ok=True)
    private = Path(tempfile.mkdtemp(prefix=f"{book.stem}-", dir=workdir))
    recap = Recap(on_event, on_process)
    began = time.monotonic()
    try:
        config = RunnerConfig(
            private_data_dir=str(private),
            playbook=str(book),
            inventory=str(hosts_file.resolve()),
            project_dir=str(ROOT),
            extravars={**variables(env), **extravars},
            limit=",".join(limit) if limit is not None else None,
            cmdline=" ".join([*(f"-e @{shlex.quote(str(path))}" for path in files), *(["--check", "--diff"] if check else [])]) or None,
            ident="play",
            quiet=True,
        )
        config.prepare()
        config.command[0] = str(Path(sysconfig.get_path("scripts")) / "ansible-playbook")
        config.env = play_environment(config.env, {**secrets, **(child_env or {})}, forks=env.settings.hosts_at_once)
        runner = Runner(config, event_handler=recap.take, cancel_callback=cancelled)
        runner.run()
    finally:
        output = _tidy(private)
    if runner.rc is None or runner.status == "canceled" or (recap.stats is None and (runner.rc == 0 or recap.playing)):
        raise Unreachable(f"{playbook} was ended before it had a result, so how far it came is unknown; all of it: {output}.")
    result = recap.result(playbook, int(runner.rc), limit or (), time.monotonic() - began, output)
    if not result.ok and not result.failed and not result.unreachable:
        raise GoliveError(f"Ansible could not run {playbook}: {_complaint(output)} (all of it: {output}).")
    return result


def play_step(
    ctx: StepContext, playbook: str, *, extravars: Mapping[str, Any], limit: Sequence[str] | None = None, check: bool = False
) -> PlayResult:
    """``play`` as part of a step: marked as its process, journaled while it runs, ended when the step is asked to end."""
    hosts = stand_in(ctx.env)
    if hosts is not None:
        return hosts.play(ctx, playbook, extravars, limit, check)
    pids: list[int] = []

    def began(pid: int) -> None:
        pids.append(pid)
        ctx.began(pid, f"ansible-playbook {playbook}")

    try:
        return play(
            ctx.env,
            playbook,
            extravars=extravars,
            limit=limit,
            workdir=ctx.workdir,
            child_env=_marks(ctx.child_env()),
            check=check,
            on_event=lambda event: _tell(ctx, playbook, event),
            on_process=began,
            cancelled=ctx.stop,
        )
    finally:
        for pid in pids:
            ctx.ended(pid)
        ctx.check()


class Recap:
    """Counts per host from Ansible's events. Nothing is asked of ansible-runner afterwards: it forgets events that are not written."""

    def __init__(self, on_event: Callable[[JSON], None] | None, on_process: Callable[[int], None] | None) -> None:
        self.stats: JSON | None = None
        self.playing = False
        """Whether a play began, so that something may have been changed."""
        self._failed: dict[str, str] = {}
        self._unreachable: dict[str, str] = {}
        self._on_event = on_event
        self._on_process = on_process

    def take(self, event: JSON) -> bool:
        """Takes one event. False: no file is written for it."""
        if self._on_process is not None and isinstance(event.get("pid"), int):
            self._on_process(event["pid"])
            self._on_process = None
        data = event.get("event_data") or {}
        kind, host = event.get("event"), data.get("host")
        self.playing = self.playing or kind == "playbook_on_play_start"
        if kind == "playbook_on_stats":
            self.stats = data
        elif kind == "runner_on_failed" and not data.get("ignore_errors"):
            self._failed.setdefault(str(host), f"{data.get('task')}: {_said(data.get('res'))}")
        elif kind == "runner_on_unreachable":
            self._unreachable.setdefault(str(host), _said(data.get("res")))
        if self._on_event is not None:
            self._on_event(event)
        return False

    def result(self, playbook: str, rc: int, limit: Sequence[str], duration_s: float, log: Path) -> PlayResult:
        stats = self.stats or {}
        failed = {host: self._failed.get(host, "failed without a word") for host in stats.get("failures", {})}
        unreachable = {host: self._unreachable.get(host, "did not answer") for host in stats.get("dark", {})}
        seen = set(stats.get("ok", {})) | set(stats.get("skipped", {})) | set(failed) | set(unreachable)
        unreachable |= {host: "the play says nothing of it" for host in limit if self.stats is not None and host not in seen}
        changed = {host: int(stats.get("changed", {}).get(host, 0)) for host in sorted(seen - set(unreachable))}
        return PlayResult(playbook, rc, changed, failed, unreachable, duration_s, log)


def _tell(ctx: StepContext, playbook: str, event: JSON) -> None:
    if event.get("event") == "playbook_on_task_start":
        ctx.tell("play.task", {"playbook": playbook, "task": (event.get("event_data") or {}).get("task", "")})


def _marks(variables: Mapping[str, str]) -> dict[str, str]:
    """What a step adds to the environment, without what it merely passes on."""
    return {name: value for name, value in variables.items() if os.environ.get(name) != value}


def play_environment(prepared: Mapping[str, str], marks: Mapping[str, str], *, forks: int) -> dict[str, str]:
    """What a play gets of ``prepared``, a process's environment, and what is fixed for all plays."""
    kept = {name: value for name, value in prepared.items() if name in _PASSED or name.startswith(_OWN)}
    path = os.pathsep.join([sysconfig.get_path("scripts"), prepared.get("PATH", os.defpath)])
    fixed = {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_FORKS": str(forks),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        "PATH": path,
    }
    return {**kept, **fixed, **marks}


def _tidy(private: Path) -> Path:
    """Leaves the play's output alone: variables and environment are not kept. Returns the output's path."""
    output = private / "output.txt"
    written = private / "artifacts" / "play" / "stdout"
    if written.is_file():
        written.replace(output)
    for name in ("artifacts", "env", "inventory", "project"):
        shutil.rmtree(private / name, ignore_errors=True)
    return output


def _said(result: Any) -> str:
    """What a failed task said, in at most one line."""
    if not isinstance(result, dict):
        return "no reason given"
    told = [result.get("stderr"), result.get("msg"), result.get("module_stderr"), result.get("stdout")]
    for each in result.get("results") or []:
        if isinstance(each, dict) and each.get("failed"):
            return _said(each)
    text = next((str(entry) for entry in told if entry), "no reason given")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[-1] if lines else "no reason given")[:400].rstrip(".")


def _complaint(output: Path) -> str:
    try:
        lines = [line.strip() for line in output.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    for number, line in enumerate(lines):
        if "ERROR" in line:
            return " ".join(lines[number : number + 2])[:300].rstrip(".")
    return (lines[-1] if lines else "it said nothing")[:300].rstrip(".")
