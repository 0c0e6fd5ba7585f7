"""What evidence is about, as it stands here now: sources, releases, runbooks, hosts, files. Everything else is about something else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from golive.environment import ROOT, Environment
from golive.errors import GoliveError, Refused
from golive.evidence.statement import Subject
from golive.releases.model import Release
from golive.releases.source import worktree_digest

__all__ = [
    "AGENT",
    "TOOLKIT",
    "Current",
    "agent_source",
    "host_subject",
    "release_subject",
    "runbook_subject",
    "toolkit_source",
    "unchanged",
]

AGENT, TOOLKIT = "agent-source", "toolkit"
_TOOLKIT = ("golive", "roles", "playbooks", "library", "terraform", "runbooks", "tests/verify", "tasks.py", "inv", "ansible.cfg")
_NOT_IT = frozenset({"checklist.yaml"})
"""What is asked changes without a change of what is asked about."""
_MADE = frozenset({"__pycache__", ".terraform"})


def agent_source(root: Path = ROOT) -> Subject:
    """The agent's sources in the worktree, as a release's manifest names them. Raises what git says where there is no checkout."""
    return Subject.of(AGENT, worktree_digest(root))


def toolkit_source(root: Path = ROOT) -> Subject:
    """The toolkit's own code: whatever decides how a release is taken live."""
    whole = hashlib.sha256()
    for path in _files(root):
        whole.update(f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.relative_to(root).as_posix()}\n".encode())
    return Subject.of(TOOLKIT, whole.hexdigest())


def release_subject(release: Release) -> Subject:
    return Subject.of(f"release:{release.version}", release.digest)


def runbook_subject(name: str, digest: str) -> Subject:
    return Subject.of(f"runbook:{name}", digest)


def host_subject(name: str, host_key: str) -> Subject:
    """A host is its SSH host key: another machine of the same name is another host."""
    return Subject.of(f"host:{name}", hashlib.sha256(host_key.encode()).hexdigest())


def _files(root: Path) -> Iterable[Path]:
    for name in _TOOLKIT:
        path = root / name
        found = [path] if path.is_file() else sorted(path.rglob("*"))
        yield from (p for p in found if p.is_file() and not _MADE.intersection(p.parts) and p.suffix != ".pyc" and p.name not in _NOT_IT)


def unchanged(subjects: Iterable[Subject], root: Path = ROOT) -> None:
    """Returns when sources and files are still what ``subjects`` say, which were taken before something was measured.

    Raises Refused: what was measured is neither what stood there before nor what stands there now.
    """
    for subject in subjects:
        now: str | None = subject.sha256
        if subject.name in (AGENT, TOOLKIT):
            now = (agent_source(root) if subject.name == AGENT else toolkit_source(root)).sha256
        elif ":" not in subject.name:
            path = root / subject.name
            now = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        if now != subject.sha256:
            raise Refused(f"{subject.name} was changed while it was measured, so nothing was shown of it; measure again.")


class Current:
    """The digests of today, each computed when it is first asked for."""

    def __init__(self, env: Environment, release: Release | None, runbooks: Mapping[str, str], root: Path = ROOT) -> None:
        self.env = env
        self.release = release
        self._runbooks = runbooks
        self._root = root
        self._known: dict[str, str | None] = {}

    def digest(self, name: str) -> str | None:
        """SHA-256 of what is called ``name`` now; None when there is no such thing."""
        if name not in self._known:
            try:
                self._known[name] = self._computed(name)
            except (GoliveError, OSError):
                self._known[name] = None
        return self._known[name]

    def _computed(self, name: str) -> str | None:
        kind, _, rest = name.partition(":")
        by_kind: dict[str, Callable[[str], str | None]] = {
            AGENT: self._agent,
            TOOLKIT: lambda _: toolkit_source(self._root).sha256,
            "release": self._released,
            "runbook": self._runbooks.get,
            "host": self._host,
        }
        if kind in by_kind:
            return by_kind[kind](rest)
        path = self._root / name
        inside = not Path(name).is_absolute() and ".." not in Path(name).parts
        return hashlib.sha256(path.read_bytes()).hexdigest() if inside and path.is_file() else None

    def _agent(self, _: str) -> str | None:
        """That of the release where there is one: what was measured of other sources says nothing about it."""
        return agent_source(self._root).sha256 if self.release is None else self.release.manifest.source.digest

    def _released(self, version: str) -> str | None:
        return self.release.digest if self.release is not None and self.release.version == version else None

    def _host(self, name: str) -> str | None:
        from golive.fleet.inventory import read_fleet

        found = [host for host in read_fleet(self.env).hosts if host.name == name]
        return host_subject(name, found[0].host_key).sha256 if found else None
