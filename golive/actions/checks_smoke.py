"""``checks.smoke``: every agent host's own instance of a release answers, names itself, takes an object and gives it back."""

from __future__ import annotations

import hashlib
import secrets
from typing import Literal

import httpx
from pydantic import BaseModel, ConfigDict

from golive.actions._check import Check, on_each
from golive.actions._https import client, get
from golive.actions._world import hosts_for, release_of, slot_of
from golive.actions.port import Outcome, StepContext, action
from golive.errors import Refused
from golive.fleet.model import Host

__all__ = ["CONTROL_PORT", "HEALTH_PORT", "ChecksSmoke"]

CONTROL_PORT = {"a": 7400, "b": 7410}
HEALTH_PORT = {"a": 7402, "b": 7412}
_OBJECT_BYTES = 4096


@action
class ChecksSmoke(Check):
    """Four looks per host, past the gateway: health, ready (id), an object stored, the same object read back.

    Metrics are the gate's to judge, under traffic: there "no data" is an error and never a pass.
    """

    name = "checks.smoke"

    class Params(BaseModel):
        model_config = ConfigDict(extra="forbid")
        release: Literal["candidate", "incumbent"]

    def apply(self, ctx: StepContext, todo: object) -> Outcome:
        role = ctx.params["release"]
        wanted, slot = release_of(ctx, role), slot_of(ctx, role)
        with client(ctx.env) as opened:
            return on_each(hosts_for(ctx, role), lambda host: self._look(opened, host, slot, wanted), f"smoke tests of {wanted}")

    @staticmethod
    def _look(opened: httpx.Client, host: Host, slot: str, wanted: str) -> str:
        base = f"https://{host.address}:{CONTROL_PORT[slot]}"
        health = get(opened, f"http://{host.address}:{HEALTH_PORT[slot]}/health", host.name)
        if health.status_code != 200 or health.json().get("status") != "ok":
            raise Refused(f"{host.name}: /health of slot {slot} says {health.text[:120]!r}", host=host.name)
        ready = get(opened, f"{base}/ready", host.name)
        if ready.status_code != 200 or ready.json().get("id") != wanted:
            raise Refused(f"{host.name}: slot {slot} is not ready as {wanted}; it says {ready.text[:160]!r}", host=host.name)
        return _object(opened, base, host)


def _object(opened: httpx.Client, base: str, host: Host) -> str:
    body = secrets.token_bytes(_OBJECT_BYTES)
    digest = hashlib.sha256(body).hexdigest()
    url = f"{base}/v1/objects/smoke/{digest[:16]}"
    try:
        put = opened.put(url, content=body, headers={"X-DWCP-SHA256": digest})
        back = opened.get(url)
    except httpx.HTTPError as error:
        raise Refused(f"{host.name}: storing an object failed ({type(error).__name__}: {error})", host=host.name) from None
    if put.status_code != 201 or put.json().get("sha256") != digest:
        raise Refused(f"{host.name}: storing an object was answered {put.status_code} {put.text[:160]!r}", host=host.name)
    if back.status_code != 200 or hashlib.sha256(back.content).hexdigest() != digest:
        raise Refused(f"{host.name}: the object read back differs from the one stored", host=host.name)
    return "ready, object stored and read back"
