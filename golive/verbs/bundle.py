"""``inv bundle``: the controller itself, for a site without registries."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from golive import airgap
from golive.environment import Environment
from golive.ground.tool import tell
from golive.verbs.result import Result

__all__ = ["bundle"]


def bundle(env: Environment, *, output: str, release: list[str], key: str | None, image: bool, debs: bool) -> Result:
    """Packs, signs and says how to check and unpack it."""
    made = airgap.bundle(
        env,
        output=Path(output) if output else None,
        versions=release,
        key=Path(key) if key else None,
        with_image=image,
        with_debs=debs,
        tell=tell,
    )
    text = (
        f"{made.path}: {made.files} files, {made.bytes >> 20} MiB, sha256 {made.digest}\n"
        f"Needs Python {made.python} on {made.platform}. Unpack it there and run ./inv; docs/production.md says how to check who packed it."
    )
    return Result({"schema": 1, "env": env.name, **{**asdict(made), "path": str(made.path), "releases": list(made.releases)}}, text)
