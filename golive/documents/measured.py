"""What was measured of a release on purpose, beside its incumbent: the rows of the newest ``regress`` and ``validate`` in the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from golive.documents.figure import Figure
from golive.documents.sources import of_statement
from golive.evidence import Kept

__all__ = ["Suite", "SuiteRow", "suites"]

_CHECKS = ("regress", "validate")


@dataclass(frozen=True)
class SuiteRow:
    """One metric: medians of both, and what was said of them."""

    id: str
    metric: str
    unit: str
    incumbent: Figure
    candidate: Figure
    change: Figure
    """Of the medians, as a ratio: 1.0 is no change, whichever way is better."""
    allowed: str
    verdict: Figure
    note: str


@dataclass(frozen=True)
class Suite:
    """The rows of one statement."""

    check: str
    result: Figure
    summary: str
    at: Figure
    rows: tuple[SuiteRow, ...]


def suites(kept: Mapping[str, Kept], release: str, digest: str | None, env: str) -> tuple[Suite, ...]:
    """The newest of each suite that is about ``release`` (its id) to the byte, and of ``env`` or of no environment."""
    version = release.rpartition("-")[0].replace("_", "+")
    newest: dict[str, Kept] = {}
    for one in sorted(kept.values(), key=lambda one: one.statement.predicate.finished):
        at = one.statement.predicate
        about = one.statement.digests().get(f"release:{version}")
        if at.check in _CHECKS and about is not None and about == digest and at.env in (None, env):
            newest[at.check] = one
    return tuple(_suite(newest[check]) for check in _CHECKS if check in newest)


def _suite(kept: Kept) -> Suite:
    at, refs = kept.statement.predicate, (of_statement(kept.digest),)
    rows = [row for row in at.facts.get("rows") or [] if isinstance(row, Mapping)]
    finished = Figure(at.finished.isoformat(timespec="seconds"), refs, "time")
    return Suite(at.check, Figure(at.result, refs), at.summary, finished, tuple(_row(row, refs) for row in rows))


def _row(row: Mapping[str, Any], refs: tuple[str, ...]) -> SuiteRow:
    change = row.get("change")
    unit = str(row.get("unit") or "")
    ok = {True: "PASS", False: "FAIL"}.get(row.get("ok"), "UNKNOWN")  # type: ignore[arg-type]  # anything else is unknown
    return SuiteRow(
        id=str(row.get("id")),
        metric=str(row.get("case") or row.get("id")),
        unit=unit,
        incumbent=Figure(_middle(row.get("samples_peer")), refs),
        candidate=Figure(_middle(row.get("samples_ours")), refs),
        change=Figure(1 + float(change) / 100 if isinstance(change, int | float) else None, refs, "ratio"),
        allowed=str(row.get("tolerance") or row.get("asked") or ""),
        verdict=Figure(str(row.get("verdict") or ok), refs),
        note=str(row.get("note") or ""),
    )


def _middle(samples: Any) -> float | None:
    numbers = [float(one) for one in samples or () if isinstance(one, int | float)] if isinstance(samples, list) else []
    return median(numbers) if numbers else None
