"""``checks.controller``: the operator's machine has what a run needs before anything is touched."""

from __future__ import annotations

import shutil

from pydantic import BaseModel, ConfigDict

from golive.actions._check import Check
from golive.actions.port import Outcome, StepContext, action
from golive.gates.verdict import Verdict

__all__ = ["ChecksController"]

_TOOLS = ("ssh", "ssh-keygen", "ssh-keyscan")
_LAB_TOOLS = ("podman", "ip", "nft")
_FREE_BYTES = 2 * 2**30
"""A run keeps Ansible output, logs and a report; two GiB leave room for several."""


@action
class ChecksController(Check):
    """Tools on PATH and free disk under the state directory."""

    name = "checks.controller"

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")

    def apply(self, ctx: StepContext, todo: object) -> Outcome:
        tools = _TOOLS + (_LAB_TOOLS if ctx.env.is_lab and not ctx.env.is_sim else ())
        missing = [tool for tool in tools if shutil.which(tool) is None]
        free = shutil.disk_usage(ctx.env.state).free
        data = {"tools": list(tools), "missing": missing, "free_bytes": free}
        if missing:
            return Outcome(Verdict.FAIL, f"this machine lacks {', '.join(missing)}; install them and run the same command again", data)
        if free < _FREE_BYTES:
            return Outcome(Verdict.FAIL, f"only {free / 2**30:.1f} GiB free under {ctx.env.state}; 2 are needed", data)
        return Outcome(Verdict.PASS, f"{len(tools)} tools, {free / 2**30:.0f} GiB free", data)
