"""The agent's sources: from the worktree, or from a recorded commit or tree; and the digest that tells them apart."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from golive.errors import BadInput, Refused, Unprepared
from golive.releases.catalogue import Entry

__all__ = ["AGENT", "Exported", "export", "git", "source_digest", "worktree_digest"]

AGENT = "dwcp_agent"
_NOT_SOURCE = ("tests",)
"""Directories below the agent's that no release is made of."""


@dataclass(frozen=True)
class Exported:
    """Sources laid out in ``path``, and what the manifest says of them."""

    path: Path
    commit: str | None
    tree: str | None
    digest: str


def export(root: Path, entry: Entry, version: str, target: Path) -> Exported:
    """Lays the sources of ``entry`` out in ``target``. Raises Refused when a frozen release's sources are not what was recorded."""
    if entry.source == "worktree":
        commit, tree = _copy_worktree(root, target)
        return Exported(target, commit, tree, source_digest(target))
    return _export_frozen(root, entry, version, target)


def source_digest(path: Path) -> str:
    """SHA-256 over every file's path, executable bit and content, in the order of paths. Raises BadInput for a symlink."""
    whole = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_symlink() or not p.is_dir()):
        name = file.relative_to(path).as_posix()
        if file.is_symlink() or not file.is_file():
            raise BadInput(f"{AGENT}/{name} is not a plain file; a release is made of plain files alone.")
        executable = "x" if file.stat().st_mode & 0o100 else "-"
        whole.update(f"{executable} {hashlib.sha256(file.read_bytes()).hexdigest()} {name}\n".encode())
    return whole.hexdigest()


def worktree_digest(root: Path) -> str:
    """The digest that a release would have that is built from the worktree now."""
    with tempfile.TemporaryDirectory(prefix="golive-source-") as laid_out:
        _copy_worktree(root, Path(laid_out))
        return source_digest(Path(laid_out))


def git(root: Path, *arguments: str) -> bytes:
    """Output of ``git ARGUMENTS`` in ``root``. Raises Unprepared without git or outside a repository, Refused when git says no."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except FileNotFoundError:
        raise Unprepared("git is not installed; releases are made from a git checkout.") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise Refused(f"git {arguments[0]} failed in {root}: {said[-1] if said else done.returncode}.")
    return done.stdout


def _copy_worktree(root: Path, target: Path) -> tuple[str | None, str | None]:
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", AGENT).decode().split("\0")
    names = sorted({name for name in listed if name and not _left_out(name) and ((root / name).is_file() or (root / name).is_symlink())})
    if not names:
        raise BadInput(f"{root / AGENT} holds no sources.")
    for name in names:
        source = root / name
        if source.is_symlink():
            raise BadInput(f"{name} is not a plain file; a release is made of plain files alone.")
        _put(target, PurePosixPath(name).relative_to(AGENT), source.read_bytes(), executable=bool(source.stat().st_mode & 0o100))
    if git(root, "status", "--porcelain", "--untracked-files=all", "--", AGENT).strip():
        return None, None
    commit = git(root, "log", "-1", "--format=%H", "--", AGENT).decode().strip()
    return commit, git(root, "rev-parse", f"HEAD:{AGENT}").decode().strip()


def _export_frozen(root: Path, entry: Entry, version: str, target: Path) -> Exported:
    tried: list[str] = []
    for what, arguments in (
        (f"commit {entry.commit}", (f"{entry.commit}:{AGENT}",)),
        (f"tree {entry.tree}", (str(entry.tree),)),
    ):
        try:
            archive = git(root, "archive", "--format=tar", *arguments)
        except Refused:
            tried.append(f"{what} is not in this repository")
            continue
        _unpack(archive, target)
        digest = source_digest(target)
        if digest != entry.source_digest:
            raise Refused(
                f"Release {version} is frozen at source digest {str(entry.source_digest)[:12]}, but {what} has {digest[:12]}; "
                "releases.yaml or the repository's history was altered."
            )
        return Exported(target, entry.commit, entry.tree, digest)
    # A history that was rewritten may lack both; sources that have not changed since are the same release all the same.
    _copy_worktree(root, target)
    if source_digest(target) == entry.source_digest:
        return Exported(target, entry.commit, entry.tree, str(entry.source_digest))
    shutil.rmtree(target)
    raise Refused(
        f"Release {version} is frozen, and {' and '.join(tried)}; fetch the whole history (git fetch --unshallow --tags), then run again."
    )


def _unpack(archive: bytes, target: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            if member.isdir() or _left_out(f"{AGENT}/{member.name}"):
                continue
            content = tar.extractfile(member) if member.isreg() else None
            if content is None:
                raise BadInput(f"{AGENT}/{member.name} is not a plain file; a release is made of plain files alone.")
            _put(target, PurePosixPath(member.name), content.read(), executable=bool(member.mode & 0o100))


def _put(target: Path, name: PurePosixPath, content: bytes, *, executable: bool) -> None:
    if name.is_absolute() or ".." in name.parts:
        raise BadInput(f"{name} does not lie below {AGENT}.")
    path = target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755 if executable else 0o644)


def _left_out(name: str) -> bool:
    parts: Sequence[str] = PurePosixPath(name).parts
    return len(parts) > 1 and parts[1] in _NOT_SOURCE
