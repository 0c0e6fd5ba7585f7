"""Documents on the disk: every file whole or as it was, and all of them or none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from golive.errors import BadInput

__all__ = ["written"]


def written(files: Mapping[Path, bytes]) -> None:
    """``files`` hold their contents, on the disk. When one cannot be written, none is changed.

    Raises BadInput naming the file and why.
    """
    fresh: list[tuple[Path, Path]] = []
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial = path.with_name(f".{path.name}.{os.getpid()}.new")
            fresh.append((partial, path))
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if path.is_dir():
                raise IsADirectoryError(21, "it is a directory", str(path))
        for partial, path in fresh:
            partial.replace(path)
    except OSError as error:
        at = error.filename2 or error.filename or (fresh[-1][1] if fresh else next(iter(files), ""))
        raise BadInput(f"{at} cannot be written: {error.strerror}. No document was changed.") from None
    finally:
        for partial, _ in fresh:
            partial.unlink(missing_ok=True)
