"""``inv lab.wan``: what the links between the lab's sites do, and doing something else while everything runs over them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from golive.environment import Environment
from golive.errors import BadInput, Unprepared
from golive.lab import wan as links
from golive.verbs.result import Result

__all__ = ["wan"]


def wan(env: Environment, *, link: str | None = None, rtt: str = "", jitter: str = "", rate: str = "", loss: str = "") -> Result:
    """Shows every link (or ``link``, as in "ams-nyc"), after it was changed to what is given; what is not given stays.

    It lasts until the next ``inv provision``, which makes links what they were declared to be; ``inv drift`` names them until then.

    Raises:
        BadInput: no lab, no such link, or a value that is none. Nothing was changed.
        Unprepared: there are no links now.
    """
    if not env.is_lab:
        raise BadInput(f"Environment {env.name} is no lab; its links are not the toolkit's to change.")
    asked: dict[str, Any] = links.setting_of(rtt=rtt, jitter=jitter, rate=rate, loss=loss)
    known = {_short(name, env.name): name for name in links.names(f"dwcp-{env.name}-") if links.ask(name) is not None}
    if not known:
        raise Unprepared(f"Environment {env.name} has no WAN links now; run `./inv provision --env {env.name}` first.")
    if link is not None and link not in known:
        raise BadInput(f"There is no link {link!r} in {env.name}; there are {', '.join(known)}.")
    chosen = [known[link]] if link is not None else list(known.values())
    # All of them are checked before any is changed.
    settings = {name: replace(links.current(name), **asked) for name in chosen}
    rows, lines = [], []
    for name, setting in settings.items():
        told = links.change(name, setting) if asked else links.ask(name)
        rows.append({"link": _short(name, env.name), **(told or {})})
        lines.append(f"{_short(name, env.name)}: {setting}")
    return Result({"schema": 1, "env": env.name, "links": rows}, "\n".join(lines))


def _short(name: str, env: str) -> str:
    """``ams-nyc`` of ``dwcp-lab-ams--dwcp-lab-nyc``."""
    return "-".join(end.removeprefix(f"dwcp-{env}-") for end in name.split("--"))
