"""The faults that can strike real hosts and their controller, and how each is lifted. What they leave behind, ``lab_mending`` finds too."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from golive.chaos.clock import WallClock
from golive.chaos.lab_mending import DISK, REAL, SSH, TABLE, network_of, rules_gone, ssh_goes_on
from golive.chaos.lab_port import Operator, Stage
from golive.chaos.lab_process import marked
from golive.environment import Environment
from golive.errors import BadInput
from golive.fleet.model import Fleet, Host
from golive.lab import podman
from golive.lab.commands import must, run
from golive.lab.names import router_namespace

__all__ = ["FAULTS", "Fault", "Scene", "named"]

Lift = Callable[[], None]

_LOOK_S = 30.0
"""How long a program of the run is waited for that is to be killed."""

_SECOND = {"golive": (5,), "rollback": (3, 4, 5)}
"""How a second operator's command may end: to go back is asked of the process that holds the run, whose end is told."""

_ALL = """table inet {table} {{
  chain in {{ type filter hook input priority -200; policy drop; iifname "lo" accept; }}
  chain out {{ type filter hook output priority -200; policy drop; oifname "lo" accept; }}
}}
"""
_ROUTER = """table inet {table} {{
  chain in {{ type filter hook input priority -200; policy drop; }}
  chain forward {{ type filter hook forward priority -200; policy drop; }}
}}
"""
_CONTROLLER = """table inet {table} {{
  chain in {{ type filter hook input priority -200; policy accept; ip saddr {net} drop; }}
  chain out {{ type filter hook output priority -200; policy accept; ip daddr {net} drop; }}
}}
"""
_SMALL = f"""
set -e
mkdir -p {REAL}
mount --bind {DISK} {REAL}
mount -t tmpfs -o size=8m,mode=$(stat -c %a {REAL}) dwcp-chaos {DISK}
chown --reference={REAL} {DISK}
cp -a {REAL}/. {DISK}/
"""


@dataclass
class Scene:
    """What a fault has to work with."""

    env: Environment
    fleet: Fleet
    stage: Stage
    rng: random.Random
    clock: WallClock
    """Of a controller that was started with one."""
    victim: Host
    controller: Operator | None = None
    words: tuple[str, ...] = ()
    """What the controller was told."""
    missed: str = ""
    """Why the fault did not strike after all."""
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Fault:
    """One kind of fault. ``strike`` returns how it is lifted."""

    name: str
    strike: Callable[[Scene], Lift]
    prepare: Callable[[Scene], None] | None = None
    """Done before the run is started, while nothing works on the host."""
    kills: bool = False
    """The controller is killed where it stands."""
    inside: bool = False
    """Strikes some time into a step, not at a record."""
    ground: int = 0
    """Strikes this one of the steps of the stage that makes the hosts that have something to do: the base play, always, and what comes
    before it where ``prepare`` made it needed."""
    may_lose: bool = False
    """It ends or cuts what answers users."""
    restarts: bool = False
    """It ends units, which systemd starts again."""
    replaces: bool = False
    jumps: bool = False
    slow: bool = False
    """It takes seconds to strike: on the way back, which takes few, it begins with it."""
    lasts_s: tuple[float, float] = (4.0, 20.0)


def _nothing(scene: Scene) -> Lift:
    return lambda: None


def _program(program: str) -> Callable[[Scene], Lift]:
    def strike(scene: Scene) -> Lift:
        if _running(scene, program):
            time.sleep(scene.rng.uniform(0, 3.0))
        if not [pid for pid in _running(scene, program) if _killed(pid)]:
            scene.missed = f"no {program} of the run was seen"
        return lambda: None

    return strike


def _running(scene: Scene, program: str) -> list[int]:
    """Pids of the run's processes of that name, once there are any; none when there are none while the controller lives."""
    end, found = time.monotonic() + _LOOK_S, list[int]()
    while not found and time.monotonic() < end and scene.controller is not None and scene.controller.status is None:
        found = marked(scene.env.name, program)
        time.sleep(0.01)
    return found


