"""Whether what can be typed, set and read is in the documents: verbs, settings of agent and environments, metrics."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from golive.errors import Unprepared
from golive.evidence.tools.model import Command, Judged, Place, Said, Tool, python

__all__ = ["DOCUMENTED", "documents", "settings_of", "undocumented"]

_SENDERS = "telemetry/senders.py"
_SENDER = re.compile(r"[(:]\s*\(?\s*\"([a-z_]+)\",\s*\"[A-Z][a-z]+ ")
"""A name and what it says, as that module writes those that it puts behind ``dwcp_sender_``."""
_NAMED = re.compile(r"(?:Gauge|Counter|Histogram|GaugeMetricFamily|CounterMetricFamily)\(\s*\"(dwcp_[a-z_]+)\"")


def documents(root: Path) -> str:
    """Everything that people are given to read."""
    paths = [root / "README.md", root / "dwcp_agent" / "README.md", *sorted((root / "docs").glob("*.md"))]
    return "\n".join(path.read_text(encoding="utf-8") for path in paths if path.is_file())


def settings_of(schema: dict[str, Any], inside: str = "") -> list[str]:
    """Dotted names of every setting that a JSON schema knows, those of nested objects instead of the objects."""
    names: list[str] = []
    for name, each in schema.get("properties", {}).items():
        target = next((option for option in [each, *each.get("anyOf", []), *each.get("allOf", [])] if "$ref" in option), None)
        nested = schema["$defs"][target["$ref"].rsplit("/", 1)[-1]] if target else {}
        if nested.get("properties"):
            names += settings_of({**nested, "$defs": schema["$defs"]}, f"{inside}{name}.")
        else:
            names.append(f"{inside}{name}")
    return names


def undocumented(names: Iterable[str], text: str, *, quoted: bool = False) -> list[str]:
    """Those that ``text`` does not name; ``quoted``: as a word of its own in backticks."""
    if quoted:
        # A row of a table may name several: `tls.ca`, `tls.cert`.
        return [name for name in names if f"`{name}`" not in text]
    # A counter is written with `_total`, and read so.
    return [name for name in names if not re.search(rf"(?<![\w.]){re.escape(name)}(?:_total)?(?!\w)", text)]


def _commands(place: Place) -> list[Command]:
    if not (place.root / "tasks.py").is_file():
        raise Unprepared("there is no tasks.py.")
    tree, lib = place.scratch / "tree", place.scratch / "lib"
    shutil.copytree(
        place.root / "dwcp_agent", tree, ignore=shutil.ignore_patterns("tests", "build", "*.so", "*.egg-info", "__pycache__", ".*")
    )
    ours = {"PYTHONPATH": str(lib)}
    settings = "import json; from golive.environment import Settings; print(json.dumps(Settings.model_json_schema()))"
    return [
        Command(python("-m", "golive.program", "--search-root", ".", "--list", "--list-format", "json"), place.root),
        Command(python("setup.py", "-q", "build", "--build-lib", str(lib), "--build-temp", str(place.scratch / "temp")), tree),
        Command(python("-m", "dwcp_agent", "schema", "agent"), place.scratch, ours),
        Command(python("-m", "dwcp_agent", "schema", "load"), place.scratch, ours),
        Command(python("-c", settings), place.root),
    ]


def _judge(place: Place, said: Sequence[Said]) -> Judged:
    listed, built, agent, load, environment = said
    for each in said:
        if each.rc != 0:
            return Judged("UNKNOWN", f"`{' '.join(each.command.argv[1:4])}` ended with {each.rc}, so that not all names are known.")
    del built
    readme = (place.root / "README.md").read_text(encoding="utf-8")
    every = documents(place.root)
    known = {
        "verbs": _verbs(json.loads(listed.output)),
        "settings of the agent": settings_of(json.loads(agent.output)),
        "settings of the load client": settings_of(json.loads(load.output)),
        "settings of an environment": settings_of(json.loads(environment.output)),
        "metrics": _metrics(place.root / "dwcp_agent" / "src" / "dwcp_agent"),
    }
    facts: dict[str, Any] = {name: len(names) for name, names in known.items()}
    if empty := [name for name, names in known.items() if not names]:
        return Judged("UNKNOWN", f"No {' and no '.join(empty)} were found to look for.", facts)
    lacking = {
        "verbs": [name for name in known["verbs"] if not re.search(rf"(?:\./inv |/ |`){re.escape(name)}\b", readme)],
        "settings of the agent": undocumented(known["settings of the agent"], every, quoted=True),
        "settings of the load client": undocumented(known["settings of the load client"], every, quoted=True),
        "settings of an environment": undocumented(known["settings of an environment"], every, quoted=True),
        # The table of senders' metrics says the prefix once a row, and `_the_rest` after that.
        "metrics": [name for name in undocumented(known["metrics"], every) if f"`{name.removeprefix('dwcp_sender')}`" not in every],
    }
    lacking = {name: names for name, names in lacking.items() if names}
    if lacking:
        told = "; ".join(f"{name}: {', '.join(names)}" for name, names in lacking.items())
        return Judged("FAIL", f"Not in the documents are {told}.", {**facts, "lacking": lacking})
    shown = ", ".join(f"{len(names)} {name}" for name, names in known.items())
    return Judged("PASS", f"In the documents are {shown}.", facts)


def _metrics(source: Path) -> list[str]:
    """Names as the code gives them to Prometheus' library."""
    names = set()
    for path in source.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        names.update(_NAMED.findall(text))
        if path.match(_SENDERS):
            names.update(f"dwcp_sender_{name}" for name in _SENDER.findall(text) if not name.startswith("dwcp_"))
    return sorted(names)


def _verbs(listed: dict[str, Any], inside: str = "") -> list[str]:
    names = [f"{inside}{task['name']}" for task in listed.get("tasks", [])]
    for collection in listed.get("collections", []):
        names += _verbs(collection, f"{inside}{collection['name']}.")
    return names


DOCUMENTED = Tool(
    "docs-current",
    "README names every verb; the documents name every setting and every metric.",
    ("source", "toolkit"),
    timedelta(days=1),
    _commands,
    _judge,
)
