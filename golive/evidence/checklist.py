"""The checklist: 186 items, and what shows each. Pure data, read from ``runbooks/checklist.yaml``."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from golive.environment import ROOT
from golive.errors import BadInput
from golive.evidence.need import Need
from golive.runbook.duration import Duration

__all__ = [
    "MACHINE",
    "SECTIONS",
    "Attest",
    "Bench",
    "Chaos",
    "Checklist",
    "Item",
    "Proof",
    "Query",
    "Regress",
    "Rollback",
    "Run",
    "Tests",
    "Tool",
    "Validate",
    "Verify",
    "read",
]

Section = Literal["core", "integration", "optimization", "infrastructure", "testing", "documentation", "operations", "compliance"]
SECTIONS: tuple[Section, ...] = (
    "core",
    "integration",
    "optimization",
    "infrastructure",
    "testing",
    "documentation",
    "operations",
    "compliance",
)
MACHINE: frozenset[Section] = frozenset(SECTIONS[:5])
"""Sections whose items machines can show: 156. The other 30 items are people's."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""186 items take a tenth of the time where libyaml is."""
_COUNT, _BY_MACHINE = 186, 156


Patterns = Annotated[list[str], Field(min_length=1)]


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tests(_Written):
    """Tests that passed, all their parameters, none skipped. Node ids up to the function."""

    __test__: ClassVar[bool] = False
    """None itself, whatever pytest makes of its name."""
    tests: Patterns


class Bench(_Written):
    """Rows of the last ``inv bench NAME``."""

    bench: str
    rows: Patterns
    need: Need = Need()


class Chaos(_Written):
    """The last ``inv chaos`` of a kind: at least so many rounds, and none ended wrong."""

    chaos: Literal["sim", "records", "rehearsal", "lab", "lab-records"]
    least: int = Field(default=1, ge=1)


class Regress(_Written):
    """Rows of the last ``inv regress``."""

    regress: Patterns


class Validate(_Written):
    """Rows of ``inv validate``."""

    validate_: Patterns = Field(alias="validate")


class Verify(_Written):
    """Checks of the environment's hosts: each ran and passed wherever it applies."""

    verify: Patterns


class Query(_Written):
    """A question to the environment's Prometheus."""

    query: str
    need: Need


class Run(_Written):
    """Steps (``stage/step``) that succeeded in the newest run that took this release to all traffic; ``succeeded``: the run itself."""

    run: Patterns | Literal["succeeded"]


class Rollback(_Written):
    """Steps that succeeded in the newest way back in the environment; ``succeeded``: the way back itself."""

    rollback: Patterns | Literal["succeeded"]


class Tool(_Written):
    """A probe of golive.evidence.tools, by name."""

    tool: str


Proof = Tests | Bench | Chaos | Regress | Validate | Verify | Query | Run | Rollback | Tool


class Attest(_Written):
    """Who has to sign, and for how long that holds."""

    role: str
    valid: Duration = timedelta(days=90)


class Item(_Written):
    """One line of the checklist."""

    id: str = Field(pattern=r"^[A-Z]+-[0-9]{3}$")
    group: str
    section: Section
    says: str = Field(min_length=1)
    proofs: list[Proof] = []
    attest: Attest | None = None
    unknown: str | None = None
    valid: Duration | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Item:
        ways = [bool(self.proofs), self.attest is not None, self.unknown is not None]
        if sum(ways) != 1:
            raise ValueError("give proofs, or attest, or unknown: exactly one of them")
        return self

    @property
    def by_machine(self) -> bool:
        return self.section in MACHINE


class Checklist(_Written):
    """All items, in the order of the file."""

    items: list[Item]
    digest: str
    """SHA-256 of the file."""

    def item(self, id_: str) -> Item:
        """Raises BadInput when there is none of that id."""
        for item in self.items:
            if item.id == id_.upper():
                return item
        raise BadInput(f"There is no item {id_!r}; ids look like AMST-007 (runbooks/checklist.yaml).")


def read(path: Path = ROOT / "runbooks" / "checklist.yaml") -> Checklist:
    """The checklist in ``path``. Raises BadInput naming the item and what is wrong with it.

    Its number of items is part of it: one that was taken out, or is there twice, is an error and no shorter checklist.
    """
    try:
        content = path.read_bytes()
        data = yaml.load(content, Loader=_LOADER)  # noqa: S506
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from None
    except yaml.YAMLError as error:
        raise BadInput(f"{path} is no YAML: {str(error).splitlines()[-1].strip()}.") from None
    if not isinstance(data, list):
        raise BadInput(f"{path} has to be a list of items.")
    items = []
    for number, entry in enumerate(data, 1):
        name = entry.get("id", f"entry {number}") if isinstance(entry, dict) else f"entry {number}"
        try:
            items.append(Item.model_validate(entry))
        except ValidationError as error:
            raise BadInput(f"{path}: {name}: {_said(error)}.") from None
    twice = [id_ for id_, count in Counter(item.id for item in items).items() if count > 1]
    if twice:
        raise BadInput(f"{path}: {twice[0]} is there twice.")
    machine = sum(item.by_machine for item in items)
    if (len(items), machine) != (_COUNT, _BY_MACHINE):
        raise BadInput(f"{path} has {len(items)} items, {machine} of them for machines; there have to be {_COUNT} and {_BY_MACHINE}.")
    return Checklist(items=items, digest=hashlib.sha256(content).hexdigest())


def _said(error: ValidationError) -> str:
    """The most telling of a validation's errors: of a proof, those of the kind that it names come last."""
    found = error.errors()
    named = [e for e in found if e["type"] != "missing" and e["type"] != "extra_forbidden"] or found
    first = named[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")
