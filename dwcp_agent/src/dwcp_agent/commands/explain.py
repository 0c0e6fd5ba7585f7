"""``dwcp explain [TRANSFER]``: what a transfer of this user was, what was decided in it and why."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from typing import Any

from dwcp_agent.commands import report
from dwcp_agent.commands.records import records
from dwcp_agent.errors import BadInput

__all__ = ["explain"]

_LISTED = ("token", "began", "source", "url", "outcome", "seconds", "bytes", "done_bytes", "error")
_SHORT = 12
"""Digits of a token in the list; any beginning that fits one transfer will do."""


def explain(arguments: argparse.Namespace) -> None:
    """Lists the transfers, newest first, or tells of one. Raises BadInput when none is meant, or several are."""
    found = records()
    if arguments.transfer is None:
        if arguments.json:
            print(json.dumps({"schema": 1, "transfers": [{name: record.get(name) for name in _LISTED} for record in found]}))
        else:
            print("\n".join(map(_line, found)) if found else "There is no record of a transfer.")
        return
    record = _meant(arguments.transfer, found)
    print(json.dumps(record) if arguments.json else _in_words(record))


def _meant(wanted: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    matching = found[:1] if wanted == "last" else [record for record in found if record["token"].startswith(wanted.lower())]
    if not matching:
        raise BadInput(f"There is no record of a transfer {wanted}; dwcp explain lists those there are.")
    if len(matching) > 1:
        tokens = ", ".join(record["token"][:_SHORT] for record in matching[:3])
        raise BadInput(f"{wanted} may be any of {len(matching)} transfers, such as {tokens}: say more of it.")
    return matching[0]


def _line(record: dict[str, Any]) -> str:
    amount = f"{record['bytes']} bytes in {record['seconds']:.3f} s"
    return f"{record['token'][:_SHORT]}  {_time(record)}  {record['outcome']:<11}  {record['url']}  {amount}"


def _in_words(record: dict[str, Any]) -> str:
    lines = [f"{record['token']}: {record['source']} to {record['url']}, begun {_time(record)}"]
    if record["report"]:
        lines.append(report.in_words(record["report"]))
    else:
        lines.append(f"{record['outcome']} after {record['seconds']:.3f} s, with {record['done_bytes']} of {record['bytes']} bytes there")
    if record["error"]:
        lines.append(f"{record['error']['kind']}: {record['error']['message']}")
    for decision in record["decisions"]:
        when = f"{decision['at_s']:8.3f} s" if decision["at_s"] is not None else "         -"
        lines.append(f"{when}  {decision['policy']}: {decision['what']} {decision['value']}, because {decision['why']}")
    return "\n".join(lines)


def _time(record: dict[str, Any]) -> str:
    return datetime.fromtimestamp(record["began"], UTC).strftime("%Y-%m-%d %H:%M:%SZ")
