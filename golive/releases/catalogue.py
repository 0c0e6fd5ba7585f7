"""``releases.yaml``: which releases can be built, and from what."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from golive.environment import ROOT
from golive.errors import BadInput
from golive.releases.defect import Defect, parse

__all__ = ["CATALOGUE", "Catalogue", "Entry", "Recipe", "read", "recipe"]

CATALOGUE = ROOT / "releases.yaml"
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_LOCK = "requirements/agent.lock"


class Entry(BaseModel):
    """One release: built from the worktree, or frozen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["agent", "load"]
    phase4: bool
    source: Literal["worktree", "frozen"]
    commit: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")
    tree: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")
    source_digest: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    lock: str = _LOCK
    """Hash-pinned requirements of the release, relative to the checkout; a frozen release has its own."""
    lock_digest: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _frozen_is_complete(self) -> Entry:
        pins = (self.commit, self.tree, self.source_digest, self.lock_digest)
        if self.source == "frozen" and None in pins:
            raise ValueError("a frozen release needs commit, tree, source_digest, lock and lock_digest")
        if self.source == "worktree" and any(pins):
            raise ValueError("commit, tree, source_digest and lock_digest belong to frozen releases")
        return self


class Catalogue(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal[1] = Field(alias="schema")
    releases: dict[str, Entry]

    @model_validator(mode="after")
    def _versions(self) -> Catalogue:
        for version in self.releases:
            if not _VERSION.fullmatch(version):
                raise ValueError(f"{version!r} is not a version like 3.0.0")
        return self


@dataclass(frozen=True)
class Recipe:
    """What is to be built."""

    version: str
    entry: Entry
    defect: Defect | None


def read(path: Path = CATALOGUE) -> Catalogue:
    """The catalogue. Raises BadInput naming the file and the place."""
    try:
        return Catalogue.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadInput(f"{path.name} cannot be read: {error.strerror}.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise BadInput(f"{path.name}{f':{mark.line + 1}' if mark else ''}: not valid YAML: {getattr(error, 'problem', error)}.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top"
        raise BadInput(f"{path.name}: {where}: {first['msg']}.") from None


def recipe(version: str, defect: str | None = None, path: Path = CATALOGUE) -> Recipe:
    """How ``version`` is built.

    A version that the catalogue does not list can only be built with a defect: it is then the worktree's agent, as 3.0.1 in
    ``--release 3.0.1 --defect errors=2%``. Raises BadInput otherwise.
    """
    if not _VERSION.fullmatch(version):
        raise BadInput(f"--release {version!r} is not a version like 3.0.0.")
    entries = read(path).releases
    entry = entries.get(version)
    if defect is None:
        if entry is None:
            raise BadInput(f"There is no release {version}; {path.name} lists {', '.join(sorted(entries))}.")
        return Recipe(version, entry, None)
    planted = parse(defect)
    entry = entry or Entry(kind="agent", phase4=True, source="worktree")
    if entry.kind != "agent":
        raise BadInput(f"Release {version} is a load client; a defect can only be planted in an agent.")
    return Recipe(f"{version}+defect.{planted.label}", entry, planted)
