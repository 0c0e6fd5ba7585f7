"""``inv verify``: testinfra over SSH on every host, against what the journal says is live."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from golive import engine
from golive.environment import ROOT, Environment
from golive.errors import Held, Unprepared
from golive.fleet.inventory import read_fleet
from golive.fleet.model import Fleet
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
    expect = work / "expected.json"
    said = {
        "env": env.name,
        "release": live.release,
        "slot": live.slot,
        "load": live.load,
        "ssh_config": str(_ssh_config(env, fleet, work)),
    }
    expect.write_text(json.dumps(said), encoding="utf-8")
    junit = work / "junit.xml"
    junit.unlink(missing_ok=True)
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        f"--junitxml={junit}",
        "--rootdir",
        str(ROOT),
        str(ROOT / "tests/verify"),
    ]
    done = subprocess.run(
        argv,
        cwd=ROOT,
        env={**os.environ, "GOLIVE_VERIFY": str(expect)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if not quiet:
        sys.stderr.write(done.stdout)
    if not junit.exists():
        raise Held(f"The checks could not be run: {done.stdout.strip().splitlines()[-1] if done.stdout.strip() else 'pytest said nothing'}")
    return _result(env, live.release, junit, done.returncode)


def _result(env: Environment, release: str, junit: Path, rc: int) -> Result:
    suite = ET.parse(junit).getroot().find("testsuite")  # noqa: S314
    if suite is None:
        raise Held(f"{junit} holds no test suite; the checks did not run.")
    counts = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
    failed = [
        {"check": f"{case.get('classname', '').rsplit('.', 1)[-1]}.{case.get('name')}", "why": (problem.get("message") or "")[:300]}
        for case in suite.iter("testcase")
        for problem in (*case.findall("failure"), *case.findall("error"), *case.findall("skipped"))
    ]
    ok = rc == 0 and counts["tests"] > 0 and not failed
    data = {"schema": 1, "env": env.name, "release": release, "ok": ok, "checks": counts["tests"], "failed": failed}
    text = f"verify {env.name}: {counts['tests']} checks of {release}, {len(failed)} not passed" + "".join(
        f"\n  {f['check']}: {f['why']}" for f in failed
    )
    return Result(data, text, 0 if ok else 4)


def _ssh_config(env: Environment, fleet: Fleet, work: Path) -> Path:
    """One ssh configuration with the pinned keys of all hosts, for testinfra's connections."""
    path = work / "ssh_config"
    hosts = "".join(f"Host {h.name}\n  HostName {h.address}\n  User {h.ssh_user}\n  Port {h.ssh_port}\n" for h in fleet.hosts)
    common = (
        f"Host *\n  IdentityFile {env.state / 'keys' / 'operator'}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {env.state / 'known_hosts'}\n"
        "  StrictHostKeyChecking yes\n  PasswordAuthentication no\n  ConnectTimeout 10\n"
    )
    path.write_text(hosts + common, encoding="utf-8")
    return path
