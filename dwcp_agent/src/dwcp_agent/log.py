"""Logs: one JSON object a line on stdout. Never a ticket, a key or content."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

__all__ = ["event", "setup", "warn"]

_LOGGER = logging.getLogger("dwcp")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = getattr(record, "fields", {})
        line = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **{key: value for key, value in fields.items() if value is not None},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, separators=(",", ":"), default=str)


def setup() -> None:
    """Sends everything of ours from INFO up, and others' warnings, to stdout."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    _LOGGER.setLevel(logging.INFO)


def event(name: str, **fields: object) -> None:
    """Something normal happened: ``session``, ``identity`` and the like as fields; None is left out."""
    _LOGGER.info(name, extra={"fields": fields})


def warn(name: str, **fields: object) -> None:
    """Something was refused or failed."""
    _LOGGER.warning(name, extra={"fields": fields})


def bug(name: str, **fields: object) -> None:
    """An exception that nothing expected; call while handling it."""
    _LOGGER.error(name, exc_info=True, extra={"fields": fields})
