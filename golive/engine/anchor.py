"""What makes a journal's past hold: its head is left on the hosts at the end of every stage, and signed when a run is over."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

from golive.actions.port import Finding, Findings, Found
from golive.engine.chain import Head, canonical
from golive.engine.ports import Anchor
from golive.engine.running import Live
from golive.errors import GoliveError

__all__ = ["anchored", "closed", "message"]


def message(env: str, journal: str, head: Head) -> bytes:
    """What is signed: not a hash alone, so that it fits no other environment, journal or place in it."""
    return canonical({"env": env, "journal": journal, "seq": head.seq, "hash": head.hash}).encode()


def anchored(live: Live) -> None:
    """The hosts hold the journal's head as far as they took it in time; which did, and why others did not, is journaled.

    The run goes on whatever they say. Raises what interrupts the run meanwhile.
    """
    _leave(live, look=True)


def closed(live: Live) -> None:
    """The head of a run that is over is signed, and on the hosts: those that do not take it are asked again. Never raises.

    What cannot be signed is journaled as such, and is not called signed by anyone.
    """
    if live.state.open or live.state.run is None:
        return
    with contextlib.suppress(GoliveError):
        _sign(live)
        end = time.monotonic() + live.ports.timing.anchor_s
        for _ in range(live.ports.timing.anchor_attempts):
            if not _leave(live, look=False) or live.signal or time.monotonic() > end:
                return
            live.clock.sleep(live.ports.timing.retry_s, lambda: bool(live.signal))


def _sign(live: Live) -> None:
    if live.ports.sign is None:
        return
    head = live.journal.head()
    try:
        signature = live.ports.sign(message(live.name, live.journal.identity, head))
    except Exception as error:
        live.append("journal.unsigned", {"seq": head.seq, "why": str(error) or type(error).__name__})
        return
    live.append("journal.signed", {"seq": head.seq, "hash": head.hash, "key": signature.key, "signature": signature.text})


def _leave(live: Live, *, look: bool) -> bool:
    """Leaves the head as it is now; whether a host that could have taken it did not."""
    head = live.journal.head()
    anchor = Anchor(live.name, live.journal.identity, live.run, live.lease.token, head)
    found = _answers(live, anchor, look=look)
    if not found:
        return False
    missed = {host: finding.reason for host, finding in found.items() if finding.found is not Found.DONE}
    said: dict[str, Any] = {"seq": head.seq, "hash": head.hash, "journal": anchor.journal}
    for word in ("pinned", "other"):
        hosts = sorted(host for host, finding in found.items() if finding.data.get("key") == word)
        if hosts:
            said[f"key_{word}"] = hosts
    others = {journal for finding in found.values() for journal in finding.data.get("others", ())}
    if others:
        said["other_journals"] = sorted(others)
    live.append("journal.anchored", {**said, "hosts": sorted(found.keys() - missed.keys()), "missed": missed})
    return any(finding.found is Found.UNKNOWN for finding in found.values())


def _answers(live: Live, anchor: Anchor, *, look: bool) -> Findings:
    """What the hosts say in time; users on the candidate are watched over meanwhile."""
    done = threading.Event()
    answers: list[Findings] = []

    def ask() -> None:
        try:
            answers.append(live.ports.anchor(anchor))
        except Exception as error:
            answers.append({"environment": Finding(Found.UNKNOWN, str(error) or type(error).__name__)})
        finally:
            done.set()

    # daemon: a host that hangs keeps neither the run nor its end waiting. What it takes late harms no one: its head only moves on.
    threading.Thread(target=ask, name="anchor", daemon=True).start()
    end = time.monotonic() + live.ports.timing.anchor_s
    while not done.wait(live.ports.timing.tick_s):
        cause = live.look() if look else None
        if cause is not None:
            raise cause
        if time.monotonic() > end:
            return {"environment": Finding(Found.UNKNOWN, f"the hosts did not answer within {live.ports.timing.anchor_s:.0f} s")}
    return answers[0]
