"""Where a gate reads: Prometheus on ops and the load clients of all sites, as one collector."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

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

__all__ = ["Timeline", "collector", "frozen_baseline", "metrics"]


class Timeline:
    """Unix time as the controller's clock had it when a watch began, going on by a clock that nobody sets.

    What a watch asks for is what was measured from its beginning until now: a clock that is set meanwhile, by an hour or by a minute, would
    make it ask for what nobody has measured yet, or for what was before it.
    """

    def __init__(self, ctx: StepContext, earlier: Mapping[str, float] | None = None) -> None:
        """``earlier``: ``start`` and ``began`` of a watch of this very process that is gone on with."""
        self._clock = ctx.clock
        self.start = earlier["start"] if earlier else ctx.clock.now().timestamp()
        self.began = earlier["began"] if earlier else ctx.clock.monotonic()

    def now(self) -> float:
        return self.start + self._clock.monotonic() - self.began


@contextmanager
def collector(
    ctx: StepContext,
    policy: GatePolicy,
    *,
    candidate: str,
    incumbent: str | None,
    start: float,
    baseline: Samples | None = None,
    histogram: bool = False,
) -> Iterator[Collector]:
    """A collector over the whole fleet, its connections closed afterwards."""
    fleet, without = ctx.fleet(), aside(ctx)
    with ExitStack() as stack:
        prometheus, clients = _sources(ctx, fleet, stack, start)
        yield Collector(
            prometheus,
            clients,
            candidate=candidate,
            incumbent=incumbent,
            hosts=[host.name for host in fleet.agents if host.name not in without],
            cpus=len(parse_cpus(ctx.env.settings.agent_cpus)),
            start=start,
            stale_after_s=policy.stale_after_s,
            baseline=baseline,
            histogram=histogram,
        )


def metrics(ctx: StepContext, fleet: Fleet, stack: ExitStack) -> Metrics:
    """What Prometheus on ops scraped, asked until ``stack`` is closed."""
    hosts = stand_in(ctx.env)
    if hosts is not None:
        return hosts.metrics()
    prometheus = Prometheus(fleet.ops.address, operator_tls(ctx.env.state / "pki"), proxy=proxy(ctx.env, fleet))
    stack.callback(prometheus.close)
    return prometheus


def _sources(ctx: StepContext, fleet: Fleet, stack: ExitStack, start: float) -> tuple[Metrics, list[Requests]]:
    hosts, without = stand_in(ctx.env), aside(ctx)
    loads = [host for host in fleet.loads if host.name not in without]
    if hosts is not None:
        return hosts.metrics(), [hosts.requests(host, start) for host in loads]
    tls, way, clients = operator_tls(ctx.env.state / "pki"), proxy(ctx.env, fleet), list[Requests]()
    for host in loads:
        opened = LoadClient(host.name, host.address, tls, proxy=way)
        stack.callback(opened.close)
        clients.append(opened)
    return metrics(ctx, fleet, stack), clients


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
