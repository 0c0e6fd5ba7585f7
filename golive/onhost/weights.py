"""What a gateway sends where: the record on disk, and the same thing in the running HAProxy.

The record is ``weight.json`` (the last change, whole) and ``slots.json`` (which slots are in, and which release each is); the maps
that HAProxy reads at start are rendered from it, and ``history.jsonl`` has every change of the weight. A change goes first to the
running HAProxy, is read back, then to disk. Dying in between leaves the two different: `Gateway.settle` then ends at the record, or,
while a lease names a candidate, at whichever of the two gives the candidate less.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from golive.onhost import durable, fence
from golive.onhost.admission import AdmissionRuntime, admits
from golive.onhost.failures import Refused
from golive.onhost.haproxy import Runtime
from golive.onhost.places import Places

# Not from typing: that module alone would take a short call as long as its work.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["SLOTS", "Gateway", "read_json"]

SLOTS = ("a", "b")
_NO_SLOTS = {slot: {"in": False, "release": None} for slot in SLOTS}
_NO_WEIGHT = {"seq": 0, "slot_b": 0, "from": 0, "at": None, "token": 0, "run": None, "stage": None, "by": None}


def _lane(slot: str | None) -> str:
    """How the slots' map says where the control lane leads."""
    return f"slot_{slot}" if slot else "none"


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in ``path``; None when there is no such file. Raises Refused when it does not hold one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        raise Refused(f"{path} cannot be read as JSON; look at it, then remove it or put it right.") from None
    if not isinstance(value, dict):
        raise Refused(f"{path} does not hold a JSON object; look at it, then remove it or put it right.")
    return value


