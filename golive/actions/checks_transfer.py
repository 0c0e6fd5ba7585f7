"""``checks.transfer``: a real transfer over the data streams, from each site to the next, verified at both ends."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from golive.actions._check import Check, on_each
from golive.actions._world import command, release_of, slot_of, world
from golive.actions.checks_smoke import CONTROL_PORT
from golive.actions.port import Outcome, StepContext, action
from golive.errors import Refused
from golive.fleet.model import Host

__all__ = ["ChecksTransfer"]

_TLS = "/etc/dwcp/tls"
_STORE = "/var/lib/dwcp/store"


@action
class ChecksTransfer(Check):
    """``dwcp send`` of random and zero pages to the next site's first host; the file there must have the SHA-256 of the file here.

    Both are computed by the hosts' own ``sha256sum``: neither agent is believed.
    """

    name = "checks.transfer"

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        release: Literal["candidate", "incumbent"]
        size_mib: int = Field(default=4, ge=1, le=1024)

    def apply(self, ctx: StepContext, todo: object) -> Outcome:
        fleet = ctx.fleet()
        wanted, slot = release_of(ctx, ctx.params["release"]), slot_of(ctx, ctx.params["release"])
        firsts = list(fleet.gateways)
        onward = {a.name: b for a, b in zip(firsts, firsts[1:] + firsts[:1], strict=True)}
        shell = world(ctx.env, fleet).shell

        def send(host: Host) -> str:
            target, mib = onward[host.name], ctx.params["size_mib"]
            script = (
                "set -eu; f=$(mktemp); trap 'rm -f \"$f\"' EXIT; "
                f'{{ head -c {mib // 2 + 1}M /dev/urandom; head -c {mib - mib // 2}M /dev/zero; }} > "$f"; '
                f'sum=$(sha256sum "$f" | cut -d" " -f1); '
                f'/opt/dwcp/releases/{wanted}/bin/dwcp send "$f" https://{target.address}:{CONTROL_PORT[slot]}/functional/{host.name} '
                f"--ca {_TLS}/ca.crt --cert {_TLS}/agent.crt --key {_TLS}/agent.key --json; "
                'echo "{\\"expected\\": \\"$sum\\"}"'
            )
            got = shell.run(host, command(host, "sh", "-c", script), timeout_s=120)
            lines = [line for line in got.stdout.decode(errors="replace").splitlines() if line.startswith("{")]
            if got.rc != 0 or len(lines) != 2:
                said = got.stderr.decode(errors="replace").strip().splitlines()
                raise Refused(
                    f"{host.name}: sending {mib} MiB to {target.name} failed: {said[-1] if said else f'exit {got.rc}'}", host=host.name
                )
            receipt, expected = json.loads(lines[0]), json.loads(lines[1])["expected"]
            stored = f"{_STORE}/agent.{host.name}/functional/{host.name}"
            there = shell.run(target, command(target, "sha256sum", stored), timeout_s=120)
            if there.rc != 0 or there.stdout.decode(errors="replace").split()[:1] != [expected]:
                raise Refused(f"{host.name}: {target.name} committed other content than was sent", host=host.name)
            return f"{receipt.get('bytes')} bytes to {target.name} in {receipt.get('seconds')} s"

        return on_each(firsts, send, f"transfers between sites by {wanted}")
