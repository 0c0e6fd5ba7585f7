"""``inv journal.anchor``: the journal of a run that is over, signed and left on the hosts once more."""

from __future__ import annotations

from golive import engine
from golive.environment import Environment
from golive.verbs._ports import ports_of
from golive.verbs.result import Result

__all__ = ["journal_anchor"]


def journal_anchor(env: Environment, *, take_over: bool = False) -> Result:
    """Signs the head and leaves it on every host: for what could not be reached when the run ended. Exit 4 when something is still missing.

    Raises BadInput when no run is over, Occupied while a process works on the environment.
    """
    engine.sealed(env, ports=ports_of(env), take_over=take_over)
    every = engine.open_journal(env).read()
    sealed = next((record for record in reversed(every) if record.kind in ("journal.signed", "journal.unsigned")), None)
    left = next((record for record in reversed(every) if record.kind == "journal.anchored"), None)
    fresh = left is not None and sealed is not None and left.seq > sealed.seq
    hosts, missed = (left.data["hosts"], left.data["missed"]) if left is not None and fresh else ([], {"every host": "there are none"})
    signed = sealed is not None and sealed.kind == "journal.signed"
    why = "" if signed or sealed is None else str(sealed.data.get("why"))
    data = {"schema": 1, "env": env.name, "signed": signed, "why_not": why, "hosts": hosts, "missed": missed}
    text = f"The journal of {env.name} is {'signed' if signed else f'NOT signed: {why}'}; its head is on {len(hosts)} hosts."
    text += "".join(f"\n  {host}: {reason}" for host, reason in missed.items())
    return Result(data, text, 0 if signed and hosts and not missed else 4)
