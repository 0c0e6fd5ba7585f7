"""Freezes a release: from now on it is built from what is committed today, whatever comes later."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from pathlib import Path

from golive.environment import ROOT
from golive.errors import BadInput
from golive.releases.catalogue import CATALOGUE, Entry, read
from golive.releases.model import digest_of
from golive.releases.source import AGENT, export, git

__all__ = ["freeze"]


def freeze(version: str, *, root: Path = ROOT, catalogue: Path = CATALOGUE) -> Entry:
    """Records HEAD's commit, the agent's tree, its source digest and its lock file in ``releases.yaml``.

    Raises BadInput for an unknown version, one that is frozen already, and while the agent or its lock has uncommitted changes.
    """
    entry = read(catalogue).releases.get(version)
    if entry is None:
        raise BadInput(f"There is no release {version} in {catalogue.name}.")
    if entry.source == "frozen":
        raise BadInput(f"Release {version} is frozen already, at commit {str(entry.commit)[:12]}.")
    dirty = git(root, "status", "--porcelain", "--untracked-files=all", "--", AGENT, entry.lock).decode().splitlines()
    if dirty:
        raise BadInput(f"{dirty[0][3:]} is not committed; a release is frozen at a commit.")
    commit = git(root, "rev-parse", "HEAD").decode().strip()
    tree = git(root, "rev-parse", f"HEAD:{AGENT}").decode().strip()
    with tempfile.TemporaryDirectory() as scratch:
        digest = export(root, entry, version, Path(scratch) / AGENT).digest
    lock = f"requirements/agent-{version}.lock"
    shutil.copyfile(root / entry.lock, root / lock)
    frozen = Entry(
        kind=entry.kind,
        phase4=entry.phase4,
        source="frozen",
        commit=commit,
        tree=tree,
        source_digest=digest,
        lock=lock,
        lock_digest=digest_of(root / lock),
    )
    try:
        _write(catalogue, version, frozen)
    except BadInput:
        (root / lock).unlink()
        raise
    return frozen


def _write(catalogue: Path, version: str, entry: Entry) -> None:
    """Replaces the block of ``version`` alone, so that people's comments stay."""
    text = catalogue.read_text(encoding="utf-8")
    block = re.compile(rf'^(  "{re.escape(version)}":\n)((?:    .*\n)+)', re.M)
    lines = [f"    {key}: {json.dumps(value)}\n" for key, value in entry.model_dump().items()]
    changed, times = block.subn(lambda match: match[1] + "".join(lines), text)
    if times != 1:
        raise BadInput(f'{catalogue.name} does not write release {version} as a block under "{version}":, so it cannot be edited here.')
    fresh = catalogue.with_name(f".{catalogue.name}.{os.getpid()}")
    fresh.write_text(changed, encoding="utf-8")
    try:
        if read(fresh).releases[version] != entry:
            raise BadInput(f"{catalogue.name} could not be edited; freeze {version} by hand.")
        fresh.replace(catalogue)
    finally:
        fresh.unlink(missing_ok=True)
