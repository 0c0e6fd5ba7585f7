"""How a module of this package adds a verb to ``dwcp-host``.

    @verb("weight set", help="...", changes=True, arguments=lambda p: p.add_argument("--slot-b", type=int, required=True))
    def weight_set(call: Call) -> dict[str, Any]:
        ...
        return {"changed": True, "slot_b": 10}

A verb that ``changes`` gets ``--token``, ``--run`` and ``--wait``; it is entered with the lock held and the token admitted, and what it
returns (or why it failed) is appended to ``effects.jsonl`` unless ``recorded`` is off. Its result holds ``changed: bool``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

from golive.onhost.fence import Lock
from golive.onhost.places import Places

# Not from typing: that module alone would take a short call as long as its work.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, Any

__all__ = ["Call", "Verb", "registered", "verb"]


class Call:
    """One call of a verb."""

    def __init__(self, places: Places, options: argparse.Namespace, lock: Lock | None) -> None:
        self.places = places
        self.options = options
        self.input: IO[str] | None = None
        """What stands in for standard input; the process's own when None."""
        self.lock = lock
        """Held while a changing verb runs; None for one that only reads."""

    @property
    def held(self) -> Lock:
        """The lock of a changing verb."""
        if self.lock is None:
            raise RuntimeError("this verb does not hold the lock")
        return self.lock


class Verb:
    """A verb as registered; ``name`` is one or two words."""

    def __init__(
        self,
        name: str,
        help: str,
        changes: bool,
        recorded: bool,
        arguments: Callable[[argparse.ArgumentParser], Any] | None,
        run: Callable[[Call], dict[str, Any]],
    ) -> None:
        self.name = name
        self.help = help
        self.changes = changes
        self.recorded = recorded
        self.arguments = arguments
        self.run = run


_registry: dict[str, Verb] = {}


def verb(
    name: str,
    *,
    help: str,
    changes: bool,
    recorded: bool = True,
    arguments: Callable[[argparse.ArgumentParser], Any] | None = None,
) -> Callable[[Callable[[Call], dict[str, Any]]], Callable[[Call], dict[str, Any]]]:
    """Decorator: the function is what ``dwcp-host NAME`` does; it returns the JSON object to print."""

    def register(function: Callable[[Call], dict[str, Any]]) -> Callable[[Call], dict[str, Any]]:
        if name in _registry:
            raise ValueError(f"two verbs are called {name!r}")
        _registry[name] = Verb(name, help, changes, recorded, arguments, function)
        return function

    return register


def registered() -> Mapping[str, Verb]:
    """All verbs by name."""
    return _registry
