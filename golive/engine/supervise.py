"""Runs a step's code on a thread while this one keeps watch: budget, triggers, requests, signals, the lease."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from golive.actions.port import StepContext
from golive.engine.running import Breach, Live

__all__ = ["TimedOut", "supervised"]

T = TypeVar("T")


class TimedOut(Exception):
    """A step took longer than it may."""


def supervised(live: Live, ctx: StepContext, close: Callable[[], None], deadline: float, why: str, call: Callable[[], T]) -> T:
    """What ``call()`` returns or raises.

    Past ``deadline`` (monotonic), or when the run is interrupted, the step is asked to end, then its processes are ended; if it
    still does not return it is given up: it can no longer journal, and hosts refuse its token.

    Raises:
        TimedOut: saying ``why``.
        Interrupted, Breach, LeaseLost: what interrupted it.
    """
    done = threading.Event()
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    # daemon: a step that hangs for good must not keep a controller alive that has given it up
    threading.Thread(target=body, name=f"step-{ctx.step}", daemon=True).start()
    cause: Exception | None = None
    while not done.wait(live.ports.timing.tick_s):
        cause = live.look()
        if cause is None and live.clock.monotonic() > deadline:
            cause = TimedOut(why)
        if cause is not None:
            _end(live, ctx, close, done, cause)
            raise cause
    if errors:
        raise errors[0]
    return results[0]


def _end(live: Live, ctx: StepContext, close: Callable[[], None], done: threading.Event, cause: Exception) -> None:
    timing = live.ports.timing
    ctx.stop.request(str(cause))
    if done.wait(timing.breach_grace_s if isinstance(cause, Breach) else timing.grace_s):
        return
    close()
    live.lease.advance()
    live.append("step.given-up", {"why": str(cause), "token": live.lease.token}, ctx.stage, ctx.step)
    live.end_leftovers()
    if not isinstance(cause, Breach):  # the way back fences by its own effects, and waits for no one
        live.fence()
