"""The agent's metrics, by the names its alerts and gates know."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from dwcp_agent.release import Release

__all__ = ["CONTENT_TYPE", "LATENCY_EDGES_S", "AgentMetrics", "render"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LATENCY_EDGES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Every threshold of a gate is an edge (0.05, 0.1, 0.5, 5): a share above it is then counted, not interpolated."""


class AgentMetrics:
    """One registry a process; all of it safe from several threads."""

    def __init__(self, release: Release) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Gauge("dwcp_build_info", "Which release runs.", ["version", "digest"], registry=self.registry).labels(
            release.version, release.digest
        ).set(1)
        Gauge("dwcp_start_time_seconds", "Unix time this process started.", registry=self.registry).set(time.time())
        self.sessions = Gauge("dwcp_sessions_active", "Sessions whose ticket has not expired.", registry=self.registry)
        self.corruption = Counter("dwcp_corruption", "Content that did not match its hash when it was read back.", registry=self.registry)
        self._requests = Counter("dwcp_requests", "Requests answered, by operation and status.", ["op", "code"], registry=self.registry)
        self._seconds = Histogram("dwcp_request_seconds", "Time to answer.", ["op"], buckets=LATENCY_EDGES_S, registry=self.registry)
        self._transfers = Counter("dwcp_transfers", "Transfers ended, by result.", ["result"], registry=self.registry)
        self._state_puts = Counter("dwcp_state_puts", "Puts of small state that are durable.", registry=self.registry)
        self._handshakes = Counter(
            "dwcp_handshakes_refused", "Connections that showed no certificate of the CA, or no TLS 1.3.", ["port"], registry=self.registry
        )
        for port in ("control", "data"):
            self._handshakes.labels(port)
        self._certificates = Counter(
            "dwcp_certificates_replaced",
            "Times that certificate files were replaced while the agent served.",
            ["result"],
            registry=self.registry,
        )
        for result in ("taken", "refused"):
            self._certificates.labels(result)
        self._bytes = Counter("dwcp_bytes", "Content bytes moved.", ["direction"], registry=self.registry)
        self._in = self._bytes.labels("in")
        self._out = self._bytes.labels("out")
        for result in ("ok", "failed", "corrupt"):
            self._transfers.labels(result)

    def request(self, op: str, code: int, seconds: float) -> None:
        """An answered request."""
        self._requests.labels(op, str(code)).inc()
        self._seconds.labels(op).observe(seconds)

    def transfer(self, result: str, seconds: float, code: int) -> None:
        """A transfer that ended ``ok``, ``failed`` or ``corrupt``."""
        self._transfers.labels(result).inc()
        self.request("transfer", code, seconds)

    def stream_refused(self, reason: str, code: int) -> None:
        """A data stream that ended with an ERROR, whether or not a transfer had begun."""
        self._requests.labels("stream", str(code)).inc()

    def handshake_refused(self, port: str) -> None:
        """A connection to ``control`` or ``data`` that did not get past TLS."""
        self._handshakes.labels(port).inc()

    def certificates(self, result: str) -> None:
        """Files of certificate, key or CA were replaced: ``taken``, or ``refused`` as they cannot be used together."""
        self._certificates.labels(result).inc()

    def state_puts(self, count: int, seconds: float) -> None:
        """Puts that became durable together, ``seconds`` after the first of them had come."""
        self._state_puts.inc(count)
        self.request("state", 200, seconds)

    def received(self, count: int) -> None:
        """Content bytes that came in."""
        self._in.inc(count)

    def sent(self, count: int) -> None:
        """Content bytes that went out."""
        self._out.inc(count)


def render(registry: CollectorRegistry) -> bytes:
    """The registry in the text format."""
    return generate_latest(registry)
