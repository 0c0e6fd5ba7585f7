"""What the handlers of a running agent share."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from dwcp_agent.config import AgentConfig, Ports
from dwcp_agent.release import Release
from dwcp_agent.security.identity import Identity
from dwcp_agent.sessions.admission import Admission
from dwcp_agent.sessions.table import SessionTable
from dwcp_agent.sessions.ticket import TicketIssuer
from dwcp_agent.store.dictionaries import Dictionaries
from dwcp_agent.store.state import StateStore
from dwcp_agent.store.store import Store
from dwcp_agent.telemetry.metrics import AgentMetrics
from dwcp_agent.threads import Threads
from dwcp_agent.transport.buffers import Buffers
from dwcp_agent.transport.inbound import InboundTable
from dwcp_agent.transport.state import StateStreams
from dwcp_agent.transport.transfer import TransferTable

if TYPE_CHECKING:
    from dwcp_agent.defects import Defects

__all__ = ["CALLER", "CONTEXT", "Context", "caller"]


@dataclass
class Context:
    """Parts of one agent. ``draining`` and ``in_flight`` belong to the control thread."""

    config: AgentConfig
    slot: str
    ports: Ports
    release: Release
    boot_id: str
    metrics: AgentMetrics
    sessions: SessionTable
    tickets: TicketIssuer
    transfers: TransferTable
    inbound: InboundTable
    states: StateStreams
    store: Store
    values: StateStore
    dictionaries: Dictionaries
    codec: Executor
    threads: Threads
    admission: Admission
    buffers: Buffers
    defects: Defects | None = None
    draining: bool = False
    in_flight: int = 0
    puts: int = 0

    def running(self) -> int:
        """Transfers of either protocol, and conversations about state, that have not ended."""
        return self.transfers.running() + self.inbound.running() + self.states.running()


CONTEXT: web.AppKey[Context] = web.AppKey("context", Context)
CALLER: web.RequestKey[Identity] = web.RequestKey("caller", Identity)


def caller(request: web.Request) -> Identity:
    """Who the request is from, as the middleware found."""
    return request[CALLER]
