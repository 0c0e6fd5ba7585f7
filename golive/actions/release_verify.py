"""``release.verify``: the release in the store is the one that was signed, to the byte."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from golive import releases
from golive.actions._check import Check
from golive.actions._world import release_of
from golive.actions.port import Outcome, StepContext, action
from golive.gates.verdict import Verdict

__all__ = ["ReleaseVerify"]


@action
class ReleaseVerify(Check):
    """Signature by a pinned signer, then the SHA-256 of every file; a release with a planted defect is refused outside the lab."""

    name = "release.verify"

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        release: Literal["candidate", "incumbent", "load"]

    def apply(self, ctx: StepContext, todo: object) -> Outcome:
        release = releases.verified(ctx.env, release_of(ctx, ctx.params["release"]))
        return Outcome(Verdict.PASS, f"{release.id}: signature and {len(release.files)} files verified", {"digest": release.digest})
