"""What Terraform and the plays leave on simulated hosts."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from golive.errors import GoliveError, Unreachable
from golive.fleet.ansible import PlayResult
from golive.fleet.inventory import read_fleet, write_fleet
from golive.fleet.lock import held
from golive.fleet.model import Host
from golive.fleet.terraform import Change
from golive.ground.look import Looked
from golive.ground.provision import Provisioned
from golive.releases.signing import trust
from golive.sim.shell import SimShell, onhost
from golive.sim.world import SimHost, World

__all__ = ["look", "play", "provision"]


def provision(world: World) -> Provisioned:
    """The fleet is recorded as it is: a machine that was replaced is pinned by its new key, as a Terraform that made it anew would."""
    with held(world.env, "provision"):
        killed = world.directory / "kill-terraform"
        if killed.exists():
            killed.unlink()
            raise GoliveError("Terraform was ended before its plan was applied; the same command plans anew.")
        changes = _changes(world)
        if changes:
            write_fleet(world.env, {"hosts": [host.model_dump() for host in world.fleet.hosts]})
    return Provisioned(world.fleet, changes, {})


def look(world: World) -> Looked:
    """What a plan would find, without one: the machines as they are, held against the record."""
    with held(world.env, "golive"):
        changes = _changes(world)
    applied = _pinned(world) is not None
    return Looked(applied, changes, missing=() if applied else ("fleet.json",))


def _changes(world: World) -> tuple[Change, ...]:
    before = _pinned(world) or {}
    world.__init__(world.env)  # type: ignore[misc]  # keys may be other ones now
    now = {host.name: host.host_key for host in world.fleet.hosts}
    done = {name: "update" if name in before else "create" for name in now if before.get(name) != now[name]}
    return tuple(
        Change(f"sim_host.{name}", name, action, "its host key is another" * (action == "update"), "sim_host", {})
        for name, action in done.items()
    )


def _pinned(world: World) -> dict[str, str] | None:
    """The host keys as recorded; None when nothing ever was."""
    try:
        return {host.name: host.host_key for host in read_fleet(world.env).hosts}
    except GoliveError:
        return None


def play(
    world: World,
    point: Callable[[], None],
    ctx: Any,
    playbook: str,
    extravars: Mapping[str, Any],
    limit: Sequence[str] | None,
    *,
    check: bool = False,
) -> PlayResult:
    """``base.yml`` and ``install.yml``; host after host, so that one that is killed has reached some of them."""
    fleet = read_fleet(world.env)
    hosts = [host for host in fleet.hosts if limit is None or host.name in limit]
    shell, began = SimShell(world, fleet, point), time.monotonic()
    changed: dict[str, int] = {}
    failed: dict[str, str] = {}
    unreachable: dict[str, str] = {}
    killed = world.directory / "kill-ansible"
    for number, host in enumerate(hosts):
        if killed.exists() and number >= len(hosts) // 2:
            killed.unlink()
            raise Unreachable(f"{playbook} was ended before it had a result, so how far it came is unknown.")
        ctx.check()
        try:
            shell.run(host, ["true"], timeout_s=20)
            book = _BOOKS[playbook]
            if check and playbook != "base.yml":
                continue  # what it would install is not there yet
            changed[host.name] = len(_differs(world, host)) if check else book(world, host, extravars)
        except KeyError:
            said = f"Simulated hosts know nothing of {playbook}; golive/sim/plays.py has to say what it leaves on them."
            raise GoliveError(said) from None
        except Unreachable as error:
            unreachable[host.name] = str(error)
        except (GoliveError, OSError) as error:
            failed[host.name] = str(error)
    return PlayResult(playbook, 4 if unreachable else 2 if failed else 0, changed, failed, unreachable, time.monotonic() - began)


def _differs(world: World, host: Host) -> dict[Path, str]:
    """Files of the base play that are not as it leaves them."""
    places, trusted = world.host(host.name).places, trust(world.env)
    wanted = {
        places.allowed_signers: trusted.allowed_signers.read_text(encoding="utf-8"),
        places.signature_namespace: trusted.namespace + "\n",
        places.etc / "host.json": json.dumps({"name": host.name, "address": host.address}),
        **{places.tls / name: f"simulated {name} of {host.name}\n" for name in ("ca.crt", "agent.crt", "agent.key")},
    }
    return {path: text for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text}


def _base(world: World, host: Host, extravars: Mapping[str, Any]) -> int:
    there, now = world.host(host.name), world.clock.world()
    differs = _differs(world, host)
    for path, text in differs.items():
        if there.condition.full:
            raise OSError(28, "No space left on device", str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    changed = len(differs)
    if host.gateway:
        (there.root / "run/dwcp-gateway").mkdir(parents=True, exist_ok=True)
        if "haproxy" not in there.condition.dead and not there.ledger.read().haproxy:
            start_haproxy(world, there, now)
            changed += 1
    return changed


def start_haproxy(world: World, there: SimHost, now: float) -> None:
    """HAProxy runs with the maps that lie on disk, as its unit starts it."""
    onhost(world, there, ["slot", "render"])
    maps = {}
    for name in ("weights.map", "releases.map", "slots.map"):
        lines = (there.places.gateway / name).read_text(encoding="utf-8").splitlines()
        maps[name] = dict(line.split() for line in lines if line)
    there.ledger.write(now, "haproxy", up=True, maps=maps)


def _install(world: World, host: Host, extravars: Mapping[str, Any]) -> int:
    there = world.host(host.name)
    if there.condition.full:
        raise OSError(28, "No space left on device", str(there.root))
    bundle = there.root / f"var/lib/dwcp/host/{extravars['dwcp_release_id']}.tar"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(extravars["dwcp_release_bundle"], bundle)
    words = ["install", str(bundle), f"--kind={extravars['dwcp_release_kind']}", f"--slot={extravars['dwcp_release_slot']}"]
    words += [f"--token={extravars['dwcp_token']}", f"--run={extravars['dwcp_run']}", "--remove-bundle"]
    done, _ = onhost(world, there, words)
    if done.rc != 0:
        raise GoliveError(done.stderr.decode().strip())
    return int(json.loads(done.stdout)["changed"])


_BOOKS: dict[str, Callable[[World, Host, Mapping[str, Any]], int]] = {"base.yml": _base, "install.yml": _install}
