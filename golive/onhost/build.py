"""Makes the zipapp ``dwcp-host`` on the operator's machine. The same sources give the same bytes."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import marshal
import os
import zipfile
from pathlib import Path

from golive.environment import state_root

__all__ = ["build"]

_HERE = Path(__file__).resolve().parent
_MAIN = "import sys\n\nfrom golive.onhost.main import main\n\nsys.exit(main())\n"


def build() -> Path:
    """Path of a zipapp that holds today's sources of this package, made when it is not there yet."""
    content = _zipapp()
    path = state_root() / "cache" / f"dwcp-host-{hashlib.sha256(content).hexdigest()[:12]}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_bytes(content)
        fresh.chmod(0o755)
        fresh.replace(path)
    return path


def _zipapp() -> bytes:
    files = {"__main__.py": _MAIN, "golive/__init__.py": ""}
    for source in sorted(_HERE.glob("*.py")):
        if source.name != "build.py":
            files[f"golive/onhost/{source.name}"] = source.read_text(encoding="utf-8")
    members = {name: text.encode() for name, text in files.items()}
    members |= {f"{name}c": _compiled(name, text) for name, text in files.items()}
    buffer = io.BytesIO(b"#!/usr/bin/python3 -IS\n")
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(members.items()):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return buffer.getvalue()


def _compiled(name: str, text: str) -> bytes:
    """What a host with this Python need not compile at every call; another Python passes over it and takes the source beside it.

    Marked as not to be compared with the source (PEP 552), and in a version of the format without references: those depend on what
    else the process holds, and the same sources have to give the same bytes.
    """
    code = compile(text, name, "exec", dont_inherit=True, optimize=0)
    return importlib.util.MAGIC_NUMBER + (0b01).to_bytes(4, "little") + importlib.util.source_hash(text.encode()) + marshal.dumps(code, 2)
