"""What a run does: journal, lease, loop, recovery, rollback."""

from golive.engine.api import (
    Serving,
    Standing,
    exit_code,
    forget,
    known_stages,
    live,
    open_journal,
    run,
    standing,
    state,
)
from golive.engine.control import REASONS, category_of
from golive.engine.due import Due, due
from golive.engine.fold import BACK, EnvironmentState, RunState, StageState, StepState, environment_state, fold
from golive.engine.journal import Head, Journal, Record
from golive.engine.leftovers import LocalLeftovers
from golive.engine.operate import abort, pause, request_rollback, resume, rollback, unanswered
from golive.engine.plan import Planned, plan
from golive.engine.ports import Leftovers, Ports, Timing, Trigger, Watcher
from golive.engine.process import Process

__all__ = [
    "BACK",
    "REASONS",
    "Due",
    "EnvironmentState",
    "Head",
    "Journal",
    "Leftovers",
    "LocalLeftovers",
    "Planned",
    "Ports",
    "Process",
    "Record",
    "RunState",
    "Serving",
    "StageState",
    "Standing",
    "StepState",
    "Timing",
    "Trigger",
    "Watcher",
    "abort",
    "category_of",
    "due",
    "environment_state",
    "exit_code",
    "fold",
    "forget",
    "known_stages",
    "live",
    "open_journal",
    "pause",
    "plan",
    "request_rollback",
    "resume",
    "rollback",
    "run",
    "standing",
    "state",
    "unanswered",
]
