"""What a run does: journal, lease, loop, recovery, rollback."""

from golive.engine.answers import open_questions
from golive.engine.api import (
    Serving,
    Standing,
    exit_code,
    forget,
    has_journal,
    known_stages,
    live,
    open_journal,
    run,
    sealed,
    standing,
    state,
)
from golive.engine.control import REASONS, category_of
from golive.engine.due import Due, due
from golive.engine.fold import BACK, EnvironmentState, RunState, StageState, StepState, environment_state, fold
from golive.engine.journal import Head, Journal, Record
from golive.engine.leftovers import LocalLeftovers
from golive.engine.operate import abort, pause, request_rollback, resume, rollback, unanswered
from golive.engine.people import left, page, request
from golive.engine.plan import Planned, plan
from golive.engine.ports import Anchor, Leftovers, Pager, Ports, Signature, Timing, Trigger, Watcher
from golive.engine.process import Process
from golive.engine.reading import JournalReader, Sight

__all__ = [
    "BACK",
    "REASONS",
    "Anchor",
    "Due",
    "EnvironmentState",
    "Head",
    "Journal",
    "JournalReader",
    "Leftovers",
    "LocalLeftovers",
    "Pager",
    "Planned",
    "Ports",
    "Process",
    "Record",
    "RunState",
    "Serving",
    "Sight",
    "Signature",
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
    "has_journal",
    "known_stages",
    "left",
    "live",
    "open_journal",
    "open_questions",
    "page",
    "pause",
    "plan",
    "request",
    "request_rollback",
    "resume",
    "rollback",
    "run",
    "sealed",
    "standing",
    "state",
    "unanswered",
]
