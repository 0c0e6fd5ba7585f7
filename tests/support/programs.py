"""Programs of Debian that tests need: from this machine when it has them, else from the lab's own image."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from golive.lab import image, podman


def command(name: str, argv: list[str], *, shared: Path) -> list[str]:
    """``argv`` of program ``name``; ``shared`` is a directory that it sees under the same path."""
    if found := shutil.which(name):
        return [found, *argv]
    from_image = image.ensure(print)
    runtime = podman.bootable_runtime(from_image, image.cache_dir())
    return [
        *("podman", "run", "--rm", "--runtime", runtime, "--network", "host", *podman.resource_limits()),
        *("-v", f"{shared}:{shared}", from_image, name, *argv),
    ]


@contextmanager
def running(name: str, argv: list[str], *, shared: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The program, from here to the end of the block, with its output in ``shared/NAME.log``. Killed at the end."""
    full = command(name, argv, shared=shared)
    container = f"dwcp-test-{name}-{uuid.uuid4().hex[:8]}" if full[0] == "podman" else None
    if container:
        full[2:2] = ["--name", container]
    log = shared / f"{name}.log"
    with log.open("ab") as out:
        process = subprocess.Popen(full, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield process
    finally:
        if container:
            subprocess.run(["podman", "rm", "-f", "-i", "-t", "0", container], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        process.kill()
        process.wait(10)
