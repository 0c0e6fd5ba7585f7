"""Where a document's figures are from: journal records, signed statements, files. What was cited is told at its end."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from golive.documents.figure import moment
from golive.documents.markup import Markdown, code, escaped
from golive.engine import Record
from golive.evidence import Kept

__all__ = ["Sources", "of_record", "of_statement"]


def of_record(record: Record | int) -> str:
    """The key of a journal record: ``j201``."""
    return f"j{record if isinstance(record, int) else record.seq}"


def of_statement(digest: str) -> str:
    """The key of a statement: ``e`` and the beginning of its envelope's digest."""
    return f"e{digest[:12]}"


@dataclass
class Sources:
    """Everything that can be cited, and what was.

    A template cites through :meth:`marks`; :meth:`cited` is asked last, when everything else was rendered.
    """

    _files: dict[str, str] = field(default_factory=dict)
    _told: dict[str, Markdown] = field(default_factory=dict)
    _digests: dict[str, str] = field(default_factory=dict)
    _used: dict[str, None] = field(default_factory=dict)

    def add_records(self, records: Iterable[Record]) -> None:
        for record in records:
            where = "/".join(part for part in (record.stage, record.step) if part)
            told = f"journal record {record.seq}, {code(record.kind)}" + (f" of {escaped(where)}" if where else "")
            self._put(of_record(record), f"{told}, {moment(record.at)}", record.hash)

    def add_statements(self, kept: Mapping[str, Kept]) -> None:
        for digest, one in kept.items():
            at = one.statement.predicate
            told = f"statement {code(at.check)} {at.result}, {moment(at.finished)}, by {code(at.command)}"
            self._put(of_statement(digest), told, digest)

    def add_file(self, name: str, content: bytes | None = None, digest: str = "", what: str = "") -> str:
        """A file by its path in the checkout or in the environment's state; returns its key, ``f1`` and up."""
        key = self._files.setdefault(name, f"f{len(self._files) + 1}")
        self._put(key, f"{code(name)}{f', {escaped(what)}' if what else ''}", digest or hashlib.sha256(content or b"").hexdigest())
        return key

    def add_path(self, path: Path, name: str, what: str = "") -> str:
        return self.add_file(name, path.read_bytes() if path.is_file() else b"", what=what)

    def _put(self, key: str, told: str, digest: str) -> None:
        self._told[key], self._digests[key] = Markdown(told), digest

    def marks(self, refs: Iterable[str]) -> Markdown:
        """Footnote marks for ``refs``. Raises KeyError for a source that is none: a figure from nowhere is a bug."""
        found = []
        for ref in dict.fromkeys(refs):
            if ref not in self._told:
                raise KeyError(f"{ref} is no source of this document")
            self._used[ref] = None
            found.append(f"[^{ref}]")
        return Markdown("".join(found))

    def cited(self) -> list[tuple[str, Markdown, str]]:
        """Key, description and SHA-256 of every source that was cited: records first, by number, then statements, then files."""
        order = {"j": 0, "e": 1, "f": 2}
        keys = sorted(self._used, key=lambda key: (order[key[0]], 0 if key[0] == "e" else int(key[1:]), key))
        return [(key, self._told[key], self._digests[key]) for key in keys]

    @property
    def digests(self) -> Mapping[str, str]:
        """SHA-256 by key of all that can be cited."""
        return dict(self._digests)
