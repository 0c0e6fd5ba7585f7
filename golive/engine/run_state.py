"""What is known about a run and an environment: plain data, to and from JSON. :mod:`golive.engine.fold` makes it from the journal."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from golive.engine.answers import WAIVED
from golive.engine.process import Process

__all__ = ["BACK", "EnvironmentState", "RunState", "StageState", "StepState", "step_key"]

JSON = dict[str, Any]

BACK = "rollback:"
"""Prefix of the stages of the rollback runbook in journal and state."""


@dataclass
class StageState:
    """One stage of a run. ``status``: waiting, running, done, skipped."""

    status: str = "waiting"
    due: str | None = None
    began: str | None = None
    """When it was first started; ``started`` is the last time."""
    started: str | None = None
    ended: str | None = None
    owner: str | None = None


@dataclass
class StepState:
    """One step of a run. ``status``: intended, done (only by PASS), stopped (any other verdict), interrupted, waived."""

    uses: str = ""
    status: str = "intended"
    verdict: str | None = None
    attempt: int = 0
    changed: int = 0
    summary: str = ""
    started: str | None = None
    ended: str | None = None
    seconds: float = 0.0
    reach: str = "none"
    holding_until: str | None = None
    """Set while the step is tried again under ``hold ... then ...``."""

    @property
    def passed(self) -> bool:
        """Passed, or waived by somebody who answers for it."""
        return self.verdict in ("PASS", WAIVED)

    @property
    def open(self) -> bool:
        """An intent stands without an outcome: nobody knows what is true until it is probed."""
        return self.status in ("intended", "interrupted")


@dataclass
class RunState:
    """Everything that is known about one run."""

    env: str = ""
    run: str | None = None
    outcome: str = "none"
    """One of none, running, held, succeeded, rolled-back, failed, aborted."""
    release: str | None = None
    incumbent: str | None = None
    load: str | None = None
    runbook: str | None = None
    runbook_digest: str | None = None
    pace: str | None = None
    begin: str | None = None
    """When the first stage was due; the times of all others follow from it."""
    first_stage: str | None = None
    last_stage: str | None = None
    already_live: bool = False
    signed_off: bool = False
    stage: str | None = None
    step: str | None = None
    stages: dict[str, StageState] = field(default_factory=dict)
    steps: dict[str, StepState] = field(default_factory=dict)
    """By :func:`step_key`."""
    traffic: dict[str, dict[str, float]] = field(default_factory=dict)
    """Per gateway, percent by release id, as last seen."""
    max_candidate_weight: float = 0
    slots: dict[str, str] = field(default_factory=dict)
    """Slot by release id, as noted by steps."""
    deployed: bool = False
    """Something of the candidate may be on hosts."""
    exposed: bool = False
    """Users may have been sent to the candidate."""
    rehearsed: JSON | None = None
    """The drill before T-0, once its way back was verified: what the candidate reached in it counts no more."""
    final: bool = False
    """The way back may be gone: the incumbent is being retired."""
    gates: list[JSON] = field(default_factory=list)
    guard: list[JSON] = field(default_factory=list)
    processes: list[JSON] = field(default_factory=list)
    """Started on a controller and not seen to end."""
    triggers: list[JSON] = field(default_factory=list)
    requests: dict[str, int] = field(default_factory=lambda: {"total": 0, "failed": 0})
    rolling_back: bool = False
    rollback: JSON | None = None
    """``reason``, ``category``, ``breach_at``, ``started``, ``traffic_back_at``, ``seconds_to_traffic_back``, ``overruns`` (stages that
    took longer than their budgets), ``ended``, ``left``."""
    held: JSON | None = None
    """``reason`` and ``do``: what stands in the way, and what a person can do; ``asked``, ``interrupted``: whether they did it;
    ``signal``: by which; ``waiting_until``: nothing stands in the way but time, and no process lives until then."""
    paused: JSON | None = None
    """``reason``, ``by``, ``at``: no further step begins until an operator says so; ``since``: when the run took it."""
    aborting: JSON | None = None
    """``reason``, ``by``, ``at``: the run is to end, by the way back when something of the candidate is on hosts."""
    wanted_back: JSON | None = None
    """The request to go back that was taken: from here on the run never goes forward, also when it died before it began to."""
    asked: list[int] = field(default_factory=list)
    """Ids of the operators' requests that stand in the journal."""
    wave: JSON | None = None
    aside: dict[str, JSON] = field(default_factory=dict)
    """The last wave that began (``done`` once it was), and by name the hosts that the run goes on without: as journaled, with ``at``."""
    bugs: list[JSON] = field(default_factory=list)
    starter: str = ""
    """``user@host`` of the process that began the run."""
    questions: list[JSON] = field(default_factory=list)
    """Approvals that were asked for: the question, ``answers`` and how it ``ended`` (None: open). See :mod:`golive.engine.answers`."""
    waivers: list[JSON] = field(default_factory=list)
    skips: list[str] = field(default_factory=list)
    incidents: list[JSON] = field(default_factory=list)
    """What people have to see to now: ``key``, ``kind``, ``since``, ``what``."""
    notices: list[JSON] = field(default_factory=list)
    signed: bool = False
    """The journal was signed after the run was over."""
    unsigned: str = ""
    """Why it could not be; empty when it was, or nothing signs here."""
    anchored: JSON | None = None
    """``seq``, ``hosts`` and ``missed``: where the journal's head was last left."""
    attempts: int = 0
    """How many processes have worked on this run."""
    token: int = 0
    started: str | None = None
    ended: str | None = None
    seq: int = 0
    """The last record seen."""

    @property
    def open(self) -> bool:
        """Whether the run is to be continued: started, and not closed for good."""
        return self.outcome in ("running", "held")

    @property
    def left(self) -> list[Process]:
        """Processes that may still run on some controller."""
        return [Process(**entry) for entry in self.processes]

    def step_state(self, stage: str, step: str) -> StepState | None:
        return self.steps.get(step_key(stage, step))

    def to_json(self) -> JSON:
        return asdict(self)

    @classmethod
    def from_json(cls, data: JSON) -> RunState:
        """The state that :meth:`to_json` wrote."""
        stages = {name: StageState(**value) for name, value in data["stages"].items()}
        steps = {name: StepState(**value) for name, value in data["steps"].items()}
        return cls(**{**data, "stages": stages, "steps": steps})


@dataclass
class EnvironmentState:
    """What the whole journal says about an environment."""

    env: str
    incumbent: str | None = None
    signed_off: str | None = None
    """Candidate of the last run that was signed off; None while nothing was ever taken live by us."""
    load: str | None = None
    slots: dict[str, str] = field(default_factory=dict)
    earlier: list[str] = field(default_factory=list)
    """Releases that were live before the incumbent, the last of them first."""
    last: RunState = field(default_factory=RunState)

    def now_live(self, release: str | None) -> None:
        """``release`` serves from here on; what served before becomes an earlier one."""
        before = [self.incumbent] if self.incumbent else []
        self.earlier = [entry for entry in dict.fromkeys([*before, *self.earlier]) if entry != release]
        self.incumbent = release


def step_key(stage: str, step: str) -> str:
    return f"{stage}/{step}"
