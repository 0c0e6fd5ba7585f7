"""What both adapters are: `Traffic` over hosts that run ``dwcp-host``, all asked at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from golive.errors import BadInput, GoliveError, Refused, Unreachable
from golive.fleet.model import Host
from golive.traffic.port import Beat, Beats, Shift, Slot, SlotName, Weights

__all__ = ["Answered", "Asks", "HostPoints"]

_T = TypeVar("_T")


class Answered(Protocol):
    """A command that ended, as `golive.fleet.ssh.Completed`."""

    @property
    def rc(self) -> int: ...
    @property
    def stdout(self) -> bytes: ...
    @property
    def stderr(self) -> bytes: ...


class Asks(Protocol):
    """What is needed of `golive.fleet.ssh.Shell`: one command on many hosts at once, over kept connections."""

    def each(self, hosts: Sequence[Host], argv: Sequence[str], *, timeout_s: float = 30) -> Mapping[str, Any]: ...


class HostPoints:
    """`golive.traffic.port.Traffic` by ``dwcp-host weight | slot | lease`` on ``points``."""

    def __init__(self, shell: Asks, points: Sequence[Host], *, run: str, token: int, candidate_slot: SlotName) -> None:
        if not points:
            raise BadInput("No host decides where sessions go; the fleet needs a gateway, or agents that admit sessions themselves.")
        self._shell = shell
        self._points = tuple(points)
        self._run = run
        self._token = token
        self._candidate_slot: SlotName = candidate_slot

    @property
    def candidate_slot(self) -> SlotName:
        return self._candidate_slot

    def read(self) -> Mapping[str, Weights]:
        return self._all(self._ask(["weight", "get"]), _weights)

    def shift(self, percent: int, *, stage: str) -> Shift:
        if not 0 <= percent <= 100:
            raise BadInput(f"The candidate's share must be 0 to 100 percent, not {percent}.")
        started = time.monotonic()
        slot_b = percent if self._candidate_slot == "b" else 100 - percent
        answers = self._change(["weight", "set", "--slot-b", str(slot_b), "--stage", stage], wait_s=10)
        weights = self._all(answers, _weights, left=f"the others have the candidate at {percent} %")
        for point, seen in weights.items():
            if seen.percent(self._candidate_slot) != percent:
                raise Refused(
                    f"{point} was told {percent} % for the candidate and does {seen.percent(self._candidate_slot)} %.", host=point
                )
        changed = tuple(name for name, said in answers.items() if isinstance(said, dict) and said.get("changed"))
        return Shift(percent, changed, weights, time.monotonic() - started)

    def open(self, *, passed: int, ttl_s: float = 10.0, acknowledge_guard: bool = False) -> None:
        words = ["lease", "open", "--candidate-slot", self._candidate_slot, "--passed", str(passed), "--ttl", f"{ttl_s:g}"]
        self._all(self._change(words + (["--acknowledge-guard"] if acknowledge_guard else [])), _nothing)

    def beat(self) -> Beats:
        words = ["lease", "beat", "--token", str(self._token), "--run", self._run]
        return {name: _try(name, said, _beat) for name, said in self._ask(words, timeout_s=5).items()}

    def passed(self, percent: int) -> None:
        self._all(self._change(["lease", "pass", "--percent", str(percent)]), _nothing)

    def close(self) -> None:
        self._all(self._change(["lease", "close"]), _nothing)

    def enable(self, slot: SlotName, *, up_s: float = 10.0, without: Sequence[str] = ()) -> None:
        left_out = [word for host in sorted(without) for word in ("--without", host)]
        self._all(self._change(["slot", "enable", slot, "--up", f"{up_s:g}", *left_out], timeout_s=30 + up_s), _nothing)

    def disable(self, slot: SlotName, *, last: bool = False) -> None:
        self._all(self._change(["slot", "disable", slot, *(["--last"] if last else [])]), _nothing)

    def label(self, slot: SlotName, release: str) -> None:
        self._all(self._change(["slot", "label", slot, release]), _nothing)

    def _change(self, words: list[str], *, wait_s: float = 20, timeout_s: float = 30) -> Mapping[str, dict[str, Any] | GoliveError]:
        return self._ask([*words, "--token", str(self._token), "--run", self._run, "--wait", f"{wait_s:g}"], timeout_s=timeout_s)

    def _ask(self, words: list[str], *, timeout_s: float = 15) -> Mapping[str, dict[str, Any] | GoliveError]:
        # Hosts that need sudo take other words than those that do not.
        said: dict[str, dict[str, Any] | GoliveError] = {}
        for privileged in (True, False):
            hosts = [host for host in self._points if (host.ssh_user == "root") is privileged]
            if hosts:
                argv = ["dwcp-host", *words] if privileged else ["sudo", "-n", "dwcp-host", *words]
                answers = self._shell.each(hosts, argv, timeout_s=timeout_s)
                said.update({host.name: _answer(host.name, answers.get(host.name)) for host in hosts})
        return said

    def _all(
        self, answers: Mapping[str, dict[str, Any] | GoliveError], read: Callable[[str, dict[str, Any]], _T], *, left: str = ""
    ) -> dict[str, _T]:
        """What every point said. Raises the worst of what the points failed with: a refusal before silence."""
        read_back = {name: _try(name, said, read) for name, said in answers.items()}
        failed = {name: said for name, said in read_back.items() if isinstance(said, GoliveError)}
        if not failed:
            return {name: said for name, said in read_back.items() if not isinstance(said, GoliveError)}
        sentence = " ".join(str(error) for error in failed.values())
        if left and len(failed) < len(answers):
            sentence += f" Of {len(answers)} points, {left}."
        kind = Refused if any(isinstance(error, Refused) for error in failed.values()) else Unreachable
        raise kind(sentence, host=next(iter(failed)))


def _answer(name: str, got: Any) -> dict[str, Any] | GoliveError:
    if isinstance(got, GoliveError):
        return got
    if got is None:
        return Unreachable(f"{name} was not asked.", host=name)
    said = got.stderr.decode(errors="replace").strip().splitlines()
    if got.rc != 0:
        why = said[-1] if said else f"dwcp-host ended with {got.rc} and no word"
        # 255 is ssh's own; 4 is a refusal; anything else did not do what it was told, which is a no as well.
        return Unreachable(f"{name}: {why}", host=name) if got.rc == 255 else Refused(f"{name}: {why}", host=name)
    try:
        data = json.loads(got.stdout)
    except ValueError:
        data = None
    return data if isinstance(data, dict) else Refused(f"{name}: dwcp-host answered no JSON object.", host=name)


def _try(name: str, said: dict[str, Any] | GoliveError, read: Callable[[str, dict[str, Any]], _T]) -> _T | GoliveError:
    if isinstance(said, GoliveError):
        return said
    try:
        return read(name, said)
    except (KeyError, TypeError, ValueError, AttributeError):
        return Refused(f"{name}: dwcp-host answered something else than was asked; install the toolkit's version on it.", host=name)


def _nothing(name: str, said: dict[str, Any]) -> None:
    return None


def _weights(name: str, said: dict[str, Any]) -> Weights:
    slots: dict[SlotName, Slot] = {
        "a": _slot(said["slots"]["a"]),
        "b": _slot(said["slots"]["b"]),
    }
    runtime = said["runtime"]
    return Weights(
        point=name,
        slot_b=int(said["slot_b"]),
        runtime=None if runtime is None else int(runtime),
        slots=slots,
        last=dict(said["last"]),
        lease=said["lease"],
        guard=said["guard"],
        guard_age_s=said["guard_age_s"],
        problem=said["problem"],
    )


def _slot(said: dict[str, Any]) -> Slot:
    return Slot(said["release"], bool(said["in"]), tuple(said.get("without", ())))


def _beat(name: str, said: dict[str, Any]) -> Beat:
    return Beat(point=name, slot_b=int(said["slot_b"]), guard=said["guard"], guard_age_s=said["guard_age_s"])
