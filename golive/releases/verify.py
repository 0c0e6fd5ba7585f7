"""A release is what was signed, to the byte: signature first, then every file."""

from __future__ import annotations

from pathlib import Path

from golive.environment import Environment
from golive.errors import Refused
from golive.releases.model import MANIFEST, SIGNATURE, Release, digest_of, read_release
from golive.releases.signing import LAB_NAMESPACE, Trust, check, trust

__all__ = ["FILES", "check_files", "verify", "verify_for"]

FILES = "files"
"""Directory of a release that holds everything the manifest lists."""


def verify(release_dir: Path, allowed_signers: Path, namespace: str) -> Release:
    """The release in ``release_dir``, after its signature and every hash were checked.

    Raises Refused, naming the file, for a bad signature, a changed, missing or additional file, anything that is no plain file, a directory
    that does not bear the release's id, and for a planted defect under any namespace but the lab's.
    """
    manifest = release_dir / MANIFEST
    if manifest.is_symlink() or not manifest.is_file():
        raise Refused(f"{manifest} is missing or not a plain file.")
    check(manifest.read_bytes(), release_dir / SIGNATURE, Trust(allowed_signers, namespace))
    release = read_release(release_dir)
    if release.path.name != release.id:
        raise Refused(f"{release_dir} holds release {release.id}; the directory's name and its content disagree.")
    if release.defect is not None and namespace != LAB_NAMESPACE:
        raise Refused(f"Release {release.id} has a planted defect ({', '.join(release.defect)}); only a lab takes such a release.")
    check_files(release)
    return release


def verify_for(env: Environment, release_dir: Path) -> Release:
    """Like ``verify``, with what ``env`` trusts."""
    trusted = trust(env)
    release = verify(release_dir, trusted.allowed_signers, trusted.namespace)
    if release.defect is not None and not env.is_lab:
        raise Refused(f"Release {release.id} has a planted defect ({', '.join(release.defect)}); {env.name} is not a lab.")
    return release


def check_files(release: Release) -> None:
    """Raises Refused, naming the file, when the directory does not hold exactly what the manifest lists."""
    found: dict[str, Path] = {}
    for path in release.path.rglob("*"):
        name = path.relative_to(release.path).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise Refused(f"{path} is not a plain file; release {release.id} is refused.")
        if path.is_file():
            found[name] = path
    expected = {f"{FILES}/{name}": digest for name, digest in release.files.items()}
    for name in sorted(expected.keys() - found.keys()):
        raise Refused(f"{release.path / name} is missing; release {release.id} is refused.")
    for name in sorted(found.keys() - expected.keys() - {MANIFEST, SIGNATURE}):
        raise Refused(f"{release.path / name} is not in the manifest; release {release.id} is refused.")
    for name, digest in sorted(expected.items()):
        if digest_of(found[name]) != digest:
            raise Refused(f"{release.path / name} was changed after the release was signed; release {release.id} is refused.")
