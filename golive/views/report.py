"""The report of a run: Markdown for reading and diffing, HTML that stands by itself, both from the journal alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from golive.gates.lines import shown
from golive.views import plots
from golive.views.view import RunView, version_of

__all__ = ["Facts", "commands", "html", "markdown", "written"]

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Facts:
    """What a report says that is not in the journal."""

    hosts: Sequence[Mapping[str, Any]] = ()
    """``name``, ``site``, ``address``, ``role``, ``gateway``, ``load``."""
    digests: Mapping[str, str | None] = None  # type: ignore[assignment]  # set in __post_init__
    """SHA-256 of the manifest by release id; None where the release is not on this machine."""
    journal: Mapping[str, Any] | None = None
    """``records``, ``head`` and ``wrong`` (what does not fit in the chain, as sentences)."""

    def __post_init__(self) -> None:
        if self.digests is None:
            object.__setattr__(self, "digests", {})


def commands(view: RunView) -> list[tuple[str, str]]:
    """What to type to repeat or question what the report says: purpose and command."""
    env, state = view.state.env, view.state
    listed = [
        ("this run", f"./inv golive --env {env} --release {version_of(state.release)} --pace {state.pace}"),
        ("the hosts against what is live", f"./inv verify --env {env}"),
        ("where the environment stands", f"./inv status --env {env} --json"),
        ("this report", f"./inv report --env {env} --run {state.run}"),
    ]
    if state.open and not state.final:
        listed.append(("going back", f'./inv rollback --env {env} --reason "..."'))
    return listed


def markdown(view: RunView, facts: Facts) -> str:
    """The report as Markdown."""
    return _rendered("report.md.j2", view, facts, {})


def html(view: RunView, facts: Facts) -> str:
    """The report as one HTML page: styles and pictures inside, nothing fetched from anywhere."""
    pictures = {
        "traffic": plots.traffic_plot(view),
        "latency": plots.latency_plot(view.final_gates),
        "gates": {id(gate): plots.gate_plot(gate) for gate in view.gates},
    }
    return _rendered("report.html.j2", view, facts, pictures)


def written(view: RunView, facts: Facts, directory: Path) -> tuple[Path, Path]:
    """Writes ``report.md`` and ``report.html`` into ``directory``; each is whole or not there."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = []
    for name, text in (("report.md", markdown(view, facts)), ("report.html", html(view, facts))):
        path = directory / name
        partial = path.with_name(f".{name}.partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
        made.append(path)
    return made[0], made[1]


def _rendered(template: str, view: RunView, facts: Facts, pictures: Mapping[str, Any]) -> str:
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=jinja2.select_autoescape(["html.j2", "html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "when": _when,
        "took": _took,
        "cell": _cell,
        "told": _told,
        "number": _number,
        "version": version_of,
        "svg": Markup,
        "tojson": json.dumps,
    }
    return environment.get_template(template).render(
        view=view, state=view.state, facts=facts, pictures=pictures, commands=commands(view), gate_picture=_picture_of(pictures)
    )


def _picture_of(pictures: Mapping[str, Any]) -> Any:
    def picture(gate: object) -> str | None:
        found: str | None = pictures.get("gates", {}).get(id(gate))
        return found

    return picture


def _when(at: str | None) -> str:
    return datetime.fromisoformat(at).strftime("%Y-%m-%d %H:%M:%S") if at else "-"


def _took(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _cell(text: object) -> str:
    """Text of a Markdown table's cell: what hosts and people wrote must not end it, nor start markup or HTML."""
    flat = re.sub(r"\s+", " ", str(text)).strip()
    return re.sub(r"([\\`|<>\[\]*])", r"\\\1", flat)


def _told(line: Mapping[str, Any]) -> str:
    """A line's verdict; ``clear`` for one that can only fail a gate and does not."""
    return str(line.get("verdict")) if line.get("decides", True) else "clear"


def _number(line: Mapping[str, Any], name: str) -> str:
    return shown(line.get(name), line.get("unit", "count"))
