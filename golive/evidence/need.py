"""What is asked of a measured number: ``ok``, or a comparison such as ``ratio >= 2``."""

from __future__ import annotations

import math
import operator
import re
import statistics
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

__all__ = ["Need"]

_WRITTEN = re.compile(r"(ratio|ours|peer|value)\s*(>=|<=|>|<|==)\s*(-?[0-9]+(?:\.[0-9]+)?(?:e[0-9]+)?)")
_COMPARED: Mapping[str, Callable[[Any, Any], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}


class Need:
    """Raises ValueError when ``text`` is neither ``ok`` nor a comparison of ratio, ours, peer or value with a number."""

    def __init__(self, text: str = "ok") -> None:
        self.text = " ".join(text.split())
        self._name, self._bound = "ok", 1.0
        self._than: Callable[[Any, Any], Any] = operator.eq
        if self.text != "ok":
            match = _WRITTEN.fullmatch(self.text)
            if match is None:
                raise ValueError(f"{text!r} is no need; write ok, or one like `ratio >= 2`, `ours < 50`, `value == 1`")
            self._name, self._than, self._bound = match[1], _COMPARED[match[2]], float(match[3])

    def unmet(self, row: Mapping[str, Any]) -> str:
        """Why ``row`` does not meet it; empty when it does. What the row does not say, or says as no number, is not met."""
        if self._name == "ok":
            return "" if row.get("ok") is True else "it is not ok"
        found = _number(row, self._name)
        if found is None:
            return f"it has no {self._name}"
        return "" if self._than(found, self._bound) else f"{self._name} is {found:.4g}"

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Need) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        made = core_schema.no_info_plain_validator_function(lambda value: value if isinstance(value, Need) else cls(str(value)))
        return core_schema.json_or_python_schema(made, made, serialization=core_schema.to_string_ser_schema())


def _number(row: Mapping[str, Any], name: str) -> float | None:
    value: Any = row.get(name)
    if name in ("ours", "peer"):
        samples = row.get(f"samples_{name}")
        if not isinstance(samples, list) or not samples or not all(isinstance(s, int | float) for s in samples):
            return None
        value = statistics.median(samples)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
