"""Documents read back: their tables as rows of text, without marks and escapes, and their pages as elements and text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

__all__ = ["Read", "cells", "marks_of", "page_of", "plain", "section", "table"]

_MARK = re.compile(r"(?<!\\)\[\^([a-z][a-z0-9]*)\]")


def plain(cell: str) -> str:
    """Text of a cell: marks, emphasis, code fences and escapes taken away."""
    text = _MARK.sub("", cell).strip()
    text = re.sub(r"(?<!\\)[`*]+ ?", "", text)
    return re.sub(r"\\([^A-Za-z0-9\s])", r"\1", text).strip()


def marks_of(text: str) -> list[str]:
    return _MARK.findall(text)


def cells(line: str) -> list[str]:
    """The cells of a table's row, as written."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def section(text: str, heading: str) -> str:
    """What stands under ``## heading``, up to the next one of its level."""
    level = heading.split(" ", 1)[0]
    found = re.search(rf"^{re.escape(heading)}[^\n]*\n(.*?)(?=^{level} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def table(text: str, *columns: str) -> list[dict[str, str]]:
    """The rows of the first table that begins with ``columns``, as plain text by column; each has as many cells as the head."""
    lines = iter(text.splitlines())
    for line in lines:
        head = [plain(cell) for cell in cells(line)] if line.startswith("|") else []
        if head[: len(columns)] == list(columns):
            assert set(next(lines)) <= set("|-: ")
            found = []
            for row in lines:
                if not row.startswith("|"):
                    break
                got = cells(row)
                assert len(got) == len(head), row
                found.append({name: plain(cell) for name, cell in zip(head, got, strict=True)})
            return found
    raise AssertionError(f"no table {columns}")


class Read(HTMLParser):
    """A page as a browser has it: elements, addresses, text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._style = tag == "style"
        for name, value in attrs:
            if name in ("href", "src", "srcset", "action", "data", "poster", "background"):
                self.addresses.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.text += data


def page_of(markup: str) -> Read:
    read = Read()
    read.feed(markup)
    read.close()
    return read
