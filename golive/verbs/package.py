"""``inv package``: releases are built and signed; or one is frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from golive import releases
from golive.environment import Environment
from golive.errors import BadInput
from golive.lab import keys
from golive.releases import Release
from golive.verbs.result import Result

__all__ = ["package"]


def package(
    env: Environment, *, release: str | None = None, defect: str | None = None, key: str | None = None, freeze: str | None = None
) -> Result:
    """Builds ``release``, or everything that ``env`` needs, for ``env``; what was built before from the same inputs is only verified.

    Args:
        env: decides who signs.
        release: one version; None for the environment's own: first incumbent, candidate and load client.
        defect: a planted defect such as ``errors=2%``; lab only, and needs ``release``.
        key: path of the operator's signing key; needed outside the lab.
        freeze: instead of building, records what this version is made of from now on.
    """
    if freeze is not None:
        if release is not None or defect is not None:
            raise BadInput("--freeze VERSION goes alone: it records a release, it builds none.")
        return _freeze(freeze)
    if defect is not None and release is None:
        raise BadInput("--defect needs --release, as in: inv package --release 3.0.1 --defect errors=2%.")
    settings = env.settings
    wanted = [release] if release is not None else [v for v in (settings.first_incumbent, settings.release, settings.load_release) if v]
    if env.is_lab:
        keys.ensure(env)
    built = [releases.build(env, version, defect=defect, key=Path(key) if key else None) for version in dict.fromkeys(wanted)]
    return Result({"schema": 1, "env": env.name, "releases": [_row(r) for r in built]}, "\n".join(_line(r) for r in built))


def _freeze(version: str) -> Result:
    entry = releases.freeze(version)
    text = f"{version} is frozen at commit {str(entry.commit)[:12]}; commit releases.yaml and {entry.lock}."
    return Result({"schema": 1, "frozen": {"version": version, **entry.model_dump(mode="json")}}, text)


def _row(release: Release) -> dict[str, Any]:
    facts = {"id": release.id, "version": release.version, "digest": release.digest, "kind": release.kind, "phase4": release.phase4}
    return {**facts, "defect": release.defect, "files": len(release.files), "path": str(release.path)}


def _line(release: Release) -> str:
    defect = f", planted defect {release.defect}" if release.defect else ""
    return f"{release.id}  {release.kind}, {len(release.files)} files signed{defect}"
