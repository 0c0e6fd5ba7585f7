"""Two things measured beside one another, turn by turn, and what is said of it."""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from golive.environment import ROOT
from golive.gates.simulate import inserted

__all__ = ["Case", "PeerMissing", "document", "interval", "measured", "rewrite", "table"]


class PeerMissing(Exception):
    """What is measured beside ours is not on this machine; the message says how to get it."""


@dataclass(frozen=True)
class Case:
    """One criterion. ``ours`` and ``theirs`` return one sample in ``unit``, of which more is better."""

    id: str
    case: str
    unit: str
    peer: str
    ours: Callable[[], float]
    theirs: Callable[[], float]
    bar: float | None = None
    """The ratio of medians asked for; None where the row is there to be read."""
    least: float | None = None
    """What the median of ours must reach besides."""
    note: str = ""
    less: bool = False
    """Less is better; then the ratio is the peer's over ours."""
    most: float | None = None
    """What the median of ours must stay below."""


def measured(cases: Iterable[Case], rounds: int, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """One row a case, each measured ``rounds`` times: ours, peer, peer, ours, ... so that neither always comes first."""
    rows = []
    for case in cases:
        ours: list[float] = []
        theirs: list[float] = []
        for number in range(rounds):
            turns = [(case.ours, ours), (case.theirs, theirs)]
            for measure, samples in turns if number % 2 == 0 else reversed(turns):
                samples.append(round(measure(), 4))
        mine, other = statistics.median(ours), statistics.median(theirs)
        ratio = other / mine if case.less else mine / other
        ok = (
            (case.bar is None or ratio >= case.bar)
            and (case.least is None or mine >= case.least)
            and (case.most is None or mine < case.most)
        )
        row = {
            "id": case.id,
            "case": case.case,
            "unit": case.unit,
            "peer": case.peer,
            "samples_ours": ours,
            "samples_peer": theirs,
            "ratio": round(ratio, 3),
            "bar": case.bar,
            "least": case.least,
            "most": case.most,
            "less": case.less,
            "ok": ok,
            "note": case.note,
        }
        rows.append(row)
        tell(f"{case.id}: {spread(ours)} {case.unit}, {case.peer} {spread(theirs)}, ratio {ratio:.3g}{'' if ok else ', MISSED'}")
    return rows


def interval(ours: list[float], theirs: list[float]) -> tuple[float, float]:
    """95 % interval of theirs over ours, each pair from one round. Raises statistics.StatisticsError for less than two.

    Student's t interval of the mean logarithm of the pairs' ratios, so that a ratio and its inverse are as far from 1.
    """
    from scipy.stats import t as student  # half a second, which most benchmarks need not wait

    logs = [math.log(their / our) for our, their in zip(ours, theirs, strict=True)]
    mean, half = statistics.fmean(logs), student.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return round(math.exp(mean - half), 4), round(math.exp(mean + half), 4)


def document(command: str, started: datetime, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What ``--json`` prints and the result file holds."""
    machine = f"{os.cpu_count()} x {platform.machine()}, {platform.system()} {platform.release()}"
    return {"schema": 1, "machine": machine, "started": started.isoformat(timespec="seconds"), "command": command, "rows": rows}


def now() -> datetime:
    """When a measurement began."""
    return datetime.now(UTC)


def spread(samples: list[float]) -> str:
    """Median, lowest and highest; nothing where there is nothing."""
    if not samples:
        return ""
    return f"{statistics.median(samples):.3g} ({min(samples):.3g} to {max(samples):.3g})"


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | ours | peer | | ratio | asked | |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        asked = " and ".join(
            text
            for text in (
                f"{row['bar']:g}x" if row["bar"] is not None else "",
                f"{row['least']:g} {row['unit']}" if row["least"] is not None else "",
                f"below {row['most']:g} {row['unit']}" if row["most"] is not None else "",
            )
            if text
        )
        verdict = ("met" if row["ok"] else "**missed**") if asked else ""
        ratio = f"{row['ratio']:.3g}" if row["ratio"] is not None else ""
        if between := row.get("interval"):
            ratio += f" (95 %: {between[0]:.4g} to {between[1]:.4g})"
            asked += ", by the lower end"
        told = f"{verdict}{'; ' if verdict and row['note'] else ''}{row['note']}"
        lines.append(
            f"| {row['case']}, {row['unit']} | {spread(row['samples_ours'])} | {row['peer']} | {spread(row['samples_peer'])} "
            f"| {ratio} | {asked} | {told} |"
        )
    return "\n".join(lines)


def rewrite(result: Path) -> None:
    """Writes the table of the committed ``result`` into docs/benchmarks.md."""
    page = ROOT / "docs/benchmarks.md"
    page.write_text(inserted(page.read_text(), result.name, table(json.loads(result.read_text())["rows"])))
