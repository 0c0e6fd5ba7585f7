"""Verb of the monitoring host: which agents Prometheus scrapes. A new release is watched without a play."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from golive.onhost import durable
from golive.onhost.command import Call, verb
from golive.onhost.failures import BadInput

__all__ = ["checked"]

_TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}:[0-9]{1,5}")
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,127}")
_LABELS = ("host", "site", "slot", "release")
_MAX_BYTES = 4 << 20


@verb("targets set", help="what Prometheus scrapes as job agent: JSON for file_sd on stdin", changes=True)
def _targets_set(call: Call) -> dict[str, Any]:
    raw = (call.input or sys.stdin).read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise BadInput("The list of targets is longer than 4 MiB.")
    try:
        groups = checked(json.loads(raw))
    except ValueError:
        raise BadInput("The list of targets on stdin is not JSON.") from None
    path = call.places.root / "var/lib/dwcp/targets/agent.json"
    text = json.dumps(groups, sort_keys=True, indent=1) + "\n"
    known = path.read_text(encoding="utf-8") if path.exists() else None
    if text != known:
        durable.write_text(path, text)
    return {"changed": text != known, "targets": sum(len(group["targets"]) for group in groups)}


@verb("targets show", help="what Prometheus is told to scrape as job agent", changes=False)
def _targets_show(call: Call) -> dict[str, Any]:
    path = call.places.root / "var/lib/dwcp/targets/agent.json"
    try:
        return {"groups": json.loads(path.read_text(encoding="utf-8"))}
    except FileNotFoundError:
        return {"groups": []}
    except ValueError:
        return {"groups": None}


def checked(groups: Any) -> list[dict[str, Any]]:
    """``groups`` when Prometheus can take them and no target is there twice. Raises BadInput saying which is wrong."""
    if not isinstance(groups, list):
        raise BadInput("The targets must be a list of {targets, labels}.")
    seen: set[str] = set()
    for number, group in enumerate(groups):
        if not isinstance(group, dict) or set(group) != {"targets", "labels"} or not isinstance(group["targets"], list):
            raise BadInput(f"Entry {number} of the targets must be {{targets: [...], labels: {{...}}}}.")
        labels = group["labels"]
        if not isinstance(labels, dict) or set(labels) != set(_LABELS):
            raise BadInput(f"Entry {number} of the targets must have exactly the labels {', '.join(_LABELS)}.")
        for name, value in labels.items():
            if not isinstance(value, str) or not _VALUE.fullmatch(value):
                raise BadInput(f"Entry {number} of the targets: label {name} is {value!r}.")
        for target in group["targets"]:
            if not isinstance(target, str) or not _TARGET.fullmatch(target) or target in seen:
                raise BadInput(f"Entry {number} of the targets: {target!r} is not host:port, or is there twice.")
            seen.add(target)
    return groups
