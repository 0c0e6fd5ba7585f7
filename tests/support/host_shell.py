"""`golive.fleet.ssh.Shell` without SSH: every host is a directory, and ``dwcp-host`` runs in this process."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golive.errors import Unreachable
from golive.fleet.model import Host
from golive.onhost.main import main


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    rc: int
    stdout: bytes
    stderr: bytes


class HostShell:
    """Runs ``dwcp-host`` on the directories of the hosts; a host in ``silent`` does not answer."""

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self.roots = roots
        self.silent: set[str] = set()

    def each(self, hosts: Sequence[Host], argv: Sequence[str], *, timeout_s: float = 30) -> dict[str, Any]:
        return {host.name: self._one(host, argv) for host in hosts}

    def _one(self, host: Host, argv: Sequence[str]) -> Done | Unreachable:
        if host.name in self.silent:
            return Unreachable(f"{host.name}: no answer", host=host.name)
        words = list(argv)
        assert words.pop(0) == "dwcp-host"
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(["--root", str(self.roots[host.name]), *words])
            except SystemExit as left:
                code = int(left.code or 0)
        return Done(code, out.getvalue().encode(), err.getvalue().encode())
