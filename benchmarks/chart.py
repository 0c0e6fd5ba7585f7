"""The times of docs/results/wan.json as a picture: each row's ours and its fastest peer, median and spread, on one logarithmic axis."""

from __future__ import annotations

import io
import statistics
from typing import Any

__all__ = ["drawn"]

_OURS, _PEER, _OTHER = "#d95f02", "#4c78a8", "#999999"


def drawn(rows: list[dict[str, Any]]) -> str:
    """SVG text, the same for the same rows: no date, no random ids, and words as text. Rows that are no time in seconds are left out."""
    import matplotlib  # half a second, which those who only measure need not wait

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    times = [row for row in rows if row["unit"] == "s"]
    figure = Figure(figsize=(12, 1 + 0.32 * len(times)), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(times):
        for samples, colour, shift in ((row["samples_ours"], _OURS, -0.14), (row["samples_peer"], _PEER, 0.14)):
            axes.plot([min(samples), max(samples)], [place + shift] * 2, color=colour, linewidth=3, alpha=0.5, solid_capstyle="butt")
            axes.plot(statistics.median(samples), place + shift, "o", color=colour, markersize=4)
        for samples in row.get("other_peers_s", {}).values():
            axes.plot(statistics.median(samples), place + 0.14, "|", color=_OTHER, markersize=6)
        asked = "" if row["bar"] is None else f", asked {row['bar']:g}x: {'met' if row['ok'] else 'missed'}"
        between = "{:.3g} to {:.3g} ".format(*row["interval"]) if row.get("interval") else ""
        said = f"{row['ratio']:.3g}x {between}{row['peer']}{asked}"
        axes.annotate(said, (1.01, place), xycoords=("axes fraction", "data"), fontsize=7, va="center", annotation_clip=False)
    axes.plot([], [], "o-", color=_OURS, markersize=4, linewidth=3, label="ours")
    axes.plot([], [], "o-", color=_PEER, markersize=4, linewidth=3, label="fastest peer")
    axes.plot([], [], "|", color=_OTHER, label="other peers")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    names = [row["case"].removesuffix(": time") for row in times]
    axes.set_yticks(range(len(times)), names, fontsize=7)
    axes.set(xlabel="seconds: dot median, bar from the lowest to the highest; to the left is better", ylim=(len(times) - 0.5, -0.5))
    axes.grid(axis="x", which="both", alpha=0.2)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(fontsize=7, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "wan", "svg.fonttype": "none"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())
