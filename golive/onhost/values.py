"""Small values that are equal when their fields are. Like a frozen dataclass, whose module costs a short call more than its work."""

from __future__ import annotations

__all__ = ["Value"]


class Value:
    """Equal to another of its class with the same fields. Nothing sets a field after ``__init__``."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({fields})"
