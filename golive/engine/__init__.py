"""What a run does: journal, lease, loop, recovery, rollback."""

from golive.engine.answers import open_questions
from golive.engine.api import (
    Serving,
    Standing,
    exit_code,
    forget,
    known_stages,
    live,
    open_journal,
    request_rollback,
    rollback,
    run,
    standing,
    state,
)
from golive.engine.fold import BACK, EnvironmentState, RunState, StageState, StepState, environment_state, fold
from golive.engine.journal import Head, Journal, Record
from golive.engine.leftovers import LocalLeftovers
from golive.engine.people import left, page, request
from golive.engine.ports import Leftovers, Pager, Ports, Timing, Trigger, Watcher
from golive.engine.process import Process

__all__ = [
    "BACK",
    "EnvironmentState",
    "Head",
    "Journal",
    "Leftovers",
    "LocalLeftovers",
    "Pager",
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
    "environment_state",
    "exit_code",
    "fold",
    "forget",
    "known_stages",
    "left",
    "live",
    "open_journal",
    "open_questions",
    "page",
    "request",
    "request_rollback",
    "rollback",
    "run",
    "standing",
    "state",
]
