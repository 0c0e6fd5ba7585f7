"""What a transfer may take of a link while others go to the same place: its share, and what is left over.

Everyone is held to its share of what the link is foreseen to carry, but for the finder, the heaviest command that wants more: it may take
what the others leave of a tenth more than that. So the link is full whatever was foreseen, and what arrives of all of them together says
what it carries. If all were held to shares of what arrived, nobody would find out that the link carries more; and a finder that nothing
held would fill the queue, and take from the others what is theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dwcp_agent.prediction.sample import Forecast
from dwcp_agent.prediction.shares import Want, shares

__all__ = ["Contender", "Share", "share_of"]

_ROOM = 1.25
"""One who does not want more is given so many times what it has: else it could not begin to want more."""
_LEAST_BYTES_PER_S = 65_536.0
_FIND = 1.1
"""So many times what is known the finder tries. Less finds more too slowly; more lengthens the queue that all of them wait in, in which
who is held gets so much less of its share."""


@dataclass(frozen=True)
class Contender:
    """A transfer as those see it that go to the same place."""

    name: str
    command: str
    """Transfers of one command are one contender, and share what it gets equally."""
    weight: float
    bytes_per_s: float
    """What arrived of it in its last interval."""
    wants: bool
    """It had more to send than the network took, and nothing of its own held it back."""
    limit_bytes_per_s: float = math.inf
    """What it may take at most, whatever is there."""

    @property
    def demand_bytes_per_s(self) -> float:
        """What it would take."""
        has = math.inf if self.wants else max(_ROOM * self.bytes_per_s, _LEAST_BYTES_PER_S)
        return min(has, self.limit_bytes_per_s)


@dataclass(frozen=True)
class Share:
    """Of one transfer."""

    bytes_per_s: float
    cap_bytes_per_s: float | None
    """What it is held to; None for nothing, where only its own command wants more."""
    why: str


def share_of(own: Contender, others: Sequence[Contender], forecast: Forecast, lately_bytes_per_s: float) -> Share | None:
    """The share of ``own`` in what the link is foreseen to carry; None when its command is alone, or nobody wants more than it has.

    ``lately_bytes_per_s`` is what arrived of all of them together until now: the finder finds more although less is foreseen.
    """
    commands: dict[str, list[Contender]] = {own.command: [replace(own, wants=True)]}
    for other in others:
        commands.setdefault(other.command, []).append(other)
    wanting = {each.command for each in (own, *others) if each.wants}
    if len(commands) == 1 or not wanting:
        return None
    weight = {command: max(each.weight for each in of) for command, of in commands.items()}
    wants = {command: Want(weight[command], math.fsum(each.demand_bytes_per_s for each in of)) for command, of in commands.items()}
    given = shares(forecast, wants)
    mine = _within(own, commands[own.command], forecast, given[own.command])
    cap: float | None = mine
    finder = max(wanting, key=lambda command: (weight[command], command))
    if wanting == {own.command}:
        cap = None
    elif own.command == finder:
        has = {command: math.fsum(each.bytes_per_s for each in of) for command, of in commands.items()}
        # Of a share that is not used only a little more than what is used, or it would be nobody's.
        kept = math.fsum(min(given[command], _FIND * has[command]) for command in commands if command != finder)
        found = max(_FIND * max(forecast.bytes_per_s, lately_bytes_per_s) - kept, given[finder])
        cap = _within(own, commands[finder], forecast, found)
    foreseen = f"{forecast.bytes_per_s / 1e6:.3g} MB/s foreseen"
    why = f"weight {own.weight:g} of {math.fsum(weight.values()):g} of {len(commands)} commands, {foreseen}"
    return Share(mine, cap, why)


def _within(own: Contender, command: Sequence[Contender], forecast: Forecast, bytes_per_s: float) -> float:
    """What ``own`` gets of what its command gets."""
    among = {each.name: Want(1.0, each.demand_bytes_per_s) for each in command}
    return shares(replace(forecast, bytes_per_s=bytes_per_s), among)[own.name]
