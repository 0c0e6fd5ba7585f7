"""``inv preflight``: every problem of every host, and of this machine, before anything is touched."""

from __future__ import annotations

from golive import engine
from golive import preflight as room
from golive.environment import Environment
from golive.errors import BadInput, Held
from golive.evidence.decision import policy_of
from golive.evidence.trust import trusted
from golive.ground.tool import tell
from golive.verbs.golive import runbooks
from golive.verbs.result import Result

__all__ = ["preflight"]


def preflight(env: Environment, *, deadline: str = "") -> Result:
    """Exit code 0 when nothing stands in the way, 4 when something does. ``deadline``: seconds for all hosts together."""
    try:
        seconds = float(deadline or 90)
    except ValueError:
        raise BadInput(f"--deadline takes seconds, as in 90; {deadline!r} is none.") from None
    if not 1 <= seconds <= 3600:
        raise BadInput("--deadline is between 1 and 3600 seconds.")
    looks = {
        "runbooks": runbooks,
        "journal": lambda: _journal(env),
        "incumbent": lambda: _incumbent(env),
        "evidence": lambda: _evidence(env),
    }
    report = room.preflight(env, knows=lambda run: _in_journal(env, run), looks=looks, deadline_s=seconds, tell=tell)
    return Result(report.to_json(), report.text, 0 if report.ok else Held.exit_code)


def _journal(env: Environment) -> None:
    if engine.has_journal(env) and (wrong := engine.open_journal(env).verify()):
        raise Held(f"the journal of {env.name} cannot be trusted: {wrong[0]}")


def _incumbent(env: Environment) -> None:
    if env.settings.first_incumbent is None and engine.standing(env).incumbent is None:
        raise BadInput(f"nothing is live in {env.name} yet; name what serves there as first_incumbent in environment.yaml.")


def _evidence(env: Environment) -> None:
    """A go-live that readiness may keep is told now who has to be trusted for it, and not at T-1d."""
    policy = policy_of(env.policy, env.settings.policy)
    if policy.golive == "require":
        trusted(env)


def _in_journal(env: Environment, run: str) -> bool:
    return engine.has_journal(env) and next(iter(engine.open_journal(env).read(run)), None) is not None
