"""What ends the running step before its time."""

from __future__ import annotations

from golive.engine.ports import Trigger

__all__ = ["Breach", "Interrupted"]


class Interrupted(Exception):
    """A signal asked this process to end; the run stays resumable."""


class Breach(Exception):
    """Something was seen, or asked for, that sends the run back."""

    def __init__(self, trigger: Trigger) -> None:
        super().__init__(trigger.reason)
        self.trigger = trigger
