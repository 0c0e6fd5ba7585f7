"""The lab on this machine: real hosts, closed to the outside, and drift that is found, named and repaired.

It runs on the lab of this checkout and leaves it standing, with bare hosts.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from golive import environment
from golive.environment import ROOT
from golive.fleet.inventory import read_fleet
from golive.fleet.model import Fleet
from golive.fleet.ssh import Shell
from golive.lab import image, podman, sweep

pytestmark = pytest.mark.timeout(600)

HOSTS = ["dwcp-lab-ams-1", "dwcp-lab-ams-2", "dwcp-lab-nyc-1", "dwcp-lab-nyc-2", "dwcp-lab-ops", "dwcp-lab-sgp-1", "dwcp-lab-sgp-2"]


def inv(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "inv"), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", env={**os.environ, **(env or {})}, check=False)


def inv_json(*words: str) -> tuple[int, dict[str, Any]]:
    done = inv(*words, "--json")
    data: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, data


def sh(*argv: str) -> str:
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    done = inv("provision", "--env", "lab")
    assert done.returncode == 0, done.stderr
    return read_fleet(environment.load("lab"))


@pytest.fixture(scope="module")
def shell(fleet: Fleet) -> Any:
    with Shell(environment.load("lab"), fleet) as opened:
        yield opened


def test_seven_hosts_stand_and_run(fleet: Fleet, shell: Shell) -> None:
    assert [host.name for host in fleet.hosts] == HOSTS
    answers = shell.each(fleet.hosts, ["sh", "-c", "hostname; systemctl is-system-running"])
    assert {name: answer.text.split() for name, answer in answers.items()} == {name: [name, "running"] for name in HOSTS}  # type: ignore[union-attr]


def test_every_host_reaches_every_other_and_nothing_else(fleet: Fleet, shell: Shell) -> None:
    addresses = [host.address for host in fleet.hosts]
    everyone = f"for a in {' '.join(addresses)}; do ping -q -c1 -W2 $a >/dev/null || echo $a; done"
    assert {name: done.text for name, done in shell.each(fleet.hosts, ["sh", "-c", everyone]).items()} == dict.fromkeys(HOSTS, "")  # type: ignore[union-attr]
    routes = shell.each(fleet.hosts, ["ip", "route", "get", "198.51.100.99"])
    assert all(done.rc != 0 and b"unreachable" in done.stderr for done in routes.values())  # type: ignore[union-attr]


def test_a_host_that_gives_itself_a_way_out_still_has_none(fleet: Fleet, shell: Shell) -> None:
    """Sends to an address that this machine would route out; a counter of our own on the way shows whether anything passed."""
    host = fleet.named("dwcp-lab-nyc-2")
    table = "dwcp_test_escape"
    rules = f"table inet {table} {{\nchain c {{\ntype filter hook forward priority 10\nip daddr 198.51.100.99 counter drop\n}}\n}}\n"
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    try:
        shell.run(host, ["ip", "route", "add", "198.51.100.99", "via", "10.77.2.1"])
        assert shell.run(host, ["ping", "-q", "-c2", "-W1", "198.51.100.99"]).rc != 0
        assert "counter packets 0 bytes 0" in sh("nft", "list", "table", "inet", table)
    finally:
        shell.run(host, ["ip", "route", "del", "198.51.100.99"])
        subprocess.run(["nft", "delete", "table", "inet", table], check=True)


def test_sites_meet_only_over_the_wan(fleet: Fleet, shell: Shell) -> None:
    """By way of the operator's machine there is no path: only the routers forward."""
    host = fleet.named("dwcp-lab-ams-1")
    shell.run(host, ["ip", "route", "add", "10.77.2.12", "via", "10.77.1.1"])
    try:
        assert shell.run(host, ["ping", "-q", "-c1", "-W1", "10.77.2.12"]).rc != 0
    finally:
        shell.run(host, ["ip", "route", "del", "10.77.2.12"])
    assert shell.run(host, ["ping", "-q", "-c1", "-W1", "10.77.2.12"]).rc == 0


def test_passwords_and_foreign_keys_are_refused(fleet: Fleet, tmp_path: Path) -> None:
    state = environment.load("lab").state
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    common = ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={state / 'known_hosts'}"]
    done = subprocess.run([*common, "-i", str(tmp_path / "key"), "root@10.77.1.11", "true"], capture_output=True, text=True, check=False)
    assert done.returncode == 255 and "(publickey)" in done.stderr


def test_a_second_provision_changes_nothing_and_drift_finds_nothing(fleet: Fleet) -> None:
    began = {name: podman.container(name)["State"]["StartedAt"] for name in HOSTS}  # type: ignore[index]
    code, data = inv_json("provision", "--env", "lab")
    assert (code, data["changes"]) == (0, [])
    code, data = inv_json("drift", "--env", "lab")
    assert (code, data["drift"], data["undeclared"]) == (0, [], [])
    assert {name: podman.container(name)["State"]["StartedAt"] for name in HOSTS} == began  # type: ignore[index]


