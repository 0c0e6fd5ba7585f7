"""Pictures of a run as SVG text that stands in a page by itself: nothing is fetched, nothing is random."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from golive.views.view import Gate, RunView, version_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["gate_plot", "latency_plot", "traffic_plot"]

_CANDIDATE, _OTHER, _LIMIT = "#d95f02", "#4c78a8", "#c0392b"
_COLOURS = {"PASS": "#2e8b57", "FAIL": "#c0392b", "INCONCLUSIVE": "#b8860b", "ERROR": "#7f3fbf"}


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    import matplotlib  # half a second, for reports only

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure, title: str) -> str:
    import matplotlib

    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": title, "svg.fonttype": "none"}):
        figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    # Ids are one page's: two pictures in it must not share them. The label is for who does not see the picture.
    prefix = re.sub(r"\W+", "-", title)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'href="#', f'href="#{prefix}-', text)
    text = re.sub(r"url\(#", f"url(#{prefix}-", text)
    escaped = title.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return text.replace("<svg ", f'<svg role="img" aria-label="{escaped}" ', 1)


def _plain(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", alpha=0.25)


def traffic_plot(view: RunView) -> str | None:
    """The candidate's share at each gateway over time, with the gates' verdicts. None when nothing was shifted."""
    release = view.state.release
    shifts = [shift for shift in view.shifts if release in shift.weights]
    if not shifts or not view.state.started:
        return None
    zero = datetime.fromisoformat(view.state.started)

    def minutes(at: str) -> float:
        return (datetime.fromisoformat(at) - zero).total_seconds() / 60

    figure, axes = _figure(9, 2.8)
    last = minutes(view.state.ended) if view.state.ended else max(minutes(event.at) for event in view.timeline)
    for gateway in sorted({shift.gateway for shift in shifts}):
        mine = [shift for shift in shifts if shift.gateway == gateway]
        times = [0.0, *(minutes(shift.at) for shift in mine), last]
        shares = [0.0, *(shift.weights[release or ""] for shift in mine), mine[-1].weights[release or ""]]
        axes.step(times, shares, where="post", label=gateway, linewidth=1.6)
    for gate in view.gates:
        axes.axvline(minutes(gate.at), color=_COLOURS.get(gate.verdict, "#888888"), linestyle=":", linewidth=1.2)
        axes.annotate(gate.verdict, (minutes(gate.at), 101), rotation=90, fontsize=6, va="top", color=_COLOURS.get(gate.verdict, "#888888"))
    axes.set(xlabel="minutes since the run began", ylabel=f"% on {version_of(release)}", ylim=(-3, 105))
    axes.legend(fontsize=7, frameon=False, loc="upper left")
    _plain(axes)
    return _svg(figure, "Traffic over time")


def gate_plot(gate: Gate) -> str | None:
    """How far each measurement and its bound are from their threshold, as a share of it. None when no line has all three."""
    lines = [line for line in gate.lines if _shown(line)]
    if not lines:
        return None
    figure, axes = _figure(8, 0.7 + 0.34 * len(lines))
    for row, line in enumerate(lines):
        scale = line["threshold"] - (1 if line["unit"] == "ratio" else 0)
        offset = 1 if line["unit"] == "ratio" else 0
        estimate, bound = ((line[name] - offset) / scale for name in ("estimate", "bound"))
        colour = _COLOURS.get(line["verdict"], "#888888")
        axes.plot([estimate, bound], [row, row], color=colour, linewidth=3, alpha=0.5, solid_capstyle="butt")
        axes.plot(estimate, row, "o", color=colour)
        axes.plot(bound, row, "|", color=colour, markersize=11, markeredgewidth=2)
    axes.axvline(1, color=_LIMIT, linewidth=1.2)
    axes.set_yticks(range(len(lines)), [line["metric"] for line in lines], fontsize=8)
    axes.set(xlabel="share of the threshold: dot measured, bar bound, line the threshold", ylim=(len(lines) - 0.5, -0.5))
    _plain(axes)
    return _svg(figure, f"Gate {gate.stage} {gate.step} {gate.attempt} {gate.at}")


def _shown(line: dict[str, Any]) -> bool:
    numbers = [line.get(name) for name in ("estimate", "bound", "threshold")]
    if line.get("metric") == "throughput" or not all(isinstance(x, int | float) and math.isfinite(x) for x in numbers):
        return False
    return bool(line["threshold"] != (1 if line["unit"] == "ratio" else 0))


def latency_plot(gates: Sequence[Gate]) -> str | None:
    """p50 and p99 of the candidate and of what it was compared with, gate by gate. None when no gate measured any."""
    rows = []
    for gate in gates:
        mine = gate.figures.get("candidate") or {}
        compared = [gate.figures.get(name) or {} for name in ("incumbent", "baseline")]
        other: dict[str, Any] = next((part for part in compared if part.get("requests")), {})
        if mine.get("p50_s") is not None:
            rows.append((gate.step, mine, other))
    if not rows:
        return None
    figure, axes = _figure(8, 0.9 + 0.42 * len(rows))
    for row, (_, mine, other) in enumerate(rows):
        for part, colour, shift in ((mine, _CANDIDATE, -0.12), (other, _OTHER, 0.12)):
            if part.get("p50_s") is not None:
                low, high = part["p50_s"] * 1000, part["p99_s"] * 1000
                axes.plot([low, high], [row + shift] * 2, color=colour, linewidth=4, solid_capstyle="butt")
                axes.annotate(f"{high:.3g}", (high, row + shift), fontsize=7, xytext=(3, -2), textcoords="offset points")
    axes.plot([], [], color=_CANDIDATE, linewidth=4, label="candidate")
    axes.plot([], [], color=_OTHER, linewidth=4, label="compared with")
    axes.set_xscale("log")
    for formatter in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        formatter(lambda value, _: f"{value:g}")
    axes.tick_params(axis="x", which="both", labelsize=7)
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows], fontsize=8)
    axes.set(xlabel="ms, from p50 to p99", ylim=(len(rows) - 0.5, -0.5))
    axes.legend(fontsize=7, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    _plain(axes)
    return _svg(figure, "Latency by gate")