def _killed(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def _machine_off(scene: Scene) -> None:
    must(["podman", "stop", "--time", "0", scene.victim.name], timeout_s=120)


def _unit(pattern: str, where: Callable[[Scene], Host]) -> Callable[[Scene], Lift]:
    def strike(scene: Scene) -> Lift:
        host = where(scene)
        done = run(["podman", "exec", host.name, "systemctl", "kill", "--kill-whom=main", "--signal=KILL", pattern])
        if not done.ok:
            scene.missed = done.complaint
        return lambda: None

    return strike


def _cut_host(scene: Scene) -> Lift:
    inspected = podman.container(scene.victim.name)
    pid = podman.started(inspected) if inspected else None
    inside = ["nsenter", "-t", str(pid), "-n"]
    must([*inside, "nft", "-f", "-"], text=_ALL.format(table=TABLE))
    return lambda: _gone(inside)


def _cut_site(scene: Scene) -> Lift:
    site = scene.victim.site
    router = ["ip", "netns", "exec", router_namespace(network_of(scene.env, site))]
    net = ".".join(scene.victim.address.split(".")[:3]) + ".0/24"
    must([*router, "nft", "-f", "-"], text=_ROUTER.format(table=TABLE))
    must(["nft", "-f", "-"], text=_CONTROLLER.format(table=TABLE, net=net))

    def lift() -> None:
        _gone(router)
        _gone()

    return lift


def _cut_controller(scene: Scene) -> Lift:
    nets = sorted({".".join(host.address.split(".")[:3]) + ".0/24" for host in scene.fleet.hosts})
    must(["nft", "-f", "-"], text=_CONTROLLER.format(table=TABLE, net="{ " + ", ".join(nets) + " }"))
    return lambda: _gone()


def _gone(inside: list[str] | None = None) -> None:
    rules_gone(inside)


def _small_disk(scene: Scene) -> None:
    must(["podman", "exec", scene.victim.name, "sh", "-c", _SMALL])


def _fill_disk(scene: Scene) -> Lift:
    name = scene.victim.name
    run(["podman", "exec", name, "sh", "-c", f"cat /dev/zero > {DISK}/.full 2>/dev/null; true"])
    return lambda: _ignored(["podman", "exec", name, "rm", "-f", f"{DISK}/.full"])


def _ignored(argv: list[str]) -> None:
    run(argv)


def _stopped(scene: Scene) -> Lift:
    controller = scene.controller
    assert controller is not None
    controller.send(signal.SIGSTOP)
    return lambda: controller.send(signal.SIGCONT)


def _clock(scene: Scene) -> Lift:
    if scene.controller is not None and scene.controller.status is None and not scene.clock.holds(scene.controller.pid):
        scene.wrong.append("the controller does not run under the clock that was to jump")
    scene.clock.set(scene.rng.choice((3600, -3600, 30, -30)))
    return lambda: scene.clock.set(0)


def _second(scene: Scene) -> Lift:
    other = scene.stage.type(scene.words)
    status = other.waited(60.0)
    if status is None:
        other.end()
    if status in _SECOND[scene.words[0]]:
        return lambda: None  # also when the first one ended meanwhile: to go back is asked of its process, and ends with it
    if scene.controller is not None and scene.controller.status is not None:
        scene.missed = "the first operator's command had ended"
    elif status == BadInput.exit_code and scene.words[0] == "rollback" and not scene.stage.state().open:
        scene.missed = "the first operator's run was over"
    else:
        scene.wrong.append(f"a second operator's {scene.words[0]} ended with {status}: {other.said[:200]}")
    return lambda: None


def _reboot(scene: Scene) -> Lift:
    must(["podman", "restart", "--time", "0", scene.victim.name], timeout_s=120)
    return lambda: None


def _replaced(scene: Scene) -> Lift:
    must(["podman", "rm", "--force", "--time", "0", scene.victim.name], timeout_s=120)

    def lift() -> None:
        made = scene.stage.type(("provision", "--env", scene.env.name))
        if made.waited(300.0) != 0:
            made.end()
            scene.wrong.append(f"a host in place of {scene.victim.name} could not be made: {made.said[:200]}")

    return lift


def _hangs(scene: Scene) -> Lift:
    name = scene.victim.name
    must(["podman", "exec", name, "sh", "-c", SSH.format(signal="STOP")])
    return lambda: ssh_goes_on(name)


def _gateway(scene: Scene) -> Host:
    return scene.rng.choice(list(scene.fleet.gateways))


FAULTS = (
    Fault("kill -9 controller at a record", _nothing, kills=True),
    Fault("kill -9 controller inside a step", _nothing, kills=True, inside=True),
    Fault("kill ansible-playbook", _program("ansible-playbook"), ground=1),
    Fault("SIGSTOP for a while", _stopped, lasts_s=(20.0, 60.0)),
    Fault("two operators", _second, slow=True),
    Fault("kill the guard", _unit("dwcp-guard.service", _gateway)),
    Fault("cut the controller", _cut_controller),
    Fault("kill prometheus", _unit("prometheus.service", lambda scene: scene.fleet.ops)),
    Fault("cut a host", _cut_host, may_lose=True),
    Fault("SSH accepts and hangs", _hangs),
    Fault("clock of the controller jumps", _clock, jumps=True),
    Fault("kill an agent", _unit("dwcp-agent@*.service", lambda scene: scene.victim), may_lose=True, restarts=True),
    Fault("fill a disk", _fill_disk, prepare=_small_disk),
    Fault("kill haproxy", _unit("haproxy.service", _gateway), may_lose=True),
    Fault("kill terraform", _program("terraform"), prepare=_machine_off, ground=1, may_lose=True, restarts=True),
    Fault("cut a site", _cut_site, may_lose=True),
    Fault("host reboots", _reboot, may_lose=True, restarts=True),
    Fault("host replaced by another of its name", _replaced, may_lose=True, restarts=True, replaces=True),
)
"""In the order in which the first rounds take them. Neither a worker nor PostgreSQL is drawn: the lab has none by itself."""


def named(name: str) -> Fault:
    """The fault called ``name``. Raises KeyError."""
    for fault in FAULTS:
        if fault.name == name:
            return fault
    raise KeyError(name)
