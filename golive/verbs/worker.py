"""``inv worker``: takes the waves of a site from the queue, until it is told to stop."""

from __future__ import annotations

import platform
import sys

from golive.environment import Environment
from golive.errors import BadInput
from golive.verbs.result import Result

__all__ = ["worker"]


def worker(env: Environment, *, site: str, name: str = "") -> Result:
    """Works until SIGTERM or SIGINT. Raises BadInput when the environment has no workers, Occupied when one of this name is up."""
    if not site:
        raise BadInput(f"Say which site this worker stands at: ./inv worker --env {env.name} --site SITE.")
    from golive.workers.dispatch import url_of
    from golive.workers.process import Worker

    made = Worker(env, url_of(env, site), site, name or platform.node())
    made.run(lambda: print(f"Worker {made.name} of {env.name} takes the waves of {site}.", file=sys.stderr, flush=True))
    data = {"schema": 1, "env": env.name, "site": site, "name": made.name}
    return Result(data, f"Worker {made.name} stopped; what it was at work on goes to another.")
