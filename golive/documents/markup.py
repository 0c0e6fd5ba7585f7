"""Markdown in which nothing that hosts or people wrote can be more than text."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["Markdown", "code", "escaped", "flat", "quoted"]


class Markdown(str):
    """Text that is Markdown already, and made by us."""

    __slots__ = ()


_MARKUP = re.compile(r"([\\`*_\[\]<>|~#&^$!{}])")
_AT_START = re.compile(r"^(\s?)(?:([-+](?=[-+\s]|$)|=(?=[=\s]*$))|(\d{1,9})(?=[.)](?:\s|$)))")
"""What would begin a list, a rule or a heading."""
_ADDRESS = re.compile(r"(:)(?=//)|(?<=www)(\.)|(@)", re.IGNORECASE)


def flat(text: object) -> str:
    """One line of printable characters: what turns text round, hides in it, or ends a line becomes a blank or U+FFFD."""
    line = re.sub(r"\s+", " ", str(text))
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co") else char for char in line)


def escaped(text: object) -> Markdown:
    """``text`` as the text of one line, wherever in a Markdown document it stands: in a table's cell, a list, a heading."""
    line = _MARKUP.sub(r"\\\1", flat(text))
    line = _ADDRESS.sub(lambda found: f"\\{found[0]}", line)
    return Markdown(_AT_START.sub(_kept_from_starting, line))


def _kept_from_starting(found: re.Match[str]) -> str:
    blank, sign, number = found.groups(default="")
    return f"{blank}\\{sign}" if sign else f"{blank}{number}\\"


def code(text: object) -> Markdown:
    """``text`` as a code span that it cannot end; also in a table's cell, where a bar would."""
    line = flat(text).strip()
    if not line:
        return Markdown("")
    if "|" in line:
        # No code span in a table can hold a bar in every reader of Markdown.
        return escaped(line)
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return Markdown(f"{fence}{pad}{line}{pad}{fence}")


def quoted(text: str, most: int = 200) -> Markdown:
    """Several lines as a quotation; what is longer than ``most`` lines says that it is cut."""
    lines = text.splitlines()
    kept = [f"> {escaped(line)}".rstrip() for line in lines[:most]]
    if len(lines) > most:
        kept += [">", f"> ({len(lines) - most} more lines are in the file.)"]
    # Two blanks at an end of line keep the lines apart, as they were written.
    return Markdown("  \n".join(kept))
