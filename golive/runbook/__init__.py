"""What a run is: the model, the loader, and time."""

from golive.runbook.clock import Clock, FakeClock, Pace, RealClock
from golive.runbook.duration import Duration, Offset, format_duration, parse_duration
from golive.runbook.loader import Problem, RunbookInvalid, load, parse, schema
from golive.runbook.model import NotCovered, Reaction, Reactions, Runbook, Stage, Step

__all__ = [
    "Clock",
    "Duration",
    "FakeClock",
    "NotCovered",
    "Offset",
    "Pace",
    "Problem",
    "Reaction",
    "Reactions",
    "RealClock",
    "Runbook",
    "RunbookInvalid",
    "Stage",
    "Step",
    "format_duration",
    "load",
    "parse",
    "parse_duration",
    "schema",
]
