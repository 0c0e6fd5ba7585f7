"""YAML as plain data, with the line on which each part of it stands: so that every error can name its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

__all__ = ["Marked", "marked"]

Place = tuple[str | int, ...]

_MOST_PARTS = 500_000
"""More than ten thousand machines take; beyond it are aliases of aliases."""


@dataclass
class Marked:
    """Plain data, where each part stands, and what could not be read at all as ``(line, sentence)``."""

    data: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)

    def line(self, place: Place) -> int:
        """Line of what stands at ``place``, or of the nearest thing around it. Counts from 1."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def marked(text: str) -> Marked:
    """Reads ``text``: mappings, lists, text, numbers, true and false. A key written twice, a tag and a merge are problems, not data."""
    found = Marked()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        found.problems.append((mark.line + 1 if mark else 1, f"not valid YAML: {getattr(error, 'problem', None) or error}"))
        return found
    except RecursionError:
        found.problems.append((1, "nested too deeply"))
        return found
    found.data = None if node is None else _plain(node, (), found)
    return found


def _plain(node: Any, place: Place, found: Marked) -> Any:
    line = node.start_mark.line + 1
    found.lines[place] = line
    if len(found.lines) > _MOST_PARTS or len(place) > 12:
        if not found.problems:
            found.problems.append((line, "the file is too large or nested too deeply (an alias inside its own anchor?)"))
        return None
    if isinstance(node, yaml.SequenceNode):
        return [_plain(child, (*place, number), found) for number, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key, value in node.value:
            where = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                found.problems.append((where, "a key is plain text"))
                continue
            if key.value in result:
                found.problems.append((where, f"the key {key.value!r} is written twice"))
            result[key.value] = _plain(value, (*place, key.value), found)
            found.lines[(*place, key.value)] = where
        return result
    kind = node.tag.rpartition(":")[2]
    if kind in ("str", "null", "bool", "int", "float"):
        return yaml.SafeLoader("").construct_object(node) if kind != "str" else node.value
    found.problems.append(
        (
            line,
            f"{node.value!r} is read as {kind}; put it in quotes" if not node.tag.startswith("!") else f"the tag {node.tag} is not taken",
        )
    )
    return None
