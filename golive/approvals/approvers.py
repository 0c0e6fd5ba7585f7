"""Who may decide: ``inventories/<env>/approvers.yaml``, pinned by its digest, read anew each time it is asked."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from golive.approvals.statement import NAMESPACE
from golive.environment import Environment
from golive.errors import BadInput, Refused, Unprepared
from golive.releases.signing import LAB_PRINCIPAL, made_by_toolkit

__all__ = ["Approvers", "Person", "approvers_of", "digest_of", "path_of"]

_KEY = re.compile(
    r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-[a-z0-9@.-]+) (?P<blob>[A-Za-z0-9+/]{40,}={0,2})(?: [^\r\n]*)?"
)

_Role = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")]


def _end_of_day(value: Any) -> Any:
    """A day lasts until its end, and a time without a zone is UTC."""
    if isinstance(value, str):
        try:
            value = date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
        except ValueError:
            return value
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time(23, 59, 59), UTC)
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


_Until = Annotated[AwareDatetime, BeforeValidator(_end_of_day)]


class Key(BaseModel):
    """A public key, and until when it is taken."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    valid_until: _Until | None = None

    @field_validator("key")
    @classmethod
    def _one_line(cls, value: str) -> str:
        # What is written into the allowed signers file must not bring a line, an option or a pattern of its own.
        if not _KEY.fullmatch(value.strip()):
            raise ValueError("expected one public key as in id_ed25519.pub, like `ssh-ed25519 AAAA... alice`")
        return value.strip()

    @property
    def blob(self) -> str:
        return self.key.split()[1]

    @property
    def line(self) -> str:
        return " ".join(self.key.split()[:2])


class Person(BaseModel):
    """One person, who counts once however many keys they have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    person: str = Field(pattern=r"^[a-z][a-z0-9._-]{0,62}$")
    roles: list[_Role] = Field(min_length=1)
    keys: list[Key | str] = Field(min_length=1)
    accounts: list[str] = Field(default_factory=list)
    """Operating system users, ``user`` or ``user@host``, as whom this person starts runs."""
    valid_until: _Until | None = None

    @field_validator("keys", mode="after")
    @classmethod
    def _as_keys(cls, value: list[Key | str]) -> list[Key]:
        return [key if isinstance(key, Key) else Key(key=key) for key in value]

    @property
    def all_keys(self) -> list[Key]:
        return [key for key in self.keys if isinstance(key, Key)]

    def has_account(self, owner: str) -> bool:
        """Whether ``owner`` (``user@host``) is this person at work."""
        return owner in self.accounts or owner.partition("@")[0] in self.accounts


class Approvers(BaseModel):
    """Everyone who may decide in one environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    people: list[Person]
    digest: str = ""
    """SHA-256 of the file's bytes."""

    def person(self, name: str) -> Person | None:
        return next((person for person in self.people if person.person == name), None)

    def holding(self, roles: list[str], at: datetime) -> list[Person]:
        """People with one of ``roles`` and a key that is valid at ``at``."""
        return [person for person in self.people if set(person.roles) & set(roles) and _valid(person, at)]

    def allowed_signers(self, at: datetime) -> str:
        """The allowed signers file of those whose keys are valid at ``at``: one line a key, the person as its principal."""
        lines = [f'{person.person} namespaces="{NAMESPACE}" {key.line}' for person in self.people for key in _valid(person, at)]
        return "".join(f"{line}\n" for line in lines)


def path_of(env: Environment) -> Path:
    return env.inventory_dir / "approvers.yaml"


def digest_of(path: Path) -> str:
    """SHA-256 of the file, as ``sha256sum`` prints it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def approvers_of(env: Environment) -> Approvers:
    """Who may decide in ``env``, as the file says now.

    Raises:
        Unprepared: the file is missing, or outside a lab its digest is not pinned.
        Refused: the file is not the pinned one, or names a key that the toolkit made.
        BadInput: it cannot be used as written.
    """
    path = path_of(env)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise Unprepared(
            f"{path} is missing; list there who may decide in {env.name} (person, roles, keys; see docs/approvals.md)."
        ) from None
    found, pinned = hashlib.sha256(content).hexdigest(), env.settings.approvers_digest
    if pinned is None and not env.is_lab:
        raise Unprepared(f"{path} is not pinned: review it, then write approvers_digest: {found} into environment.yaml beside it.")
    if pinned is not None and pinned != found:
        raise Refused(
            f"{path} is not the file that environment.yaml pins ({found[:12]} instead of {pinned[:12]}): one of the two was changed."
        )
    approvers = _parsed(path, content, found)
    made = set() if env.is_lab else made_by_toolkit()
    for person in approvers.people:
        for key in person.all_keys:
            if key.blob in made or (LAB_PRINCIPAL in key.key and not env.is_lab):
                raise Refused(f"{path}: a key of {person.person} was made by the toolkit; {env.name} takes only keys of people.")
    return approvers


def _parsed(path: Path, content: bytes, digest: str) -> Approvers:
    try:
        written = yaml.safe_load(content.decode())
        approvers = Approvers.model_validate({"people": written["approvers"], "digest": digest})
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):
        raise BadInput(f"{path}: expected YAML with `approvers:`, a list of people (see docs/approvals.md).") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        raise BadInput(f"{path}: approvers.{where}: {first['msg']}.") from None
    seen: dict[str, str] = {}
    names: set[str] = set()
    for person in approvers.people:
        if person.person in names:
            raise BadInput(f"{path}: {person.person} is listed twice; a person counts once.")
        names.add(person.person)
        for key in person.all_keys:
            if seen.setdefault(key.blob, person.person) != person.person:
                raise BadInput(f"{path}: {person.person} and {seen[key.blob]} have the same key; a key is one person's.")
    return approvers


def _valid(person: Person, at: datetime) -> list[Key]:
    def lapsed(until: datetime | None) -> bool:
        return until is not None and until <= at

    return [] if lapsed(person.valid_until) else [key for key in person.all_keys if not lapsed(key.valid_until)]
