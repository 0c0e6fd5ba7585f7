"""Evidence as one file: for an auditor, or for the controller of another environment. What is in it is checked wherever it is opened."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

from golive.errors import BadInput

__all__ = ["archive_at", "packed", "unpacked"]

_FILES = re.compile(r"(statements/[0-9a-f]{64}\.json|(outputs|heads)/[0-9a-f]{64}|README\.txt|readiness\.json|checklist\.yaml|keys\.txt)")
_LARGEST = 4 * 1024**3

_README = """Evidence of a release's readiness.

statements/  one DSSE envelope a file (ed25519), each an in-toto Statement v1, named by its SHA-256
outputs/     what the checks printed, named by the SHA-256 that their statements give
heads/       the newest statement of each key; each statement names the one before it, so that none can be taken out
keys.txt     the keys that counted where this was packed; ask their owners whether they are theirs

`./inv evidence.verify --file FILE --key HEX` checks all of it, on any machine and without a network.
Any in-toto tool reads the envelopes; a signature is over "DSSEv1 LEN TYPE LEN PAYLOAD".
"""


def archive_at(file: str) -> Path:
    """The archive called ``file``. Raises BadInput when none is named or there."""
    if not file:
        raise BadInput("Name the archive: --file with what `./inv evidence.export` wrote.")
    path = Path(file)
    if not path.is_file():
        raise BadInput(f"{file} does not exist.")
    return path


def packed(store: Path, target: Path, beside: Mapping[str, bytes]) -> int:
    """``target`` holds the store's statements, outputs and heads, and the files ``beside``; returns how many statements. Never its key.

    Raises BadInput when there is nothing to pack or it cannot be written.
    """
    statements = sorted((store / "statements").glob("[!.]*"))
    if not statements:
        raise BadInput("There is no evidence yet; `./inv readiness --env lab` makes some.")
    fresh = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
            for name, content in sorted({"README.txt": _README.encode(), **beside}.items()):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
            for directory in ("statements", "outputs", "heads"):
                for path in sorted((store / directory).glob("[!.]*")):
                    tar.add(path, f"{directory}/{path.name}", recursive=False)
        fresh.replace(target)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise BadInput(f"{target} cannot be written: {error.strerror}.") from None
    return len(statements)


def unpacked(archive: Path, into: Path) -> None:
    """The files of ``archive`` below ``into``. Nothing but plain files of a store's own names is taken. Raises BadInput."""
    total = 0
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                total += member.size
                content = tar.extractfile(member) if member.isreg() and _FILES.fullmatch(member.name) else None
                if content is None or total > _LARGEST:
                    raise BadInput(f"{archive} holds {member.name[:80]!r}, which no evidence does; it is not opened.")
                path = into / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())
    except (OSError, tarfile.TarError, EOFError) as error:
        raise BadInput(f"{archive} cannot be read as evidence: {getattr(error, 'strerror', None) or error}.") from None
