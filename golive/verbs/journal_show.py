"""``inv journal.show``: the records, for who wants to read them all."""

from __future__ import annotations

from dataclasses import asdict

from golive import engine
from golive.engine import Record
from golive.engine.journal import canonical
from golive.environment import Environment
from golive.errors import BadInput
from golive.verbs.result import Result

__all__ = ["journal_show"]


def journal_show(env: Environment, *, run: str = "", kind: str = "") -> Result:
    """The records of ``env``'s journal, oldest first: all, or those of one run, or whose kind is or begins with ``kind``.

    Raises BadInput when there is no such run, or no journal.
    """
    if not engine.has_journal(env):
        raise BadInput(f"No run was ever started in {env.name}; there is no journal to show.")
    every = engine.open_journal(env).read(run or None)
    if run and not every:
        raise BadInput(
            f"There is no run {run} in the journal of {env.name}; `./inv journal.show --env {env.name} --kind run.started` names them."
        )
    chosen = [record for record in every if not kind or record.kind == kind or record.kind.startswith(kind.rstrip(".") + ".")]
    data = {"schema": 1, "env": env.name, "records": [asdict(record) for record in chosen]}
    return Result(data, "\n".join(_line(record) for record in chosen) or "No such records.")


def _line(record: Record) -> str:
    where = "/".join(part for part in (record.stage, record.step) if part)
    text = canonical(record.data)
    return f"{record.seq:>6} {record.at} {record.run} token {record.token} {record.kind:<20} {where} {text} {record.seq}:{record.hash}"
