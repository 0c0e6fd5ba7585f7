"""A check has no lasting effect to probe for: it is done anew each time its step runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from golive.actions.port import Finding, Findings, Found, Outcome, StepContext
from golive.errors import GoliveError, Unreachable
from golive.fleet.model import Host
from golive.gates.verdict import Verdict

__all__ = ["Check", "on_each"]


class Check:
    """Base of actions that only look. Subclasses write ``apply``."""

    budget = timedelta(minutes=5)

    def probe(self, ctx: StepContext) -> Findings:
        return {"environment": Finding(Found.ABSENT, "a check is done anew each time")}

    def undo(self, ctx: StepContext) -> Outcome:
        return Outcome(Verdict.PASS, "a check leaves nothing behind")


def on_each(hosts: Sequence[Host], look: Callable[[Host], str], what: str) -> Outcome:
    """Runs ``look`` on all hosts at once; it returns what it saw, or raises. PASS only when every host was seen and was right.

    A host that says something wrong is a FAIL; when none does and one is silent, nothing was measured there: ERROR.
    """
    silent: set[str] = set()

    def one(host: Host) -> tuple[str, str | None]:
        try:
            return look(host), None
        except GoliveError as error:
            if isinstance(error, Unreachable):
                silent.add(host.name)
            return "", str(error)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            return "", f"{host.name}: answered nonsense ({type(error).__name__}: {error})"

    with ThreadPoolExecutor(max_workers=min(32, max(1, len(hosts)))) as pool:
        seen: Mapping[str, tuple[str, str | None]] = dict(zip([h.name for h in hosts], pool.map(one, hosts), strict=True))
    troubled = {name: trouble for name, (_, trouble) in seen.items() if trouble is not None}
    wrong = [trouble for name, trouble in troubled.items() if name not in silent] or list(troubled.values())
    data = {"hosts": {name: trouble or said for name, (said, trouble) in seen.items()}}
    if not hosts:
        return Outcome(Verdict.ERROR, f"{what}: there are no hosts to look at", data)
    if wrong:
        more = f" (and {len(troubled) - 1} more)" if len(troubled) > 1 else ""
        verdict = Verdict.ERROR if silent.issuperset(troubled) else Verdict.FAIL
        return Outcome(verdict, f"{what}: {wrong[0]}{more}", data)
    return Outcome(Verdict.PASS, f"{what}: {len(hosts)} of {len(hosts)} hosts", data)
