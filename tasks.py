"""The operator's verbs, from ``golive.commands``: parse, call golive, render, exit code. `./inv --list` names them."""

from __future__ import annotations

from invoke import Collection

from golive.commands import documents, goods, hosts, journal, people, proof, readiness, run
from golive.commands.ending import finish, lazily

__all__ = ["finish", "lazily", "namespace"]

namespace = Collection(
    *(getattr(room, name) for room in (hosts, run, people, goods, proof, readiness, documents) for name in room.__all__ if name != "wan"),
    Collection("lab", hosts.wan),
    Collection("evidence", readiness.verify, readiness.export, readiness.take),
    Collection("journal", *(getattr(journal, name) for name in journal.__all__)),
)
