"""Names of stored content: relative paths that cannot leave the directory they are relative to."""

from __future__ import annotations

from dwcp_agent.errors import BadInput

__all__ = ["parts_of"]

MAX_BYTES = 1024
MAX_PART_BYTES = 255
MAX_PARTS = 16


def parts_of(name: str) -> tuple[str, ...]:
    """The components of ``name``. Raises BadInput for absolute, empty, dotted, over-long or unprintable ones."""
    try:
        encoded = name.encode("utf-8")
    except UnicodeEncodeError:
        raise BadInput("A name must be valid UTF-8.") from None
    if not name or len(encoded) > MAX_BYTES:
        raise BadInput(f"A name must have 1 to {MAX_BYTES} bytes.")
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        raise BadInput("A name must not contain control characters.")
    parts = tuple(name.split("/"))
    if len(parts) > MAX_PARTS:
        raise BadInput(f"A name must have at most {MAX_PARTS} components.")
    for part in parts:
        if part.startswith(".") or not part:
            raise BadInput("A name must be relative, without empty components and without any that begins with a dot.")
        if len(part.encode("utf-8")) > MAX_PART_BYTES:
            raise BadInput(f"A component of a name must have at most {MAX_PART_BYTES} bytes.")
    return parts
