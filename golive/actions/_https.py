"""HTTPS to the fleet with the operator's certificate; the only way actions talk to services."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from golive.environment import Environment
from golive.errors import Unprepared, Unreachable
from golive.fleet.inventory import read_fleet
from golive.fleet.port import stand_in
from golive.fleet.tunnel import proxy
from golive.gates.adapters import operator_tls

__all__ = ["client", "get"]


@contextmanager
def client(env: Environment, *, timeout_s: float = 5) -> Iterator[httpx.Client]:
    """A client that shows the operator's certificate and trusts only the environment's CA. No redirects, and no proxy but the way
    through the fleet's bastions.

    Raises Unprepared, naming the directory, when the certificate is missing or cannot be used.
    """
    hosts = stand_in(env)
    if hosts is not None:
        with hosts.web(timeout_s) as opened:
            yield opened
        return
    way = _way(env)
    with httpx.Client(verify=operator_tls(env.state / "pki"), timeout=timeout_s, trust_env=False, proxy=way) as opened:
        yield opened


def _way(env: Environment) -> str | None:
    try:
        return proxy(env, read_fleet(env))
    except Unprepared:
        return None  # no fleet yet, so none behind a bastion; whoever asks will be told


def get(opened: httpx.Client, url: str, host: str) -> httpx.Response:
    """GET ``url``; raises Unreachable naming ``host`` when nothing answers, returns any answer there is."""
    try:
        return opened.get(url)
    except httpx.HTTPError as error:
        raise Unreachable(f"{host}: no answer from {url} ({type(error).__name__}: {error})", host=host) from None
