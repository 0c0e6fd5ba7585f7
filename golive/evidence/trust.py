"""Whose evidence counts in an environment: keys that its inventory pins; a lab also takes what its own controller signed."""

from __future__ import annotations

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from golive.environment import Environment
from golive.errors import BadInput, Unprepared
from golive.evidence.recording import store_here
from golive.evidence.sealing import PublicKey, key_made, public_key

__all__ = ["trusted"]


class _Pinned(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern=r"^[0-9a-f]{64}$")
    whose: str = Field(min_length=1)


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: list[_Pinned] = Field(min_length=1)


def trusted(env: Environment) -> list[PublicKey]:
    """The keys whose statements count in ``env``.

    Raises Unprepared when none is pinned where it has to be, BadInput for a file that cannot be used.
    """
    path = env.inventory_dir / "evidence_keys.yaml"
    own = key_made(store_here().key_path)
    if not path.is_file():
        if env.is_lab:
            return [own.signer.public_key]
        raise Unprepared(
            f"{path} is missing; pin there whose evidence counts in {env.name}: `keys: [{{key: {own.public}, whose: this controller}}]`."
        )
    try:
        pinned = _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).keys
        keys = {one.key: public_key(one.key) for one in pinned}
    except (ValidationError, yaml.YAMLError, ValueError):
        raise BadInput(f"{path}: expected `keys:`, a list of {{key: 64 hex digits, whose: NAME}} (docs/readiness.md).") from None
    if env.is_lab:
        keys.setdefault(own.public, own.signer.public_key)
    return list(keys.values())
