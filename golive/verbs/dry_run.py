"""``inv golive --dry-run``: what would happen, in order; nothing does."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from golive import engine, releases
from golive.engine import Planned, RunState, Standing
from golive.environment import Environment
from golive.errors import BadInput
from golive.gates.spec import parse_policy
from golive.runbook import Pace
from golive.verbs._ports import ports_of
from golive.verbs._run import return_book
from golive.verbs.golive import runbooks
from golive.verbs.result import Result

__all__ = ["dry_run"]

JSON = dict[str, Any]


def dry_run(
    env: Environment,
    *,
    release: str | None = None,
    pace: str | None = None,
    from_stage: str | None = None,
    until_stage: str | None = None,
    going_on: bool = False,
) -> Result:
    """Every step with its owner and due time: Terraform's plan, Ansible's check mode, what probes find, what gates and approvals ask.

    Takes no lease, journals nothing, builds nothing and signs nothing. Exit code 4 when it could not be told what a step would do.
    """
    if going_on:
        raise BadInput("--dry-run says what would happen, --continue does it: one of the two.")
    standing = engine.standing(env)
    last = standing.last
    forward, _ = runbooks()
    if last.open and last.runbook == "return":
        forward = return_book()
    speed = Pace.named(pace or (last.pace if last.open else None) or env.settings.pace, env.policy)
    parse_policy(env.policy, f"policies/{env.settings.policy}.yaml")
    if last.open and last.rolling_back:
        raise BadInput(f"Run {last.run} is on its way back, which `./inv golive --env {env.name}` finishes; there is nothing else to plan.")
    candidate, incumbent, load, missing = _ids(env, standing, release)
    with tempfile.TemporaryDirectory(prefix="golive-dry-run-") as place:
        steps = list(
            engine.plan(
                env,
                forward,
                standing,
                candidate=candidate,
                incumbent=incumbent,
                load=load,
                pace=speed,
                ports=ports_of(env),
                workdir=Path(place),
                facts=_facts(env, last),
                from_stage=from_stage,
                until_stage=until_stage,
            )
        )
        kept = _kept(env, Path(place))
    steps = [step if kept is None else _moved(step, place, str(kept)) for step in steps]
    trouble = [step for step in steps if step.trouble]
    data = {
        "schema": 1,
        "env": env.name,
        "release": candidate,
        "incumbent": incumbent,
        "pace": speed.name,
        "missing": missing,
        "steps": [step.to_json() for step in steps],
        "trouble": [f"{step.stage}/{step.step}: {step.trouble}" for step in trouble],
    }
    head = f"Dry run of {candidate} against {incumbent or 'nothing'} in {env.name}, pace {speed.name}. Nothing was changed."
    text = "\n".join([head, *missing, *_lines(steps)])
    if trouble:
        text += f"\nOf {len(trouble)} of {len(steps)} steps it cannot be told what they would do; see `trouble` above."
    return Result(data, text, 4 if trouble else 0)


def _ids(env: Environment, standing: Standing, version: str | None) -> tuple[str, str | None, str, list[str]]:
    """Candidate, incumbent, load client, and what of them is not built yet. Nothing is built for a dry run."""
    last, settings = standing.last, env.settings
    if last.open and last.release and last.load and (version is None or version == last.release.rpartition("-")[0].replace("_", "+")):
        return last.release, last.incumbent, last.load, []
    missing: list[str] = []

    def found(wanted: str) -> str:
        try:
            return releases.verified(env, releases.newest(wanted).id).id
        except BadInput:
            missing.append(f"Release {wanted} is not built yet; what its steps would find is told for none.")
            return f"{wanted}-not-built"

    first = standing.incumbent or settings.first_incumbent
    if first is None:
        raise BadInput(f"Nothing is live in {env.name} yet: name what serves there as first_incumbent in its environment.yaml.")
    incumbent = standing.incumbent or found(first)
    return found(version or settings.release), incumbent, found(settings.load_release), missing


def _facts(env: Environment, last: RunState) -> dict[str, list[JSON]]:
    """What the run that is not over has journaled, as steps read it."""
    facts: dict[str, list[JSON]] = {}
    for record in engine.open_journal(env).read(last.run) if last.open else ():
        facts.setdefault(record.kind, []).append({**record.data, "at": record.at, "stage": record.stage, "step": record.step})
    return facts


def _kept(env: Environment, place: Path) -> Path | None:
    """Plays' outputs stay, until the next dry run: they say what would become of which file."""
    outputs = sorted(place.glob("*/*/output.txt"))
    target = env.state / "dry-run"
    shutil.rmtree(target, ignore_errors=True)
    for output in outputs:
        copy = target / output.relative_to(place)
        copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copyfile(output, copy)
        copy.chmod(0o600)
    return target if outputs else None


def _moved(step: Planned, here: str, there: str) -> Planned:
    lines = [line.replace(here, there) for line in step.lines]
    return Planned(**{**vars(step), "lines": lines, "trouble": step.trouble.replace(here, there)})


def _lines(steps: list[Planned]) -> list[str]:
    lines, stage = [], ""
    for step in steps:
        if step.stage != stage:
            stage = step.stage
            due = f", due {step.due.isoformat(timespec='seconds')}" if step.due is not None else ""
            lines.append(f"{stage} ({step.owner}{due})")
        on = "; ".join(f"{verdict}: {then}" for verdict, then in step.on.items())
        lines.append(f"  {step.step}: {step.uses}" + (" (passed already)" if step.passed else "") + (f" [{on}]" if on else ""))
        lines += [f"      {line}" for line in step.lines]
        if step.later:
            lines.append(f"      not known before it is there: {step.later}")
        if step.trouble:
            lines.append(f"      trouble: {step.trouble}")
    return lines
