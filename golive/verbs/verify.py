"""``inv verify``: testinfra over SSH on every host, against what the journal says is live."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from golive import engine
from golive.collect import hosts
from golive.environment import ROOT, Environment
from golive.errors import Unprepared
from golive.evidence import unkept
from golive.fleet.inventory import read_fleet
from golive.fleet.ssh_config import write_ssh_config
from golive.verbs._checks import run_checks
from golive.verbs.result import Result

__all__ = ["verify"]


def verify(env: Environment, *, quiet: bool = False) -> Result:
    """Runs every check of ``tests/verify``; passes only when all ran and none failed or was skipped.

    Raises Unprepared when nothing is provisioned or live, Held when the checks could not be run at all.
    """
    fleet = read_fleet(env)
    live = engine.live(env)
    if live is None:
        raise Unprepared(f"No release is live in {env.name} by its journal; run `./inv golive --env {env.name}` first.")
    work = env.state / "verify"
    work.mkdir(exist_ok=True)
    told = {
        "env": env.name,
        "release": live.release,
        "slot": live.slot,
        "load": live.load,
        "ssh_config": str(write_ssh_config(env, fleet, work / "ssh_config")),
    }
    started = datetime.now(UTC)
    checks = run_checks(ROOT / "tests/verify", variable="GOLIVE_VERIFY", told=told, work=work)
    if not quiet:
        sys.stderr.write(checks.output)
    why = unkept(lambda: hosts.verified(env, live.release, checks, started))
    data = {"schema": 1, "env": env.name, "release": live.release, "ok": checks.ok, "checks": checks.ran, "failed": checks.failed}
    text = f"verify {env.name}: {checks.ran} checks of {live.release}, {len(checks.failed)} not passed" + "".join(
        f"\n  {f['check']}: {f['why']}" for f in checks.failed
    )
    return Result(data, text + why, 0 if checks.ok else 4)
