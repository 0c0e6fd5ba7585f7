"""Where both releases run side by side, and how a measurement gets there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from golive.errors import Held

__all__ = ["Ask", "Ground", "Side", "ask_with", "command_of"]

Ask = Callable[[Mapping[str, Any], float], dict[str, Any]]
"""Does a task of the probe and returns its answer, within so many seconds. Raises Held when nothing is known of how it went."""


@dataclass(frozen=True)
class Side:
    """A release that runs at the receiver, and whose command is at the sender."""

    role: str
    release: str
    program: tuple[str, ...]
    """The words that run its ``dwcp`` at the sender."""
    port: int
    """Its control port at the receiver."""
    process: Mapping[str, Any]
    """``unit`` or ``pid`` of the agent at the receiver."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """For its command at the sender."""
    version: str = ""


@dataclass(frozen=True)
class Ground:
    """Both releases, and the three places that a measurement has to do with."""

    where: str
    """In words, for people."""
    incumbent: Side
    candidate: Side
    address: str
    """Of the receiver, as the sender and the neighbour reach it."""
    sender: Ask
    receiver: Ask
    neighbour: Ask
    """Near the receiver: what is asked from there shows the agent and not the way to it."""
    sender_tls: Mapping[str, str]
    neighbour_tls: Mapping[str, str]
    work: str
    """A directory at the sender for what is sent; its name begins with ``regress-``."""
    stores: Sequence[str]
    """Directories at the receiver in which the sender's and the neighbour's content of this measurement is."""
    prefix: str
    """Names of content begin so."""
    ship: Callable[[str, bytes], None]
    """Puts content into a file at the sender."""
    notes: Sequence[str] = ()
    """What has to be known of this place to read its figures."""
    still: Callable[[], None] = lambda: None
    """Raises when it may not go on: somebody took the environment over."""


@cache
def _text() -> bytes:
    return (Path(__file__).parent / "probe.py").read_bytes()


def command_of(task: Mapping[str, Any]) -> list[str]:
    """The command that does ``task`` where it is run, with the probe's text on standard input."""
    return ["python3", "-I", "-", json.dumps(task)]


def ask_with(run: Callable[[list[str], bytes, float], tuple[int, bytes, bytes]], where: str) -> Ask:
    """Tasks through ``run``, which runs a command with a standard input within some seconds: exit status, stdout, stderr."""

    def ask(task: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        code, out, err = run(command_of(task), _text(), limit_s)
        try:
            answer = json.loads(out)
        except ValueError:
            answer = None
        if code or not isinstance(answer, dict):
            said = err.decode(errors="replace").strip().splitlines() or [f"exit status {code}"]
            raise Held(f"{where}: {task['do']} could not be measured: {said[-1][:200]}.")
        return answer

    return ask
