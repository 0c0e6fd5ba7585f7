"""HTTPS to the fleet with the operator's certificate; the only way actions talk to services."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from golive.environment import Environment
from golive.errors import Unreachable
from golive.fleet.port import stand_in
from golive.gates.adapters import operator_tls

__all__ = ["client", "get"]


@contextmanager
def client(env: Environment, *, timeout_s: float = 5) -> Iterator[httpx.Client]:
    """A client that shows the operator's certificate and trusts only the environment's CA. No proxy, no redirects.

    Raises Unprepared, naming the directory, when the certificate is missing or cannot be used.
    """
    hosts = stand_in(env)
    if hosts is not None:
        with hosts.web(timeout_s) as opened:
            yield opened
        return
    with httpx.Client(verify=operator_tls(env.state / "pki"), timeout=timeout_s, trust_env=False) as opened:
        yield opened


def get(opened: httpx.Client, url: str, host: str) -> httpx.Response:
    """GET ``url``; raises Unreachable naming ``host`` when nothing answers, returns any answer there is."""
    try:
        return opened.get(url)
    except httpx.HTTPError as error:
        raise Unreachable(f"{host}: no answer from {url} ({type(error).__name__}: {error})", host=host) from None
