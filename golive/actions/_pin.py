"""The pin of the approvers file that is not on the controller: its digest on the ops host, put there by root and by no one else."""

from __future__ import annotations

import re

from golive.actions._world import command, world
from golive.actions.port import StepContext
from golive.approvals import Approvers
from golive.errors import BadInput, GoliveError, Refused, Unprepared, Unreachable

__all__ = ["PIN", "pinned_on_ops"]

PIN = "/etc/dwcp/approvers.sha256"


def pinned_on_ops(ctx: StepContext, approvers: Approvers) -> None:
    """Returns when the ops host pins the very file that was read, or the environment's policy asks for no such pin.

    ``approvals: {host_pin: none}`` of the policy leaves it out; in anything but a lab it is required unless that is written.

    Raises:
        Unreachable: the host does not answer.
        Unprepared: nothing is pinned there. The toolkit never writes it: whoever holds the controller would write it, too.
        Refused: another file is pinned, or somebody else than root could have written the pin.
    """
    wanted = (ctx.env.policy.get("approvals") or {}).get("host_pin", "none" if ctx.env.is_lab else "required")
    if wanted == "none":
        return
    if wanted != "required":
        raise BadInput(f"policies/{ctx.env.settings.policy}.yaml: approvals.host_pin is required or none, not {wanted!r}.")
    fleet = ctx.fleet()
    ops = fleet.ops
    words = command(ops, "sh", "-c", f"stat -c '%u %a' {PIN} && head -c 4096 {PIN}")
    got = world(ctx.env, fleet).shell.each([ops], words, timeout_s=30)[ops.name]
    if isinstance(got, GoliveError):
        raise Unreachable(f"Whether {ops.name} pins the approvers is unknown: {got}", host=ops.name)
    if got.rc != 0:
        raise Unprepared(
            f"{ops.name}:{PIN} is missing. Whoever reviewed approvers.yaml puts its digest there, as root and not from the controller: "
            f"echo {approvers.digest} > {PIN}"
        )
    first, _, rest = got.stdout.decode(errors="replace").partition("\n")
    owner, _, mode = first.partition(" ")
    if owner != "0" or not re.fullmatch(r"0?[0-7]{3}", mode) or int(mode, 8) & 0o022:
        raise Refused(f"{ops.name}:{PIN} can be written by others than root (owner {owner}, mode {mode}); it pins nothing.", host=ops.name)
    if rest.split()[:1] != [approvers.digest]:
        raise Refused(
            f"inventories/{ctx.env.name}/approvers.yaml is not the file that {ops.name} pins ({approvers.digest[:12]}); one of the two was "
            f"changed.",
            host=ops.name,
        )
