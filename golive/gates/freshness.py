"""Whether there is anything to judge: stale, absent or frozen metrics are ERROR, never a zero."""

from __future__ import annotations

from golive.gates.samples import CANDIDATE, INCUMBENT, OTHER, Samples
from golive.gates.spec import GatePolicy, GateSpec
from golive.gates.window import Agent, Client, Window

__all__ = ["problems"]

_LEAST_BASELINE = 200
_FROZEN_AFTER_REQUESTS = 20
"""Requests that clients say the candidate served, after which its own counters must have moved."""
_AHEAD_S = 2.0
"""A sample may be this much newer than the controller's clock says it is now."""


def problems(window: Window, spec: GateSpec, policy: GatePolicy) -> tuple[str, ...]:
    """One sentence for each thing that keeps this window from being judged. Empty: it is fresh and whole."""
    found = [f"{gap}" for gap in window.problems]
    stale = policy.stale_after_s
    if not window.clients:
        found.append("No load client was read, so nothing counts what users see.")
    for client in window.clients:
        found += _client(client, window, stale)
    found += _serving(window.samples, window, CANDIDATE, "the candidate", stale)
    if spec.against == "incumbent":
        for client in window.clients:
            # At each site: what one site's incumbent answers says nothing about another's machines.
            gone = _serving(_of(window.samples, client.name), window, INCUMBENT, f"the incumbent as seen by {client.name}", stale)
            found += [f"{sentence} 'against: incumbent' is legal only while both serve." for sentence in gone]
    if spec.against == "baseline":
        count = len(window.baseline) if window.baseline is not None else 0
        if count < _LEAST_BASELINE:
            found.append(f"The frozen baseline holds {count} requests; {_LEAST_BASELINE} is the least to compare with.")
    if spec.latency_p99 is not None and spec.latency_from == "histogram" and not window.histogram:
        found.append("There is no histogram of the candidate's latencies.")
    strangers = int((window.samples.role == OTHER).sum())
    if strangers:
        found.append(f"{strangers} requests were answered by a release that has no role in this run.")
    if not window.agents:
        found.append("No agent of the candidate was scraped.")
    for agent in window.agents:
        found += _agent(agent, window, stale)
    found += _frozen(window, stale)
    return tuple(found)


def _client(client: Client, window: Window, stale: float) -> list[str]:
    found = []
    if client.problem is not None and (client.read_at is None or window.end - client.read_at > stale):
        found.append(f"{client.problem}; its requests are not counted.")
    if len(client.boots) > 1:
        found.append(f"The load client on {client.name} restarted during the watch, so requests were lost; the watch has to begin anew.")
    if client.lost:
        found.append(f"The load client on {client.name} had dropped {client.lost} requests before they were read.")
    offered = client.offered
    age = window.end - offered.time[-1] if len(offered.time) else None
    if age is None:
        found.append(f"dwcp_load_offered_total of {client.name} is absent.")
    elif age > stale:
        found.append(f"dwcp_load_offered_total of {client.name} is {age:.0f} s old.")
    elif window.seconds > stale and offered.since(window.end - 2 * stale).increase <= 0:
        found.append(f"The load client on {client.name} offers no requests.")
    times = _of(window.samples, client.name).time
    newest = float(times[-1]) if len(times) else window.start
    if window.end - newest > stale:
        found.append(f"The newest request counted by {client.name} is {window.end - newest:.0f} s old.")
    if newest - window.end > _AHEAD_S:
        found.append(f"Requests counted by {client.name} are {newest - window.end:.0f} s in the future: its clock or ours is wrong.")
    return found


def _of(samples: Samples, client: str) -> Samples:
    code = samples.clients.index(client) if client in samples.clients else -1
    return samples.where(samples.client == code)


def _serving(samples: Samples, window: Window, role: int, name: str, stale: float) -> list[str]:
    """Whether a release answered lately. Where it gets few requests, it may be silent for the time in which ten are expected."""
    times = samples.time[samples.role == role]
    allowed = max(stale, 10 * window.seconds / len(times)) if len(times) else stale
    silent = window.end - (float(times[-1]) if len(times) else window.start)
    if silent <= allowed and (len(times) or window.seconds <= stale):
        return []
    return [f"No request was answered by {name} in the last {silent:.0f} s."]


def _agent(agent: Agent, window: Window, stale: float) -> list[str]:
    found = [f"{gap}" for gap in agent.problems]
    if agent.down:
        # Whether it is dead is for the alert and the clients to say, which see it answer; here it is simply not measured.
        found.append(f"The candidate on {agent.host} answers no scrape: it is down, or it hides its metrics.")
    if not agent.problems and not agent.down:
        if agent.seen is None:
            found.append(
                f"The candidate on {agent.host} is scraped, but exports no metrics of its own (dwcp_start_time_seconds is absent)."
            )
        elif window.end - agent.seen > stale:
            found.append(f"The candidate's metrics on {agent.host} are {window.end - agent.seen:.0f} s old.")
    return found


def _frozen(window: Window, stale: float) -> list[str]:
    """Counters that stand still while clients are being served measure nothing. Scrapes lag, so the last ``stale`` seconds do not count."""
    up = [agent for agent in window.agents if not agent.down and agent.seen is not None]
    if not up:
        return []
    since, until = window.end - 3 * stale, window.end - stale
    # A counter that has never been exported has counted nothing: it is as good as frozen.
    served = int(((window.samples.role == CANDIDATE) & (window.samples.time >= since) & (window.samples.time <= until)).sum())
    if window.seconds < 3 * stale or served < _FROZEN_AFTER_REQUESTS:
        return []
    if sum(agent.requests.since(since).increase for agent in up) > 0:
        return []
    return [f"The candidate's counters did not move while clients counted {served} requests that it served: they are frozen."]
