"""A row of a validation: what was measured, what was asked, and whether it was reached; or why it was not measured at all."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["Row", "measured", "of_bench", "unmeasured", "wrong"]

Row = dict[str, Any]


def measured(
    id_: str,
    case: str,
    unit: str,
    samples: Sequence[float],
    *,
    above: float | None = None,
    below: float | None = None,
    right: bool = True,
    note: str = "",
) -> Row:
    """A row whose median is above or below a bar; ``right`` False: what was measured was not what was to be done, so it is a failure."""
    taken = [round(sample, 4) for sample in samples]
    if not taken:
        return unmeasured(id_, case, note or "nothing was measured", unit=unit)
    middle = statistics.median(taken)
    ok = right and (above is None or middle > above) and (below is None or middle < below)
    asked = " and ".join(f"{sign} {bar:g} {unit}".strip() for sign, bar in ((">", above), ("<", below)) if bar is not None)
    bar = above if above is not None else below
    ratio = None if not bar or not middle else round(middle / bar if above is not None else bar / middle, 3)
    return _row(id_, case, unit, ours=taken, ratio=ratio, bar=bar, asked=asked, ok=ok, note=note)


def unmeasured(id_: str, case: str, why: str, *, unit: str = "") -> Row:
    """A row that is there to say that this was not measured, and why: neither passed nor failed."""
    return _row(id_, case, unit, ours=[], ratio=None, bar=None, asked="", ok=None, note=why)


def wrong(id_: str, case: str, why: str, *, unit: str = "") -> Row:
    """A row of what came out wrong, so that no figure of it means anything."""
    return _row(id_, case, unit, ours=[], ratio=None, bar=None, asked="", ok=False, note=why)


def of_bench(component: str, row: Mapping[str, Any]) -> Row:
    """A row of a benchmark as one of the component's. One without a bar has nothing to reach, and is left undecided."""
    bars = {kind: row.get(kind) for kind in ("bar", "least", "most") if row.get(kind) is not None}
    words = {"bar": "{:g}x", "least": ">= {:g}", "most": "< {:g}"}
    asked = " and ".join(words[kind].format(bar) for kind, bar in bars.items())
    return {
        **_row(
            f"{component}-{row['id']}", row["case"], row["unit"], row["samples_ours"], row["ratio"], row["bar"], asked, None, row["note"]
        ),
        "peer": row["peer"],
        "samples_peer": row["samples_peer"],
        **_decided(bool(row["ok"]) if bars else None),
    }


def _row(
    id_: str, case: str, unit: str, ours: Sequence[float], ratio: float | None, bar: float | None, asked: str, ok: bool | None, note: str
) -> Row:
    return {
        **{"id": id_, "case": case, "unit": unit, "peer": "", "samples_ours": list(ours), "samples_peer": [], "ratio": ratio, "bar": bar},
        **{"asked": asked, "change": None, "note": note, **_decided(ok)},
    }


def _decided(ok: bool | None) -> Row:
    return {"ok": ok, "verdict": {True: "PASS", False: "FAIL", None: "UNKNOWN"}[ok]}
