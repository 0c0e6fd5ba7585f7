"""What a run does: journal, lease, loop, recovery, rollback."""

from golive.engine.api import (
    Serving,
    Standing,
    exit_code,
    forget,
    has_journal,
    known_stages,
    live,
    open_journal,
    request_rollback,
    rollback,
    run,
    sealed,
    standing,
    state,
)
from golive.engine.fold import BACK, EnvironmentState, RunState, StageState, StepState, environment_state, fold
from golive.engine.journal import Head, Journal, Record
from golive.engine.leftovers import LocalLeftovers
from golive.engine.ports import Anchor, Leftovers, Ports, Signature, Timing, Trigger, Watcher
from golive.engine.process import Process

__all__ = [
    "BACK",
    "Anchor",
    "EnvironmentState",
    "Head",
    "Journal",
    "Leftovers",
    "LocalLeftovers",
    "Ports",
    "Process",
    "Record",
    "RunState",
    "Serving",
    "Signature",
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
    "has_journal",
    "known_stages",
    "live",
    "open_journal",
    "request_rollback",
    "rollback",
    "run",
    "sealed",
    "standing",
    "state",
]
