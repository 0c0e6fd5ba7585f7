"""Follows a transfer's path twice a second and says what the policies make of it: rate, profile, number of streams."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary

from dwcp_agent import log as logs
from dwcp_agent.congestion import pace as acp
from dwcp_agent.congestion.kernel import lift_limit, set_limit
from dwcp_agent.prediction.competition import Share
from dwcp_agent.profiles.choice import choose
from dwcp_agent.profiles.table import BALANCED, Profile
from dwcp_agent.telemetry.decisions import Decision, DecisionLog
from dwcp_agent.telemetry.path import PathMeter, PathSample
from dwcp_agent.transport.sharing import Sharing
from dwcp_agent.transport.streams import MOST_STREAMS, count_streams

__all__ = ["Forecast", "Steering"]

_INTERVAL_S = 0.5
_TOLD = 0.2
"""A share that changed by less is not told of: the forecast is another one each second."""
_REMEMBERED = 8
"""Samples whose largest delivery rate counts for streams: one interval in which little was sent is no reason to close them."""
Forecast = Callable[[PathSample], float | None]
"""Bytes a second that the path will carry, told of every sample; None when it cannot say yet."""


class Steering:
    """One transfer's policies and what they are fed with.

    Only the rate is enforced here, by the kernel; who runs the transfer reads :attr:`profile` and :attr:`streams` when it suits.

    Args:
        sockets: the transfer's connections now. One that is closed meanwhile is passed over.
        log: told of every change.
        limit_bytes_per_s: what all streams together may send at most, whatever the path carries; None for no limit.
        size: bytes of content.
        clock: seconds.
        forced: a profile that the user asked for.
        most_streams: what the agent takes.
        processors: those there are to compress with; the process's when None.
        forecast: used instead of the delivery rate of the last intervals.
        paces: False where the kernel's congestion control goes by a model of the path, as BBR does: it keeps queues short itself, and a cap
            above it was measured to cost a fifth of the rate (``docs/transport.md``).
        sharing: with whom it shares the link; None when it does not ask.
    """

    def __init__(
        self,
        sockets: Callable[[], list[socket.socket]],
        log: DecisionLog,
        *,
        limit_bytes_per_s: int | None,
        size: int,
        clock: Callable[[], float] = time.monotonic,
        forced: Profile | None = None,
        most_streams: int = MOST_STREAMS,
        processors: int | None = None,
        forecast: Forecast | None = None,
        paces: Callable[[], bool] = lambda: True,
        sharing: Sharing | None = None,
    ) -> None:
        self._sockets = sockets
        self._log = log
        self._limit = limit_bytes_per_s
        self._size = size
        self._clock = clock
        self._forced = forced
        self._most_streams = most_streams
        self._processors = processors or len(os.sched_getaffinity(0))
        self._forecast = forecast
        self._paces = paces
        self._sharing = sharing
        self._shared: Share | None = None
        """The share that was told of last."""
        self._meter = PathMeter()
        self._pace = acp.Pace()
        self._delivery: deque[float] = deque(maxlen=_REMEMBERED)
        self._set: WeakKeyDictionary[socket.socket, int] = WeakKeyDictionary()
        """What each connection was told."""
        self._begun: float | None = None
        """When the profile was taken; None while the path has not been seen."""
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self.path: PathSample | None = None
        """The last sample."""
        self.rate_cap: int | None = limit_bytes_per_s
        """Bytes a second for all streams together; None for as fast as it goes."""
        self.profile: Profile = (forced or BALANCED).fitted(size)
        self.streams: int = max(1, min(self.profile.first_streams, most_streams))
        """How many are wanted."""

    def start(self) -> None:
        """Steps at once, and then every half a second on a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="steering", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more steps; connections that are kept for another transfer are as they were before."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
        if self._sharing is not None:
            self._sharing.close()
        for sock in list(self._set):
            with contextlib.suppress(OSError, ValueError):
                lift_limit(sock)
        self._set.clear()

    def step(self) -> PathSample | None:
        """Looks at the path and decides; the sample, None when there is no connection."""
        now = self._clock()
        sockets = self._sockets()
        sample = self._meter.sample(sockets, now)
        if sample is None:
            return None
        self.path = sample
        limits = [each for each in (self._choose_pace(sample), self._limit) if each is not None]
        limit = min(limits) if limits else None
        share = self._choose_share(sample, limit)
        caps = [each for each in (limit, share) if each is not None]
        self.rate_cap = int(min(caps)) if caps else None
        self._choose_profile(sample)
        self._choose_streams(sample)
        self._apply(sockets)
        return sample

    def _choose_pace(self, sample: PathSample) -> float | None:
        """What congestion leaves of the rate, in bytes/s; None for all of it."""
        if not self._paces():
            return None
        before, said = self._pace, acp.decide(self._pace, sample)
        self._pace = said.pace
        cap, was = said.pace.cap_bytes_per_s, before.cap_bytes_per_s
        # Of a recovery only its beginning: it goes on in small steps for as long as it lasts.
        recovers = cap is not None and was is not None and cap > was and before.clean_s == 0.0
        if cap is None or was is None or cap < was or recovers:
            self._tell("congestion", "rate_cap_bytes_per_s", cap, was, said.why, sample)
        return cap

    def _choose_share(self, sample: PathSample, limit: float | None) -> float | None:
        """What others leave it, in bytes/s; None when it is not held to that."""
        if self._sharing is None:
            return None
        said, told = self._sharing.step(sample, limit, self.rate_cap), self._shared
        if said is None or told is None:
            news = said is not told
        else:
            freed = (said.cap_bytes_per_s is None) != (told.cap_bytes_per_s is None)
            news = freed or abs(said.bytes_per_s - told.bytes_per_s) > _TOLD * told.bytes_per_s
        if news:
            self._shared = said
            value = round(said.bytes_per_s) if said is not None else None
            why = said.why if said is not None else "no other command wants its link"
            self._log.add(Decision(sample.at_s, "shares", "share_bytes_per_s", value, why))
        return said.cap_bytes_per_s if said is not None else None

    def _choose_profile(self, sample: PathSample) -> None:
        in_it_s = sample.at_s - self._begun if self._begun is not None else 0.0
        known = self.profile if self._begun is not None else None
        said = choose(sample.min_rtt_ms, self._size, known, in_it_s, self._forced)
        if known is None or said.profile.name != known.name:
            self._begun = sample.at_s
            self._tell("profile", "profile", said.profile.name, known.name if known else None, said.why, sample)
        self.profile = said.profile

    def _choose_streams(self, sample: PathSample) -> None:
        if sample.delivery_bytes_per_s:
            self._delivery.append(sample.delivery_bytes_per_s)
        foreseen = self._forecast(sample) if self._forecast is not None else None
        bandwidth = foreseen if foreseen is not None else max(self._delivery, default=0.0)
        if self.rate_cap is not None:
            bandwidth = min(bandwidth, self.rate_cap)
        profile = self.profile
        said = count_streams(
            bandwidth,
            sample.min_rtt_ms,
            profile.chunk_bytes,
            current=self.streams,
            least=min(profile.first_streams, self._processors),
            most=profile.most_streams,
            units=-(-self._size // profile.chunk_bytes),
            limit=self._most_streams,
        )
        if said.streams < self.streams and foreseen is None and len(self._delivery) < _REMEMBERED:
            return  # a transfer that begins does not have the path's rate yet
        self._tell("streams", "streams", said.streams, self.streams, said.why, sample)
        self.streams = said.streams

    def _tell(self, policy: str, what: str, value: float | str | None, was: float | str | None, why: str, sample: PathSample) -> None:
        if value != was:
            self._log.add(Decision(sample.at_s, policy, what, value, why))

    def _apply(self, sockets: list[socket.socket]) -> None:
        """Every connection that is there gets the same share; one that needs none is told so if it ever had one."""
        share = None
        there = [sock for sock in sockets if sock.fileno() >= 0]
        if self.rate_cap is not None and there:
            share = max(1, self.rate_cap // len(there))
        for sock in there:
            if self._set.get(sock) == share:
                continue
            with contextlib.suppress(OSError, ValueError):
                if share is None:
                    lift_limit(sock)
                    del self._set[sock]
                else:
                    set_limit(sock, share)
                    self._set[sock] = share

    def _run(self) -> None:
        while True:
            try:
                self.step()
            except Exception as error:  # the transfer goes on without it, at the last rate
                logs.warn("steering-failed", reason=repr(error))
            if self._ending.wait(_INTERVAL_S):
                return
