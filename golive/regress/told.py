"""Rows as people read them: a table on the terminal, the same in Markdown, and what ``--json`` prints."""

from __future__ import annotations

import io
import os
import platform
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["HEAD", "cells", "counts", "document", "in_words", "markdown", "on_terminal", "passed"]

Row = Mapping[str, Any]
HEAD = ("metric", "incumbent", "candidate", "change", "allowed", "verdict")
_OF_A_PEER = ("metric", "peer", "measured", "change", "asked", "verdict")
_COLOUR = {"PASS": "green", "FAIL": "bold red", "UNKNOWN": "yellow"}


def document(command: str, started: datetime, rows: Sequence[Row], where: str, **more: Any) -> dict[str, Any]:
    """What ``--json`` prints."""
    machine = f"{os.cpu_count()} x {platform.machine()}, {platform.system()} {platform.release()}; {where}"
    began = started.isoformat(timespec="seconds")
    return {"schema": 1, "machine": machine, "started": began, "command": command, **more, "counts": counts(rows), "rows": list(rows)}


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """How many rows of each verdict."""
    found = Counter(str(row["verdict"]) for row in rows)
    return {verdict: found[verdict] for verdict in ("PASS", "FAIL", "UNKNOWN")}


def passed(rows: Sequence[Row]) -> bool:
    """Whether there are rows and each passes: one that is not decided, or says nothing, is no pass."""
    return bool(rows) and all(row["verdict"] == "PASS" for row in rows)


def cells(row: Row) -> tuple[str, ...]:
    """A row as the summary of a validation has it."""
    unit = f" {row['unit']}" if row["unit"] else ""
    ours, theirs = (_median(row[name]) for name in ("samples_ours", "samples_peer"))
    change = "" if row.get("change") is None else f"{row['change']:+.1f} %"
    peer = "" if row["peer"] in ("incumbent", "") else f" ({row['peer']})"
    return (
        str(row["case"]),
        f"{theirs}{unit if theirs else ''}{peer}",
        f"{ours}{unit if ours else ''}",
        change,
        _asked(row),
        row["verdict"],
    )


def _asked(row: Row) -> str:
    return str(row.get("tolerance") or row.get("asked") or "")


def _median(samples: Sequence[float]) -> str:
    return f"{statistics.median(samples):.4g}" if samples else ""


def markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown, with each row's note behind it."""
    lines = [f"| {' | '.join((*HEAD, 'note'))} |", f"|{'---|' * (len(HEAD) + 1)}"]
    for row in rows:
        words = [text.replace("|", "\\|") for text in (*cells(row), str(row["note"]))]
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines)


def in_words(rows: Sequence[Row], title: str, peer: str = "incumbent") -> str:
    """The table as text, and what has to be said of rows that did not pass."""
    text = io.StringIO()
    _drawn(rows, title, HEAD if peer == "incumbent" else _OF_A_PEER, Console(file=text, width=160, no_color=True))
    said = [f"{row['id']}: {row['verdict']}: {row['note'] or 'beyond what is asked'}" for row in rows if row["verdict"] != "PASS"]
    return "\n".join([text.getvalue().rstrip(), *said])


def on_terminal(rows: Sequence[Row], title: str, console: Console) -> None:
    """The table in colours."""
    _drawn(rows, title, HEAD, console)


def _drawn(rows: Sequence[Row], title: str, head: Sequence[str], console: Console) -> None:
    table = Table(*head, title=title, title_justify="left")
    for row in rows:
        *words, verdict = cells(row)
        table.add_row(*words, f"[{_COLOUR[verdict]}]{verdict}[/]")
    console.print(table)
