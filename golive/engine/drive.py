"""Takes a run as far as it goes in this process, forward or back, and journals how it ended."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from datetime import timedelta

from golive.engine.anchor import closed
from golive.engine.loop import Aborted, Broken, Standstill, forward
from golive.engine.ports import Trigger
from golive.engine.rollback import back, begin
from golive.engine.running import Breach, Interrupted, Live
from golive.errors import GoliveError, Occupied
from golive.runbook import Runbook

__all__ = ["drive"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def drive(
    live: Live,
    book: Runbook | None,
    back_book: Runbook,
    until: str | None,
    trigger: Trigger | None = None,
    *,
    leave_after: timedelta | None = None,
) -> None:
    """Returns when the run is over or stands still; its state says which.

    Args:
        live: the run.
        book: the way forward; None to only go back.
        back_book: the way back.
        until: stage to stop after.
        trigger: a reason to go back at once.
        leave_after: the longest wait for a stage that this process stays alive for.

    Raises:
        Occupied: another process took the environment over.
        GoliveError: something else stopped this process; the run is held as far as that could be journaled.
    """
    with _signals(live):
        try:
            try:
                trigger = trigger or _decided(live)
                if trigger is not None and not live.state.rolling_back:
                    raise Breach(trigger)
                if not live.state.rolling_back and book is not None:
                    forward(live, book, until=until, leave_after=leave_after)
            except Breach as breach:
                if not live.state.deployed:
                    live.append("trigger", {"source": breach.trigger.source, "reason": breach.trigger.reason})
                    why = "nothing was to go back to" if live.state.already_live else "nothing of the candidate was on hosts"
                    raise Aborted(f"{breach.trigger.reason}; {why}") from None
                begin(live, breach.trigger)
            except (Interrupted, Standstill, Aborted, Broken, GoliveError):
                raise
            except Exception as error:
                live.bug(error)
                if not live.state.exposed or live.irreversible:
                    raise Broken(f"a bug in the engine: {type(error).__name__}: {error}") from error
                begin(live, Trigger("engine", f"a bug in the engine: {type(error).__name__}: {error}"))
            if live.state.rolling_back:
                back(live, back_book)
                outcome = "aborted" if live.state.aborting else "rolled-back"
                live.append("run.finished", {"outcome": outcome, "reason": (live.state.rollback or {}).get("reason")})
            elif live.state.deployed and not live.state.already_live and book is not None and live.state.last_stage != book.stages[-1].name:
                raise Standstill(
                    f"stage {live.state.last_stage} is done, as asked, and the candidate is on hosts",
                    f"`./inv golive --env {live.name}` goes on, `./inv rollback --env {live.name} --reason ...` takes it back",
                    asked=True,
                )
            else:
                signed = book is not None and live.state.last_stage == book.stages[-1].name and not live.state.already_live
                live.append("run.finished", {"outcome": "succeeded", "signed_off": signed, "already_live": live.state.already_live})
        except Standstill as stop:
            live.append("run.held", {"reason": str(stop), "do": stop.do, "asked": stop.asked, "waiting_until": stop.waiting_until})
        except Aborted as stop:
            live.append("run.finished", {"outcome": "aborted", "reason": str(stop)})
        except Broken as stop:
            live.append("run.finished", {"outcome": "failed", "reason": str(stop)})
        except Interrupted as stop:
            what = "finishes the way back" if live.state.rolling_back else "continues the run"
            again = f"`./inv golive --env {live.name}` {what}"
            live.append("run.held", {"reason": f"interrupted by {stop}", "do": again, "interrupted": True, "signal": str(stop)})
        except Occupied:
            raise
        except GoliveError as error:
            with contextlib.suppress(GoliveError):
                live.append("run.held", {"reason": str(error), "do": f"`./inv golive --env {live.name}` continues the run"})
            raise
        finally:
            live.stop_watchers()
            live.paging.settle()
            closed(live)


def _decided(live: Live) -> Trigger | None:
    """What an earlier process was asked and died before it followed: a run that is to go back, or to end, never goes forward."""
    decided = live.state.aborting or live.state.wanted_back
    if decided is None:
        return None
    kind = "abort" if live.state.aborting else "rollback"
    data = {"by": decided.get("by"), "kind": kind, "category": decided.get("category")}
    return Trigger("operator", str(decided.get("reason")), str(decided.get("at") or ""), data)


@contextlib.contextmanager
def _signals(live: Live) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the step in order. Only where handlers can be set: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def received(number: int, frame: object) -> None:
        live.signal = signal.Signals(number).name

    before = {number: signal.signal(number, received) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