class Gateway:
    """Weights and slots of the gateway on this host (or of its own agents, where they admit sessions themselves).

    Everything that changes them does so inside `locked`.
    """

    def __init__(self, places: Places) -> None:
        self.state = places.gateway
        self.run_dir = places.root / "run/dwcp-gateway"
        self.runtime: Runtime | AdmissionRuntime = (
            AdmissionRuntime(places) if admits(places) else Runtime(places.root / "run/haproxy/admin.sock")
        )
        self.weights_map = self.state / "weights.map"
        self.releases_map = self.state / "releases.map"
        self.slots_map = self.state / "slots.map"
        self.history_file = self.state / "history.jsonl"
        self._weight_file = self.state / "weight.json"
        self._slots_file = self.state / "slots.json"

    @contextmanager
    def locked(self, wait_s: float = 10.0) -> Iterator[None]:
        """Holds the gateway's own lock.

        It is not the host's: the guard takes this one alone, so that it never waits for a long install. Verbs take the host's lock first.
        """
        self.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            deadline = time.monotonic() + wait_s
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= deadline:
                        raise Refused(f"The gateway's lock was held for more than {wait_s:g} s; run again.") from None
                    time.sleep(0.02)
            yield
        finally:
            os.close(descriptor)

    # -- weights ---------------------------------------------------------------------------------------------------------------

    def record(self) -> dict[str, Any]:
        """The last recorded change of the weight."""
        return read_json(self._weight_file) or dict(_NO_WEIGHT)

    def live_weight(self) -> int:
        """Percent of sessions that HAProxy sends to slot b now. Raises Refused when it does not answer."""
        value = self.runtime.show_map(self.weights_map).get("slot_b", "0")
        if not value.isdigit():
            raise Refused(f"HAProxy holds {value!r} as the weight of slot b.")
        return int(value)

    def set_weight(self, percent: int, *, why: dict[str, Any], keeps: bool = False, offline: bool = False) -> bool:
        """Slot b gets ``percent`` of the sessions: applied, read back, recorded. Says whether anything changed.

        Args:
            percent: 0 to 100.
            why: ``token``, ``run``, ``stage`` and ``by`` of the entry in the history.
            keeps: leave it applied even when it cannot be recorded (traffic taken off a candidate stays off on a full disk).
            offline: record it also when HAProxy does not answer; it reads the record when it starts.

        Raises:
            Refused: a slot that would get traffic is out or down while the other serves, HAProxy did not take it, or the disk did not;
                the old weight is back, or the sentence says otherwise.
        """
        before = self.record()
        self._finish_history(before)
        live = self._live_or(before["slot_b"] if offline else None)
        if live == percent == before["slot_b"]:
            return self._render_maps()
        self._require_in(percent)
        self._require_up(percent, live, offline)
        entry = {**why, "seq": before["seq"] + 1, "slot_b": percent, "from": live, "at": fence.now()}
        try:
            self._apply(percent, offline)
        except Refused:
            self._restore(live, before)
            raise
        try:
            self._write_map(self.weights_map, {"slot_b": str(percent)})
            durable.write_json(self._weight_file, entry)
            durable.append_line(self.history_file, entry)
        except OSError as error:
            if keeps:
                raise Refused(
                    f"Slot b has {percent} %, but this could not be recorded ({error.strerror}): make room, set it again."
                ) from None
            self._restore(live, before)
            raise Refused(f"The weight could not be recorded ({error.strerror}); slot b is back at {live} %.") from None
        return True

    def history(self) -> list[dict[str, Any]]:
        """Every recorded change of the weight, oldest first; lines torn by a crash are left out."""
        entries = []
        try:
            lines = self.history_file.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []
        for line in lines:
            try:
                entries.append(json.loads(line))
            except ValueError:
                continue
        return [entry for entry in entries if isinstance(entry, dict)]

    # -- slots -----------------------------------------------------------------------------------------------------------------

    def slots(self) -> dict[str, dict[str, Any]]:
        """``{"a": {"in": bool, "release": id or None}, "b": ...}`` as recorded."""
        recorded = read_json(self._slots_file) or {}
        return {slot: {**_NO_SLOTS[slot], **recorded.get(slot, {})} for slot in SLOTS}

    def share(self, slot: str) -> int:
        """Percent of sessions that the record gives to ``slot``."""
        to_b: int = self.record()["slot_b"]
        return to_b if slot == "b" else 100 - to_b

    def control(self) -> str | None:
        """The slot that the control lane leads to, as recorded; None while it leads nowhere of its own."""
        slot = (read_json(self._slots_file) or {}).get("control")
        return slot if slot in SLOTS else None

    def set_control(self, slot: str | None) -> bool:
        """The control lane leads to ``slot`` if that is in, else nowhere of its own; says whether anything changed.

        Where agents admit sessions themselves there is no such lane. Taken up also while HAProxy is down: it starts from the map on disk.
        """
        if isinstance(self.runtime, AdmissionRuntime):
            return False
        slots = self.slots()
        wanted = slot if slot is not None and slots[slot]["in"] else None
        changed = self.control() != wanted
        self._record_slots(slots, wanted)
        try:
            self.runtime.set_map(self.slots_map, "control", _lane(wanted))
        except Refused:
            if wanted is not None:
                raise
        return changed

    def set_slot_in(self, slot: str, is_in: bool, *, without: Sequence[str] = ()) -> bool:
        """``slot`` is in or out, in HAProxy and on disk; says whether anything changed.

        The servers in ``without`` stay out of a slot that is in, also after a restart: their hosts do not have its release. Raises Refused
        when that leaves none.
        """
        servers = sorted(self.runtime.servers(f"slot_{slot}"))
        kept_out = sorted(set(without) & set(servers)) if is_in else []
        if is_in and kept_out == servers:
            raise Refused(f"Every server of slot {slot} here is to stay out of it, so it cannot be in: {', '.join(servers)}.")
        if not is_in and self.control() in (None, slot):
            self.set_control(None)
        slots = self.slots()
        changed = slots[slot]["in"] is not is_in or slots[slot].get("without", []) != kept_out
        slots[slot]["in"] = is_in
        slots[slot].pop("without", None)
        if kept_out:
            slots[slot]["without"] = kept_out
            self._record_slots(slots, self.control())  # first: one that is put out and not recorded would come back by itself
        self.runtime.set_map(self.slots_map, f"slot_{slot}", "in" if is_in else "out")
        for name, server in sorted(self.runtime.servers(f"slot_{slot}").items()):
            out = not is_in or name in kept_out
            if server.out is not out:
                self.runtime.set_server_out(f"slot_{slot}", name, out=out)
                changed = True
        self._record_slots(slots, self.control())
        return changed

    def label(self, slot: str, release: str) -> bool:
        """``slot`` is ``release`` from now on, in HAProxy and on disk; says whether anything changed."""
        slots = self.slots()
        changed: bool = slots[slot]["release"] != release
        slots[slot]["release"] = release
        self.runtime.set_map(self.releases_map, f"slot_{slot}", release)
        self._record_slots(slots, self.control())
        return changed

    # -- both ------------------------------------------------------------------------------------------------------------------

    def render(self) -> bool:
        """The maps on disk say what the record says: HAProxy can start. Says whether one had to be written."""
        self._finish_history(self.record())
        return self._render_maps()

    def settle(self, candidate_slot: str | None, why: dict[str, Any]) -> list[str]:
        """HAProxy and the record say the same again after something died in between or HAProxy was restarted; says what was put right."""
        done = ["maps on disk"] if self.render() else []
        recorded: int = self.record()["slot_b"]
        live = self.live_weight()
        if live != recorded:
            lesser = recorded
            if candidate_slot is not None:
                lesser = min(live, recorded) if candidate_slot == "b" else max(live, recorded)
            self.set_weight(lesser, why=why, keeps=True)
            done.append(f"slot b: record {recorded} %, HAProxy {live} %, now {lesser} %")
        for slot, wanted in self.slots().items():
            name = f"slot_{slot}"
            for path, value in ((self.releases_map, wanted["release"] or "none"), (self.slots_map, "in" if wanted["in"] else "out")):
                if self.runtime.show_map(path).get(name) != value:
                    self.runtime.set_map(path, name, value)
                    done.append(f"{name}: {value}")
            # A server that a person took out of a slot that is in stays out.
            for server, state in sorted(self.runtime.servers(name).items()):
                if not state.out and (not wanted["in"] or server in wanted.get("without", [])):
                    self.runtime.set_server_out(name, server, out=True)
                    done.append(f"{name}/{server}: out")
        if isinstance(self.runtime, Runtime):
            lane = _lane(self.control())
            if self.runtime.show_map(self.slots_map).get("control") != lane:
                self.runtime.set_map(self.slots_map, "control", lane)
                done.append(f"control lane: {lane}")
        return done

    # -- inside ----------------------------------------------------------------------------------------------------------------

    def _live_or(self, otherwise: int | None) -> int:
        try:
            return self.live_weight()
        except Refused:
            if otherwise is None:
                raise
            return otherwise

    def _apply(self, percent: int, offline: bool) -> None:
        try:
            self.runtime.show_map(self.weights_map)
        except Refused:
            if offline:
                return
            raise
        self.runtime.set_map(self.weights_map, "slot_b", str(percent))

    def _restore(self, live: int, before: dict[str, Any]) -> None:
        try:
            self.runtime.set_map(self.weights_map, "slot_b", str(live))
            if before["seq"]:
                durable.write_json(self._weight_file, before)
            else:
                durable.remove(self._weight_file)
            self._write_map(self.weights_map, {"slot_b": str(before["slot_b"])})
        except (Refused, OSError) as error:
            raise Refused(
                f"The weight of slot b is unknown: it was {live} %, and neither the change nor going back held ({error})."
            ) from None

    def _require_in(self, percent: int) -> None:
        slots = self.slots()
        for slot, share in (("a", 100 - percent), ("b", percent)):
            if share > 0 and not slots[slot]["in"]:
                raise Refused(f"Slot {slot} is out and would get {share} % of the sessions; `dwcp-host slot enable {slot}` first.")

    def _require_up(self, percent: int, live: int, offline: bool) -> None:
        """Users are not sent from a slot that serves to one that does not."""
        if percent == live:
            return
        gains, loses = ("b", "a") if percent > live else ("a", "b")
        try:
            up = {slot: any(s.status.startswith("UP") for s in self.runtime.servers(f"slot_{slot}").values()) for slot in SLOTS}
        except Refused:
            if not offline:
                raise
            return
        if up[loses] and not up[gains]:
            raise Refused(
                f"No server of slot {gains} is up, so it gets no more of the sessions; slot {loses} serves. Mend slot {gains} first."
            )

    def _finish_history(self, last: dict[str, Any]) -> None:
        if last["seq"] == 0:
            return
        known = self.history()
        if not known or known[-1].get("seq", 0) < last["seq"]:
            durable.append_line(self.history_file, last)

    def _record_slots(self, slots: dict[str, dict[str, Any]], control: str | None) -> None:
        recorded = {**slots, "control": control}
        if read_json(self._slots_file) != recorded:
            durable.write_json(self._slots_file, recorded)
        self._render_maps()

    def _render_maps(self) -> bool:
        slots = self.slots()
        ways = {f"slot_{slot}": "in" if slots[slot]["in"] else "out" for slot in SLOTS}
        wrote = [
            self._write_map(self.weights_map, {"slot_b": str(self.record()["slot_b"])}),
            self._write_map(self.releases_map, {f"slot_{slot}": slots[slot]["release"] or "none" for slot in SLOTS}),
            self._write_map(self.slots_map, {**ways, "control": _lane(self.control())}),
        ]
        return any(wrote)

    @staticmethod
    def _write_map(path: Path, entries: dict[str, str]) -> bool:
        text = "".join(f"{key} {value}\n" for key, value in entries.items())
        try:
            if path.read_text(encoding="utf-8") == text:
                return False
        except (FileNotFoundError, UnicodeDecodeError):
            pass
        durable.write_text(path, text)
        return True
