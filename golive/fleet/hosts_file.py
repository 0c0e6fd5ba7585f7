"""``inventories/<env>/hosts.yaml``: machines of the owner's, as people write them. Every error at once, each with file and line."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from golive.errors import BadInput
from golive.fleet.marked import Marked, marked
from golive.fleet.model import Bastion, Host

__all__ = ["read_hosts_file"]

_KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")


def _public_key(text: str) -> str:
    """A public host key in its two words; a comment after them is dropped."""
    kind, _, rest = text.strip().partition(" ")
    body = rest.split()[0] if rest.split() else ""
    try:
        blob = base64.b64decode(body, validate=True)
    except ValueError:
        blob = b""
    length = int.from_bytes(blob[:4], "big")
    if kind not in _KINDS or blob[4 : 4 + length] != kind.encode() or len(blob) < 32:
        raise ValueError(
            f"{text[:30]!r} is not a public host key like `ssh-ed25519 AAAA...` (`cat /etc/ssh/ssh_host_ed25519_key.pub` there)"
        )
    return f"{kind} {body}"


def _ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address; hosts find one another by it, without DNS") from None


def _label(value: Any) -> Any:
    return "true" if value is True else "false" if value is False else str(value) if isinstance(value, int) else value


_Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$")]
_User = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}$")]
_Port = Annotated[int, Field(ge=1, le=65535)]
_Key = Annotated[str, AfterValidator(_public_key)]
_Address = Annotated[str, AfterValidator(_ip)]
_Labels = dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,31}$")], Annotated[str, BeforeValidator(_label)]]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Defaults(_Strict):
    """What every host has that does not say otherwise."""

    ssh_user: _User = "root"
    ssh_port: _Port = 22
    bastion: str | None = None
    labels: _Labels = {}


class _Bastion(_Strict):
    name: _Name
    address: Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?$")]
    ssh_user: _User = "root"
    ssh_port: _Port = 22
    host_key: _Key


class _Host(_Strict):
    name: _Name
    site: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    address: _Address
    role: Literal["agent", "ops"]
    gateway: bool = False
    load: bool = False
    cache: bool = False
    labels: _Labels = {}
    ssh_user: _User | None = None
    ssh_port: _Port | None = None
    bastion: str | None = None
    host_key: _Key


class _File(_Strict):
    defaults: _Defaults = _Defaults()
    bastions: list[_Bastion] = []
    hosts: Annotated[list[_Host], Field(min_length=1)]


def read_hosts_file(path: Path, shown: str) -> list[Host]:
    """The machines listed in ``path``. Raises BadInput with everything that is wrong, a line each: ``shown:line: sentence``."""
    text = path.read_text(encoding="utf-8", errors="replace")
    document = marked(text)
    problems = list(document.problems)
    parsed: _File | None = None
    if not problems:
        try:
            parsed = _File.model_validate(document.data)
        except ValidationError as error:
            problems += [_problem(document, item) for item in error.errors()]
    if parsed is not None:
        problems += _across(document, parsed)
    if problems or parsed is None:
        raise BadInput("\n".join(f"{shown}:{line}: {sentence}" for line, sentence in sorted(set(problems))))
    bastions = {each.name: Bastion(**each.model_dump()) for each in parsed.bastions}
    return [_host(each, "bastion" in each.model_fields_set, parsed.defaults, bastions) for each in parsed.hosts]


def _host(written: _Host, own_bastion: bool, defaults: _Defaults, bastions: Mapping[str, Bastion]) -> Host:
    through = written.bastion if own_bastion else defaults.bastion
    return Host(
        name=written.name,
        site=written.site,
        address=written.address,
        role=written.role,
        gateway=written.gateway,
        load=written.load,
        cache=written.cache,
        labels={**defaults.labels, **written.labels},
        ssh_user=written.ssh_user or defaults.ssh_user,
        ssh_port=written.ssh_port or defaults.ssh_port,
        host_key=written.host_key,
        bastion=bastions[through] if through is not None else None,
    )


def _problem(document: Marked, error: Any) -> tuple[int, str]:
    place = tuple(error["loc"])
    named = _named(document.data, place)
    kind, message = error["type"], str(error["msg"]).removeprefix("Value error, ")
    line = document.line(place)
    last = place[-1] if place else ""
    if kind == "missing":
        return document.line(place[:-1]), f"{named}the key {last!r} is missing"
    if kind == "extra_forbidden":
        return line, f"{named}unknown key {last!r}"
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        message = "expected a mapping, `key: value`"
    if kind == "string_pattern_mismatch":
        message = f"{error['input']!r} is not taken here; its pattern is {error['ctx']['pattern']}"
    if kind == "too_short":
        message = "at least one machine is needed"
    where = f"{last}: " if isinstance(last, str) and last else ""
    return line, f"{named}{where}{message[:1].lower()}{message[1:]}"


def _named(data: Any, place: tuple[Any, ...]) -> str:
    """``fra-1: `` for an error inside the entry of fra-1; ``host 3: `` while it has no name."""
    if len(place) < 3 or place[0] not in ("hosts", "bastions"):
        return ""
    entry = data[place[0]][place[1]]
    name = entry.get("name") if isinstance(entry, dict) else None
    return f"{name}: " if isinstance(name, str) and place[2] != "name" else f"{place[0][:-1]} {place[1] + 1}: "


def _across(document: Marked, parsed: _File) -> Iterator[tuple[int, str]]:
    """What is wrong between entries that are each right."""
    seen: dict[tuple[str, str], tuple[str, int]] = {}
    entries: list[tuple[str, int, Any]] = [("bastions", n, each) for n, each in enumerate(parsed.bastions)]
    entries += [("hosts", n, each) for n, each in enumerate(parsed.hosts)]
    for group, number, entry in entries:
        for key in ("name", "address", "host_key"):
            value = getattr(entry, key)
            if key == "address" and group == "bastions":
                continue
            known = seen.setdefault((key, value), (entry.name, document.line((group, number, key))))
            if known[1] != (line := document.line((group, number, key))) or known[0] != entry.name:
                said = "name" if key == "name" else f"{key.replace('_', ' ')} of {known[0]}"
                what = f"there is another host called {value}" if key == "name" else f"{entry.name}: this is the {said}"
                yield line, f"{what} (line {known[1]}); each machine has its own"
    names = {each.name for each in parsed.bastions}
    asked = [(("defaults", "bastion"), "defaults", parsed.defaults.bastion)]
    asked += [(("hosts", n, "bastion"), each.name, each.bastion) for n, each in enumerate(parsed.hosts)]  # type: ignore[misc]
    for place, who, bastion in asked:
        if bastion is not None and bastion not in names:
            yield document.line(place), f"{who}: there is no bastion {bastion!r}; known are {', '.join(sorted(names)) or 'none'}"
    top = document.line(("hosts",))
    ops = [each.name for each in parsed.hosts if each.role == "ops"]
    if len(ops) != 1:
        has = f"these have it: {', '.join(ops)}" if ops else "none has it"
        yield top, f"exactly one host has the role ops (Prometheus and Alertmanager); {has}"
    gateways = {each.site for each in parsed.hosts if each.gateway}
    for flag, what in (("gateway", "a gateway"), ("load", "a load client, which counts what users see")):
        if not any(getattr(each, flag) for each in parsed.hosts):
            yield top, f"no host is {what}: mark one of each site with `{flag}: true`"
    for number, each in enumerate(parsed.hosts):
        if each.load and each.site not in gateways and gateways:
            yield document.line(("hosts", number)), f"{each.name}: runs a load client, but site {each.site} has no gateway to send to"
        if each.gateway and each.role != "agent":
            yield document.line(("hosts", number)), f"{each.name}: a gateway runs on a host with the role agent"
