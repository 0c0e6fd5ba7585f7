"""Where a gate reads: Prometheus on ops and the load clients of all sites, as one collector."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from golive.actions._world import aside
from golive.actions.port import StepContext
from golive.errors import Held
from golive.fleet.cpus import parse_cpus
from golive.fleet.model import Fleet
from golive.fleet.port import stand_in
from golive.fleet.tunnel import proxy
from golive.gates.adapters import LoadClient, Prometheus, operator_tls
from golive.gates.collect import Collector
from golive.gates.metrics import Metrics, Requests
from golive.gates.samples import Samples
from golive.gates.spec import GatePolicy
from golive.gates.window import NoData, Window
from golive.runbook import Clock

__all__ = ["Watch", "frozen_baseline", "metrics", "watched"]


class Watch:
    """What was measured since the watch began, at whatever moment it is asked.

    Its time is that of the clock which stamps what is scraped, as it was at the beginning, and goes on by a clock that nobody sets. A
    controller whose own clock is wrong, or is set meanwhile, would ask for what nobody has measured yet, or for what was before.
    """

    def __init__(self, collector: Collector, clock: Clock, start: float, began: float) -> None:
        self._collector = collector
        self._clock = clock
        self.start = start
        """Unix time of its beginning."""
        self.began = began
        """The same on the monotonic clock of this process."""

    def window(self) -> Window:
        return self._collector.window(self.start + self._clock.monotonic() - self.began)


@contextmanager
def watched(
    ctx: StepContext,
    policy: GatePolicy,
    *,
    candidate: str,
    incumbent: str | None,
    baseline: Samples | None = None,
    histogram: bool = False,
    earlier: Mapping[str, Any] | None = None,
) -> Iterator[Watch]:
    """A watch over the whole fleet, its connections closed afterwards.

    ``earlier``: a watch of this very process that is gone on with, as ``start`` and ``began``.
    """
    fleet, without = ctx.fleet(), aside(ctx)
    with ExitStack() as stack:
        prometheus = metrics(ctx, fleet, stack)
        if earlier is not None:
            start, began = float(earlier["start"]), float(earlier["began"])
        else:
            asked = ctx.clock.monotonic()
            told = prometheus.now()
            began = (asked + ctx.clock.monotonic()) / 2  # an answer that took long is no clock that is behind
            # Where it is not told, it is not told what was scraped either.
            start = ctx.clock.now().timestamp() if isinstance(told, NoData) else told
        collector = Collector(
            prometheus,
            _clients(ctx, fleet, stack, start),
            candidate=candidate,
            incumbent=incumbent,
            hosts=[host.name for host in fleet.agents if host.name not in without],
            cpus=len(parse_cpus(ctx.env.settings.agent_cpus)),
            start=start,
            stale_after_s=policy.stale_after_s,
            baseline=baseline,
            histogram=histogram,
        )
        yield Watch(collector, ctx.clock, start, began)


def metrics(ctx: StepContext, fleet: Fleet, stack: ExitStack) -> Metrics:
    """What Prometheus on ops scraped, asked until ``stack`` is closed."""
    hosts = stand_in(ctx.env)
    if hosts is not None:
        return hosts.metrics()
    prometheus = Prometheus(fleet.ops.address, operator_tls(ctx.env.state / "pki"), proxy=proxy(ctx.env, fleet))
    stack.callback(prometheus.close)
    return prometheus


def _clients(ctx: StepContext, fleet: Fleet, stack: ExitStack, start: float) -> list[Requests]:
    hosts, without = stand_in(ctx.env), aside(ctx)
    loads = [host for host in fleet.loads if host.name not in without]
    if hosts is not None:
        return [hosts.requests(host, start) for host in loads]
    tls, way, clients = operator_tls(ctx.env.state / "pki"), proxy(ctx.env, fleet), list[Requests]()
    for host in loads:
        opened = LoadClient(host.name, host.address, tls, proxy=way)
        stack.callback(opened.close)
        clients.append(opened)
    return clients


def frozen_baseline(ctx: StepContext) -> Samples:
    """The incumbent's requests from before the shift, as this run froze them. Raises Held when they are gone or were changed."""
    facts = ctx.facts("baseline")
    if not facts:
        raise Held("This run has frozen no baseline, so nothing can be compared with it; run stage pre-deployment first.")
    path = ctx.env.state / "runs" / ctx.run / facts[-1]["file"]
    try:
        raw = path.read_bytes()
    except OSError as error:
        # Another controller may have frozen it; what it kept beside the journal has the digest that it noted.
        elsewhere = ctx.kept(facts[-1]["sha256"])
        if elsewhere is None:
            raise Held(f"The frozen baseline {path} cannot be read ({error.strerror}); without it nothing can be compared.") from None
        raw = elsewhere
    if hashlib.sha256(raw).hexdigest() != facts[-1]["sha256"]:
        raise Held(f"The frozen baseline {path} is not the one that was journaled; somebody changed it.")
    return Samples.from_json(json.loads(raw))