def test_removed_stopped_and_unplugged_are_named_and_repaired(fleet: Fleet, shell: Shell) -> None:
    kept = fleet.named("dwcp-lab-nyc-2")
    shell.run(kept, ["touch", "/var/tmp/kept"])
    sh("podman", "rm", "--force", "--time", "0", "dwcp-lab-sgp-2")
    sh("podman", "stop", "--time", "2", "dwcp-lab-nyc-2")
    sh("ip", "netns", "delete", "dwcp-lab-ams-router")
    code, data = inv_json("drift", "--env", "lab")
    found = {row["name"]: row["why"] for row in data["drift"]}
    assert code == 6
    assert found.pop("dwcp-lab-sgp-2") == "is gone"
    assert found.pop("dwcp-lab-nyc-2") == "state up -> exited"
    assert found.pop("dwcp-lab-ams") == "state up -> no router namespace dwcp-lab-ams-router"
    assert set(found) == {"dwcp-lab-ams to dwcp-lab-nyc", "dwcp-lab-ams to dwcp-lab-sgp"}
    code, data = inv_json("provision", "--env", "lab")
    assert code == 0 and {row["name"] for row in data["changes"]} >= {"dwcp-lab-sgp-2", "dwcp-lab-nyc-2", "dwcp-lab-ams"}
    assert inv_json("drift", "--env", "lab")[0] == 0
    assert shell.run(kept, ["test", "-e", "/var/tmp/kept"]).rc == 0, "a stopped host is started again, not made anew"
    bare = fleet.named("dwcp-lab-sgp-2")
    assert shell.run(bare, ["test", "-e", "/opt/dwcp"]).rc == 1, "a removed host comes back bare"
    for address in ("10.77.2.12", "10.77.3.12"):
        assert shell.run(fleet.named("dwcp-lab-ams-1"), ["ping", "-q", "-c1", "-W2", address]).rc == 0


def test_a_host_keeps_routes_and_key_over_a_restart(fleet: Fleet, shell: Shell) -> None:
    host = fleet.named("dwcp-lab-sgp-1")
    sh("podman", "restart", "--time", "2", host.name)
    deadline = time.monotonic() + 30
    while inv("drift", "--env", "lab").returncode != 0:
        assert time.monotonic() < deadline
    assert shell.run(host, ["ping", "-q", "-c1", "-W2", "10.77.1.11"]).rc == 0


def test_another_checkout_is_refused_and_takes_nothing(fleet: Fleet, tmp_path: Path) -> None:
    other = {"GOLIVE_STATE": str(tmp_path / "other")}
    done = inv("provision", "--env", "lab", env=other)
    assert done.returncode == 5 and "belongs to the environment lab whose state is" in done.stderr, done.stderr
    assert inv("destroy", "--env", "lab", env=other).returncode == 0
    assert inv_json("drift", "--env", "lab")[0] == 0


def test_two_at_once_are_one_and_a_refusal(fleet: Fleet) -> None:
    first = subprocess.Popen([str(ROOT / "inv"), "provision", "--env", "lab"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lock = environment.load("lab").state / "terraform.lock"
    deadline = time.monotonic() + 30
    while f'"pid": {first.pid}' not in lock.read_text():
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.02)
    second = inv("drift", "--env", "lab")
    assert (second.returncode, f"pid {first.pid}" in second.stderr) == (5, True), second.stderr
    first.communicate()
    assert first.returncode == 0


def test_destroy_leaves_nothing_and_all_is_back_within_20_seconds(fleet: Fleet) -> None:
    """Half of it is removed by hand before, so that destroy has to do with what is left."""
    sh("podman", "rm", "--force", "--time", "0", "dwcp-lab-ams-1")
    sh("ip", "netns", "delete", "dwcp-lab-nyc-router")
    env = environment.load("lab")
    code, data = inv_json("destroy", "--env", "lab")
    assert (code, data["left"]) == (0, [])
    assert sweep.leftovers("lab") == []
    assert not (env.state / "fleet.json").exists() and not (env.state / "pki").exists() and not (env.state / "keys" / "operator").exists()
    assert image.present()
    assert inv("drift", "--env", "lab").returncode == 2
    assert inv_json("destroy", "--env", "lab") == (0, {"schema": 1, "env": "lab", "removed": [], "left": [], "images": []})
    began = time.monotonic()
    assert inv("provision", "--env", "lab").returncode == 0
    assert time.monotonic() - began < 20


def test_destroy_works_without_terraforms_state(fleet: Fleet) -> None:
    (environment.load("lab").state / "terraform" / "terraform.tfstate").unlink()
    assert inv("destroy", "--env", "lab").returncode == 0
    assert sweep.leftovers("lab") == []
    assert inv("provision", "--env", "lab").returncode == 0


def test_a_name_or_network_that_somebody_else_has_is_left_alone(fleet: Fleet) -> None:
    assert inv("destroy", "--env", "lab").returncode == 0
    try:
        sh("podman", "create", "--name", "dwcp-lab-sgp-2", image.reference(), "/bin/true")
        done = inv("provision", "--env", "lab")
        assert done.returncode == 2 and "Container dwcp-lab-sgp-2 exists on this machine but was not made by" in done.stderr
        sh("podman", "rm", "dwcp-lab-sgp-2")
        sh("ip", "link", "add", "dwcp-test-taken", "type", "bridge")
        sh("ip", "address", "add", "10.77.3.200/25", "dev", "dwcp-test-taken")
        sh("ip", "link", "set", "dwcp-test-taken", "up")
        done = inv("provision", "--env", "lab")
        assert done.returncode == 2 and "10.77.3.0/24" in done.stderr and "dwcp-test-taken" in done.stderr
        assert sweep.leftovers("lab") == []
    finally:
        subprocess.run(["podman", "rm", "--ignore", "dwcp-lab-sgp-2"], capture_output=True, check=False)
        subprocess.run(["ip", "link", "delete", "dwcp-test-taken"], capture_output=True, check=False)
    assert inv("provision", "--env", "lab").returncode == 0
