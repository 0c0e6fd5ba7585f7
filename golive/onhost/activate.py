"""A release runs and is ready, or it has drained and stopped. Nothing else on the host is touched."""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from golive.onhost import installed, ready, units
from golive.onhost.command import Call, verb
from golive.onhost.failures import Refused
from golive.onhost.installed import Installed

__all__ = ["activate", "deactivate"]

_START_S = 60.0
_STOP_S = 110.0


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="release id, <version>-<digest12>")


@verb("activate", help="start and enable a release; returns when it is ready", changes=True, arguments=_arguments)
def activate(call: Call) -> dict[str, Any]:
    """``dwcp-agent@ID`` runs, names itself in ``/ready`` and starts at boot."""
    return _up(call, installed.require(call.places, "agent", call.options.id))


@verb("deactivate", help="drain, stop and disable a release", changes=True, arguments=_arguments)
def deactivate(call: Call) -> dict[str, Any]:
    """``dwcp-agent@ID`` does not run and does not start at boot."""
    return _down(call, "agent")


@verb("load-start", help="start and enable the load client", changes=True, arguments=_arguments)
def load_start(call: Call) -> dict[str, Any]:
    """``dwcp-load@ID`` runs, names itself in ``/ready`` and starts at boot."""
    return _up(call, installed.require(call.places, "load", call.options.id))


@verb("load-stop", help="stop and disable the load client", changes=True, arguments=_arguments)
def load_stop(call: Call) -> dict[str, Any]:
    """``dwcp-load@ID`` does not run and does not start at boot."""
    return _down(call, "load")


def _up(call: Call, release: Installed) -> dict[str, Any]:
    if release.kind == "agent" and release.slot is None:
        raise Refused(f"Release {release.id} has no slot on this host; install it again with --slot.")
    port = ready.LOAD_PORT if release.slot is None else ready.CONTROL[release.slot]
    rivals = [r for r in installed.listed(call.places, release.kind) if r.id != release.id and r.slot == release.slot]
    states = units.show([release.unit, *(r.unit for r in rivals)])
    for rival in rivals:
        if states[rival.unit].enabled or not states[rival.unit].idle:
            raise Refused(f"{rival.unit} is {states[rival.unit].state} on the ports of {release.id}; stop it first.")
    before = states[release.unit]
    try:
        if not before.active:
            if before.state == "failed":
                units.reset_failed(call.held, release.unit)
            units.start(call.held, release.unit, _START_S)
        ready.wait(call.places, port, release.id, release.digest, _START_S / 4)
    except Refused:
        if before.idle:
            # What did not come up is taken down again: nothing half-started stays behind.
            with contextlib.suppress(Refused):
                units.stop(call.held, release.unit, _STOP_S)
                units.reset_failed(call.held, release.unit)
        raise
    # Enabled last: what was never ready does not come back at boot.
    if not before.enabled:
        units.enable(call.held, release.unit)
    after = units.show([release.unit])[release.unit]
    if not (after.active and after.enabled):
        raise Refused(f"{release.unit} was ready, but is {after.state} now: {units.last_words(release.unit) or 'it logged nothing'}.")
    return {
        "changed": after.invocation_id != before.invocation_id or not before.enabled,
        "id": release.id,
        "unit": release.unit,
        "invocation_id": after.invocation_id,
        "main_pid": after.main_pid,
    }


def _down(call: Call, kind: str) -> dict[str, Any]:
    installed.complete(call.places, kind, call.options.id)  # refuses what is no id; a removed release may still run
    name = units.named(kind, call.options.id)
    before = units.show([name])[name]
    if before.enabled:
        units.disable(call.held, name)
    if not before.idle:
        units.stop(call.held, name, _STOP_S)
    after = units.show([name])[name]
    if after.state == "failed":  # it crashed before, or had to be killed; a host is not left degraded by a release that is gone
        units.reset_failed(call.held, name)
    if after.enabled or not after.idle:
        raise Refused(f"{name} is {after.state} and {'enabled' if after.enabled else 'disabled'} after it was stopped.")
    return {"changed": before.enabled or not before.idle, "id": call.options.id, "unit": name, "state": after.state}
