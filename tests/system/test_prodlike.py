"""An owner's machines, from preflight to 100 %: the toolkit made none of them, logs in as a user who has sudo, and only through a bastion.

The tests go on from one another, in order. Real pace, production's policy, keys and CA of the owner's; only the plan is short.
Three people approve, each with a key of their own; whoever starts the run approves nothing.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.deciders import Deciders
from tests.support.prodlike import MACHINES, OUTSIDE, SECRET, Machine, Owner, owner, reachable_directly, run

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owner]:
    with owner(tmp_path_factory.mktemp("prodlike")) as made:
        yield made


def problems(data: dict[str, Any], name: str = "") -> dict[str, str]:
    """What preflight calls a problem of one host, or of this machine, by check."""
    rows = next((host["findings"] for host in data["hosts"] if host["name"] == name), []) if name else data["controller"]
    return {row["check"]: row["says"] for row in rows if row["grade"] == "problem"}


def test_the_bastion_is_the_only_way_in(world: Owner) -> None:
    assert reachable_directly(f"{OUTSIDE}.5")
    assert not any(reachable_directly(machine.address) for machine in MACHINES)


def test_planted_problems_of_all_hosts_are_told_at_once_and_looking_changes_nothing(world: Owner) -> None:
    world.on("fra-1", "systemd-run", "--collect", "--unit=squatter", "socat", "TCP-LISTEN:7443,fork,reuseaddr", "EXEC:/bin/true")
    world.on("fra-2", "rm", "/etc/sudoers.d/deploy")
    world.on("muc-1", "mkdir", "-p", "/var/lib/dwcp/host", "/opt/dwcp")
    world.on("muc-1", "sh", "-c", 'echo \'{"token": 41, "owner": "20260101T000000Z-aaaaaa"}\' > /var/lib/dwcp/host/fence.json')
    pki, key = world.state / "pki", world.state / "keys" / "operator"
    (pki / "fra-2" / "load.key").rename(pki / "fra-2" / "kept.key")
    world.certificate(pki / "ops" / "monitor", "monitor", "monitor.ops", ["ops", "192.0.2.1"], days=3)
    key.chmod(0o644)
    world.list_hosts(ops={"host_key": world.host_keys["jump"].replace("AAAAC3NzaC1lZDI1NTE5AAAAI", "AAAAC3NzaC1lZDI1NTE5AAAAIA", 1)[:80]})
    listing = "find /etc /opt /var/lib /usr/local -xdev -printf '%p %s %T@ %m %u\\n' | grep -v -E '/var/lib/(systemd|private)' | sha256sum"
    before = world.on("fra-1", "sh", "-c", listing)

    code, data, said = world.inv("preflight", "--env", "prod")

    assert code == 4, said
    assert world.on("fra-1", "sh", "-c", listing) == before
    assert "port 7443 is held by socat (squatter.service)" in problems(data, "fra-1")["ports"]
    assert "deploy cannot become root without a password" in problems(data, "fra-2")["sudo"]
    assert "load.key is missing" in problems(data, "fra-2")["certificates"]
    assert "what another installation left" in problems(data, "muc-1")["foreign"]
    assert "run 20260101T000000Z-aaaaaa of another controller" in problems(data, "muc-1")["fence"]
    assert "another host key than the pinned one" in problems(data, "ops")["ssh"]
    assert "certificates" in problems(data, "ops")
    here = problems(data)
    assert "chmod 600" in here["key"] and "Release" in here["releases"]

    world.on("fra-1", "systemctl", "stop", "squatter.service")
    world.on("fra-2", "sh", "-c", "umask 227; echo 'deploy ALL=(root) NOPASSWD: ALL' > /etc/sudoers.d/deploy")
    world.on("muc-1", "rm", "-rf", "/var/lib/dwcp", "/opt/dwcp")
    (pki / "fra-2" / "kept.key").rename(pki / "fra-2" / "load.key")
    world.certificate(pki / "ops" / "monitor", "monitor", "monitor.ops", ["ops", f"{MACHINES[3].address}"])
    key.chmod(0o600)
    world.list_hosts()


def test_an_error_in_the_list_of_hosts_is_told_with_its_line(world: Owner) -> None:
    text = (world.inventory / "hosts.yaml").read_text()
    (world.inventory / "hosts.yaml").write_text(text.replace("site: muc", "sight: muc").replace("role: ops", "role: chef"))
    code, data, _ = world.inv("preflight", "--env", "prod")
    (world.inventory / "hosts.yaml").write_text(text)
    lines = data["error"]["message"].splitlines()
    assert code == 2 and len(lines) == 3
    assert all(line.startswith("inventories/prod/hosts.yaml:") for line in lines)


def test_releases_are_signed_with_the_owners_key_and_then_nothing_stands_in_the_way(world: Owner) -> None:
    for version in ("2.9.0", "3.0.0", "1.1.0"):
        code, _, said = world.inv("package", "--env", "prod", "--release", version, "--key", str(world.work / "release"))
        assert code == 0, said
    code, data, said = world.inv("preflight", "--env", "prod")
    assert code == 0, json.dumps(data, indent=1)
    assert all(host["asked"] for host in data["hosts"]) and len(data["hosts"]) == len(MACHINES)


def test_machines_are_adopted_as_they_are(world: Owner) -> None:
    code, data, said = world.inv("provision", "--env", "prod")
    assert code == 0, said
    assert {change["action"] for change in data["changes"]} == {"create"} and data["unreachable"] == []
    code, data, said = world.inv("provision", "--env", "prod")
    assert code == 0 and data["changes"] == [], said
    assert world.inv("drift", "--env", "prod")[0] == 0


def test_a_release_goes_live_through_the_bastion_as_a_user_with_sudo(world: Owner) -> None:
    began = time.monotonic()
    with Deciders(world, run).at_work() as people:
        code, status, said = world.inv("golive", "--env", "prod", timeout_s=1500)
    print(f"go-live took {time.monotonic() - began:.0f} s")
    assert code == 0, said[-3000:] + "".join(people.trouble)
    assert not people.trouble and any("GO: 3.0.0" in line for line in people.told), people.told
    assert status["outcome"] == "succeeded" and status["release"] == "3.0.0" and status["max_candidate_weight"] == 100
    assert status["traffic"] == {"fra-1": {"3.0.0": 100, "2.9.0": 0}, "muc-1": {"3.0.0": 100, "2.9.0": 0}}
    units = json.loads(world.on("fra-2", "/usr/local/sbin/dwcp-host", "status"))
    assert [entry["version"] for entry in units["releases"] if entry["active"]] == ["3.0.0"]


def test_every_check_on_the_hosts_passes_through_the_bastion(world: Owner) -> None:
    code, data, said = world.inv("verify", "--env", "prod")
    assert code == 0, data.get("failed", said)


def test_a_secret_of_the_vault_is_on_its_host_and_nowhere_on_this_machine(world: Owner) -> None:
    assert SECRET in world.on("ops", "cat", "/etc/prometheus/alertmanager.yml")
    found = [path for path in (world.checkout / ".golive").rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert found == []
    # Alertmanager itself names a receiver that it cannot reach; what a module was given is in no host's journal.
    told = [line for line in world.on("ops", "journalctl", "--no-pager", "--output=cat").splitlines() if SECRET in line]
    assert not [line for line in told if "Invoked with" in line or "ansible" in line]


def test_a_host_replaced_by_another_of_the_same_name_is_refused_by_its_key(world: Owner) -> None:
    muc = next(machine for machine in MACHINES if machine.name == "muc-1")
    world.gone("muc-1")
    world.boot(Machine(muc.name, muc.number), key="muc-1-another")
    # Neighbours find the new machine at the old address.
    world.on("jump", "ping", "-c", "20", "-i", "0.5", "-w", "30", "-q", muc.address)
    code, data, said = world.inv("drift", "--env", "prod")
    assert code == 6 and "muc-1" in json.dumps(data["drift"]), said
    assert "another host key than the pinned one" in json.dumps(data)
    code, data, _ = world.inv("preflight", "--env", "prod")
    assert code == 4 and "another host key than the pinned one" in problems(data, "muc-1")["ssh"]
    code, _, said = world.inv("golive", "--env", "prod")
    assert code == 4 and "muc-1" in said
    assert "Accepted publickey" not in world.on("muc-1", "journalctl", "--no-pager", "--unit=ssh.service")


def test_nothing_of_the_owners_keys_left_the_operators_machine(world: Owner) -> None:
    body = Path(world.work / "operator").read_text().splitlines()[1]
    for machine in MACHINES[:2]:
        assert body not in world.on(machine.name, "sh", "-c", "cat /home/deploy/.ssh/* /etc/dwcp/tls/* 2>/dev/null; true")
    assert shutil.which("podman") and run("podman", "exec", "dwcp-prodlike-jump", "ls", "/home/hop").strip() == ""
