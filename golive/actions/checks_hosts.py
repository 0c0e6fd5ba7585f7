"""``checks.hosts``: every host is up, healthy and has room, and the incumbent answers on each agent host."""

from __future__ import annotations

import time

from pydantic import BaseModel, ConfigDict, Field

from golive.actions._check import Check, on_each
from golive.actions._https import client, get
from golive.actions._world import aside, release_of, slot_of, world
from golive.actions.checks_smoke import CONTROL_PORT
from golive.actions.port import Outcome, StepContext, action
from golive.errors import Refused
from golive.fleet.model import Host

__all__ = ["ChecksHosts"]

_LOOK = (
    # A systemctl that fails must not be read as "no failed units", which is what counting the lines of its silence would say.
    "u=$(systemctl list-units --state=failed --plain --no-legend) || exit 1; "
    "cat /proc/sys/kernel/random/boot_id; date +%s.%N; df --output=avail,pcent -B1 / | tail -1; "
    'printf %s "$u" | grep -c .; cat /proc/loadavg; nproc'
)


@action
class ChecksHosts(Check):
    """SSH answers, no failed unit, disk not over its limit, clock within two seconds of this machine's; agents say they are ready."""

    name = "checks.hosts"

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        disk_used_percent: int = Field(default=90, ge=1, le=99)
        clock_skew_s: float = Field(default=2.0, gt=0)

    def apply(self, ctx: StepContext, todo: object) -> Outcome:
        fleet = ctx.fleet()
        shell = world(ctx.env, fleet).shell
        serving = release_of(ctx, "incumbent") if ctx.incumbent else None
        slot = slot_of(ctx, "incumbent") if serving else ""

        with client(ctx.env) as opened:

            def look(host: Host) -> str:
                before = time.time()
                got = shell.run(host, ["sh", "-c", _LOOK], timeout_s=15)
                after = time.time()
                lines = got.stdout.decode(errors="replace").splitlines()
                if got.rc != 0 or len(lines) != 6:
                    raise Refused(
                        f"{host.name}: the host does not answer sensibly: {got.stderr.decode(errors='replace').strip()[:200]}",
                        host=host.name,
                    )
                skew = max(before - float(lines[1]), float(lines[1]) - after, 0.0)
                free, used = lines[2].split()
                if skew > ctx.params["clock_skew_s"]:
                    raise Refused(f"{host.name}: its clock is {skew:.1f} s off", host=host.name)
                if int(used.rstrip("%")) > ctx.params["disk_used_percent"]:
                    raise Refused(f"{host.name}: its disk is {used} full ({int(free) / 2**30:.1f} GiB left)", host=host.name)
                if lines[3].strip() != "0":
                    raise Refused(
                        f"{host.name}: {lines[3].strip()} systemd units have failed; see `systemctl --failed` there", host=host.name
                    )
                if host.role == "agent" and serving is not None:
                    ready = get(opened, f"https://{host.address}:{CONTROL_PORT[slot]}/ready", host.name)
                    if ready.status_code != 200 or ready.json().get("id") != serving:
                        raise Refused(f"{host.name}: the incumbent {serving} is not ready there: {ready.text[:160]!r}", host=host.name)
                return f"disk {used} used, load {lines[4].split()[0]} on {lines[5]} cores"

            return on_each([host for host in fleet.hosts if host.name not in aside(ctx)], look, "hosts healthy")
