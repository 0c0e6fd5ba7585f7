"""Telling people: routes and their addresses, delivery that a crash does not double unseen, and who is told when nothing moves."""

from golive.notify.delivery import Delivered, deliver, sent_before
from golive.notify.escalation import Incident, Notice, due
from golive.notify.pager import EnvironmentPager
from golive.notify.routes import Level, Route, Routes, mode_of, ready, routes_of
from golive.notify.template import filled, unknown_names

__all__ = [
    "Delivered",
    "EnvironmentPager",
    "Incident",
    "Level",
    "Notice",
    "Route",
    "Routes",
    "deliver",
    "due",
    "filled",
    "mode_of",
    "ready",
    "routes_of",
    "sent_before",
    "unknown_names",
]
