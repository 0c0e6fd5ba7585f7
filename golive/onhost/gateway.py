"""Verbs of a gateway: weights, slots, the lease."""

from __future__ import annotations

import argparse
import re

from golive.onhost import fence, machine
from golive.onhost.command import Call, verb
from golive.onhost.failures import BadInput, Refused
from golive.onhost.lease import Lease, LeaseFiles
from golive.onhost.weights import SLOTS, Gateway

# Not from typing: that module alone would take a short call as long as its work.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__: list[str] = []

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,127}")
_GUARD_ALIVE_S = 10.0
_POLL_S = 0.1


def _percent(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole percentage from 0 to 100")
    return int(text)


def _word(text: str) -> str:
    if not _WORD.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be letters, digits and ._:+- (at most 128)")
    return text


def _ttl(text: str) -> float:
    value = float(text)
    if not 2 <= value <= 3600:
        raise argparse.ArgumentTypeError("the time to live must be from 2 to 3600 seconds")
    return value


# -- weights -------------------------------------------------------------------------------------------------------------------


@verb("weight get", help="what this gateway sends where, as recorded and as HAProxy does it", changes=False)
def _weight_get(call: Call) -> dict[str, Any]:
    return describe(Gateway(call.places), LeaseFiles(call.places))


@verb("weight history", help="every change of the weight, oldest first", changes=False)
def _weight_history(call: Call) -> dict[str, Any]:
    return {"history": Gateway(call.places).history()}


def _weight_set_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--slot-b", type=_percent, required=True, help="percent of sessions that slot b gets")
    parser.add_argument("--stage", type=_word, required=True, help="the stage of the run, for the history")


@verb("weight set", help="send slot b a percentage of the sessions", changes=True, arguments=_weight_set_arguments)
def _weight_set(call: Call) -> dict[str, Any]:
    gateway, files, options = Gateway(call.places), LeaseFiles(call.places), call.options
    with gateway.locked():
        lease = files.read()
        gains = lease is not None and lease.percent_of(options.slot_b) > lease.percent_of(gateway.record()["slot_b"])
        act = files.guard()
        if lease is not None and gains and act and act.get("run") == lease.run and not act.get("acknowledged"):
            raise Refused(
                f"The guard took the candidate from {act['from']} to {act['to']} % at {act['at']}; read why, then open the lease again."
            )
        why = {"token": options.token, "run": options.run, "stage": options.stage, "by": "controller"}
        changed = gateway.set_weight(options.slot_b, why=why, keeps=lease is not None and not gains)
        return {**describe(gateway, files), "changed": changed}


def describe(gateway: Gateway, files: LeaseFiles) -> dict[str, Any]:
    """The whole state of a gateway, for people and for the controller. ``runtime`` is None when HAProxy does not answer."""
    record, slots = gateway.record(), gateway.slots()
    runtime: Any = None
    problem = None
    try:
        runtime = gateway.live_weight()
    except Refused as error:
        problem = str(error)
    lease = files.read()
    return {
        "slot_b": record["slot_b"],
        "runtime": runtime,
        "consistent": runtime == record["slot_b"],
        "problem": problem,
        "last": record,
        "slots": slots,
        "control": gateway.control(),
        "lease": None if lease is None else vars(lease),
        "guard": files.guard(),
        "guard_age_s": files.guard_age_s(),
    }


# -- slots ---------------------------------------------------------------------------------------------------------------------


def _slot_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("slot", choices=SLOTS)


def _slot_enable_arguments(parser: argparse.ArgumentParser) -> None:
    _slot_argument(parser)
    parser.add_argument(
        "--up", type=float, default=0.0, metavar="S", help="seconds to wait until every server of the slot is up (default 0)"
    )
    parser.add_argument("--without", type=_word, action="append", default=[], metavar="HOST", help="a server that stays out of the slot")


def _slot_disable_arguments(parser: argparse.ArgumentParser) -> None:
    _slot_argument(parser)
    parser.add_argument("--last", action="store_true", help="also when it is the slot that gets the traffic: nothing serves then")


def _slot_label_arguments(parser: argparse.ArgumentParser) -> None:
    _slot_argument(parser)
    parser.add_argument("release", type=_word)


@verb("slot enable", help="servers of a slot may get traffic", changes=True, arguments=_slot_enable_arguments)
def _slot_enable(call: Call) -> dict[str, Any]:
    gateway, slot = Gateway(call.places), call.options.slot
    with gateway.locked():
        changed = gateway.set_slot_in(slot, True, without=call.options.without)
        deadline = machine.here().monotonic() + call.options.up
        while down := [n for n, s in sorted(gateway.runtime.servers(f"slot_{slot}").items()) if not s.up and n not in call.options.without]:
            if machine.here().monotonic() >= deadline:
                break
            machine.here().sleep(_POLL_S)
        if down and call.options.up > 0:
            raise Refused(f"Slot {slot} is in, but after {call.options.up:g} s these are not up: {', '.join(down)}.")
        return {"changed": changed, **_slots(gateway)}


@verb("slot disable", help="servers of a slot get no traffic, whatever the weight", changes=True, arguments=_slot_disable_arguments)
def _slot_disable(call: Call) -> dict[str, Any]:
    gateway, slot = Gateway(call.places), call.options.slot
    with gateway.locked():
        if gateway.slots()[slot]["in"] and gateway.share(slot) > 0 and not call.options.last:
            raise Refused(
                f"Slot {slot} gets {gateway.share(slot)} % of the sessions; shift them first, or say --last to let nothing serve."
            )
        return {"changed": gateway.set_slot_in(slot, False), **_slots(gateway)}


@verb("slot label", help="say which release a slot is", changes=True, arguments=_slot_label_arguments)
def _slot_label(call: Call) -> dict[str, Any]:
    gateway, slot, release = Gateway(call.places), call.options.slot, call.options.release
    with gateway.locked():
        known = gateway.slots()[slot]
        if known["in"] and gateway.share(slot) > 0 and known["release"] not in (None, release):
            raise Refused(
                f"Slot {slot} is {known['release']} and gets {gateway.share(slot)} % of the sessions; it cannot become {release}."
            )
        return {"changed": gateway.label(slot, release), **_slots(gateway)}


@verb("slot state", help="slots with their releases and servers", changes=False)
def _slot_state(call: Call) -> dict[str, Any]:
    return _slots(Gateway(call.places))


@verb("slot render", help="write the maps that HAProxy starts from (its unit calls this)", changes=False)
def _slot_render(call: Call) -> dict[str, Any]:
    gateway = Gateway(call.places)
    with gateway.locked():
        return {"changed": gateway.render()}


def _slots(gateway: Gateway) -> dict[str, Any]:
    slots = gateway.slots()
    for slot, state in slots.items():
        servers = gateway.runtime.servers(f"slot_{slot}")
        state["servers"] = {name: {"status": server.status, "check": server.check} for name, server in sorted(servers.items())}
    return {"slots": slots}


# -- the lease -----------------------------------------------------------------------------------------------------------------


def _lease_open_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--candidate-slot", choices=SLOTS, required=True)
    parser.add_argument("--passed", type=_percent, required=True, help="percent of the candidate that last passed its gate")
    parser.add_argument(
        "--ttl", type=_ttl, default=10.0, metavar="S", help="seconds without a beat after which the guard looks (default 10)"
    )
    parser.add_argument("--acknowledge-guard", action="store_true", help="the controller has read what the guard did and goes on")


@verb("lease open", help="the guard watches from now on", changes=True, arguments=_lease_open_arguments)
def _lease_open(call: Call) -> dict[str, Any]:
    gateway, files, options = Gateway(call.places), LeaseFiles(call.places), call.options
    with gateway.locked():
        act = files.guard()
        if act and act.get("run") == options.run and not act.get("acknowledged") and not options.acknowledge_guard:
            raise Refused(
                f"The guard took the candidate from {act['from']} to {act['to']} % at {act['at']} and no one has acknowledged it."
            )
        age = files.guard_age_s()
        if age is None or age > _GUARD_ALIVE_S:
            raise Refused(
                "dwcp-guard does not run on this gateway, so a lease would be watched by no one; see `systemctl status dwcp-guard`."
            )
        acknowledged = files.acknowledge_guard()
        changed = files.write(Lease(options.run, options.token, options.candidate_slot, options.passed, options.ttl))
        files.beat(options.run, options.token)
        laid = gateway.set_control("a" if options.candidate_slot == "b" else "b")
        return {**describe(gateway, files), "changed": changed or acknowledged or laid}


@verb(
    "lease pass",
    help="the weight that passed its gate",
    changes=True,
    arguments=lambda p: p.add_argument("--percent", type=_percent, required=True),
)
def _lease_pass(call: Call) -> dict[str, Any]:
    gateway, files, options = Gateway(call.places), LeaseFiles(call.places), call.options
    with gateway.locked():
        lease = files.read()
        if lease is None or lease.run != options.run:
            raise Refused(f"Run {options.run} has no open lease on this gateway.")
        changed = files.write(Lease(lease.run, options.token, lease.candidate_slot, options.percent, lease.ttl_s))
        return {"changed": changed, "passed": options.percent}


@verb("lease close", help="the guard leaves everything alone", changes=True)
def _lease_close(call: Call) -> dict[str, Any]:
    gateway = Gateway(call.places)
    with gateway.locked():
        taken_up = gateway.set_control(None)
        return {"changed": LeaseFiles(call.places).close() or taken_up}


def _beat_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--token", type=int, required=True, help="fencing token of the controller's lease")
    parser.add_argument("--run", required=True, help="the run that asks")


@verb("lease beat", help="the controller is alive; waits for nothing", changes=False, arguments=_beat_arguments)
def _lease_beat(call: Call) -> dict[str, Any]:
    if call.options.token < 1:
        raise BadInput(f"--token must be a positive number, not {call.options.token}.")
    files = LeaseFiles(call.places)
    files.beat(call.options.run, call.options.token)
    return {
        "at": fence.now(),
        "guard": files.guard(),
        "guard_age_s": files.guard_age_s(),
        "slot_b": Gateway(call.places).record()["slot_b"],
    }
