"""One signed tar that holds all of the controller: this checkout, every wheel by hash, releases, and what is asked for besides.

Unpacked, `./inv` there needs Python and nothing from any network. It checks every file against ``SHA256SUMS`` before it runs the first of
them; who signed those sums is checked with ``ssh-keygen -Y verify``, by whoever unpacks and by `./inv` (docs/production.md).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from golive import releases
from golive.environment import ROOT, Environment, state_root
from golive.errors import BadInput, Refused, Unprepared
from golive.lab import image
from golive.lab.commands import run
from golive.releases.model import digest_of
from golive.releases.signing import sign, signer, trust

__all__ = ["NAMESPACE", "Bundled", "bundle"]

NAMESPACE = "dwcp-bundle"
LOCKS = ("bootstrap.lock", "agent.lock", "toolkit.lock", "dev.lock")
_SUMS = "SHA256SUMS"
_EPOCH = 946684800
"""Times of everything in the tar: the same content gives the same bytes."""


@dataclass(frozen=True)
class Bundled:
    """What was packed."""

    path: Path
    digest: str
    files: int
    bytes: int
    releases: Sequence[str]
    python: str
    platform: str


def bundle(
    env: Environment,
    *,
    output: Path | None,
    versions: Sequence[str],
    key: Path | None,
    with_image: bool,
    with_debs: bool,
    tell: Callable[[str], None],
) -> Bundled:
    """Writes the tar and returns what it holds.

    Args:
        env: Decides who signs, and which releases may go in.
        output: Where to; by default ``.golive/bundles/`` with a name that says the commit.
        versions: Releases to take along, each verified first; every one that the environment names by default.
        key: The signing key; needed outside the lab.
        with_image: Whether the lab's host image goes along.
        with_debs: Whether the Debian packages of ``requirements/apt.txt`` do, with what they depend on.
        tell: Told what takes long, before it does.

    Raises:
        BadInput, Refused: a key or release cannot be used.
        Unprepared: a wheel, a package or the image cannot be had here.
    """
    secret = signer(env, key)
    chosen = [releases.verified(env, releases.newest(version).id) for version in versions or _named(env)]
    commit = _git("rev-parse", "HEAD").strip()
    name = f"dwcp-golive-{commit[:12]}"
    scratch_parent = env.state / "bundles"
    scratch_parent.mkdir(exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".partial-", dir=scratch_parent))
    try:
        top = scratch / name
        _checkout(top)
        tell("collecting the wheels of every requirement")
        _wheels(top / "wheels")
        for release in chosen:
            shutil.copytree(release.path, top / "releases" / release.id)
        if with_debs:
            tell("downloading Debian packages")
            _debs(top / "debs")
        if with_image:
            tell("saving the lab's host image")
            _image(top / "image", tell)
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        facts = {
            "schema": 1,
            "name": name,
            "commit": commit,
            "changed": bool(_git("status", "--porcelain").strip()),
            "python": python,
            "platform": sysconfig.get_platform(),
            "glibc": os.confstr("CS_GNU_LIBC_VERSION") or "",
            "releases": [release.id for release in chosen],
            "debs": with_debs,
            "image": image.reference() if with_image else None,
        }
        (top / "bundle.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        if not env.is_lab:
            shutil.copyfile(trust(env).allowed_signers, top / "release_signers")
        files = sorted(path for path in top.rglob("*") if path.is_file())
        sums = "".join(f"{digest_of(path)}  {path.relative_to(top).as_posix()}\n" for path in files)
        (top / _SUMS).write_text(sums, encoding="utf-8")
        (top / f"{_SUMS}.sig").write_bytes(sign(sums.encode(), secret, NAMESPACE))
        target = output or scratch_parent / f"{name}.tar"
        _packed(top, target)
        return Bundled(target, digest_of(target), len(files), target.stat().st_size, facts["releases"], python, str(facts["platform"]))  # type: ignore[arg-type]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _named(env: Environment) -> list[str]:
    settings = env.settings
    return list(dict.fromkeys(version for version in (settings.first_incumbent, settings.release, settings.load_release) if version))


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unprepared(f"{ROOT} is packed from its git checkout, and git says: {done.stderr.strip()}.")
    return done.stdout


def _checkout(top: Path) -> None:
    """Tracked files as they stand, and an inventory's own that git ignores nothing of; never what is ignored: keys and state stay here."""
    for name in filter(None, _git("ls-files", "--cached", "-z").split("\0")):
        source = ROOT / name
        if source.is_file() and not source.is_symlink():
            (top / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, top / name)


def _wheels(target: Path) -> None:
    """Everything that the lock files pin, each with a hash that they list; one source distribution may be among it."""
    locks = [ROOT / "requirements" / lock for lock in LOCKS]
    content = b"".join(lock.read_bytes() for lock in locks)
    version = f"{sys.version_info.major}{sys.version_info.minor}"
    kept = state_root() / "cache" / "bundle-wheels" / f"{version}-{hashlib.sha256(content).hexdigest()[:12]}"
    if not kept.is_dir():
        fresh = kept.with_name(f".{kept.name}.{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        words = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--require-hashes", "--no-deps"]
        asked = [word for lock in locks for word in ("--requirement", str(lock))]
        done = run([*words, "--dest", str(fresh), *asked], timeout_s=1800)
        if not done.ok:
            shutil.rmtree(fresh, ignore_errors=True)
            raise Unprepared(f"The wheels of requirements/*.lock cannot be had here: {done.complaint}.")
        if not kept.is_dir():
            fresh.replace(kept)
    allowed = set(re.findall(rb"--hash=sha256:([0-9a-f]{64})", content))
    for wheel in sorted(kept.iterdir()):
        if digest_of(wheel).encode() not in allowed:
            raise Refused(f"{wheel} was changed after it was downloaded; remove {kept} and run again.")
    shutil.copytree(kept, target)


def _debs(target: Path) -> None:
    target.mkdir()
    asked = [line for line in (ROOT / "requirements/apt.txt").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    listed = run(
        [
            "apt-cache",
            "depends",
            "--recurse",
            "--no-recommends",
            "--no-suggests",
            "--no-conflicts",
            "--no-breaks",
            "--no-replaces",
            "--no-enhances",
            *asked,
        ]
    )
    names = sorted({line.strip() for line in listed.stdout.splitlines() if line and not line.startswith((" ", "<")) and ":" not in line})
    done = run(["sh", "-c", 'cd "$1" && shift && apt-get download -q "$@"', "sh", str(target), *names], timeout_s=1800)
    if not listed.ok or not done.ok:
        raise Unprepared(f"Debian packages cannot be had here: {done.complaint or listed.complaint}.")


def _image(target: Path, tell: Callable[[str], None]) -> None:
    target.mkdir()
    reference = image.ensure(tell)
    done = run(["podman", "save", "--quiet", "--format", "docker-archive", "--output", str(target / "host.tar"), reference], timeout_s=600)
    if not done.ok:
        raise Unprepared(f"The lab's host image cannot be saved: {done.complaint}.")


def _packed(top: Path, target: Path) -> None:
    """Whole in its place or not there at all."""
    if not target.parent.is_dir():
        raise BadInput(f"--output {target}: there is no directory {target.parent}.")
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with tarfile.open(fresh, "w", format=tarfile.PAX_FORMAT) as tar:
            for path in [top, *sorted(top.rglob("*"))]:
                entry = tar.gettarinfo(str(path), arcname=path.relative_to(top.parent).as_posix())
                entry.uid = entry.gid = 0
                entry.uname = entry.gname = "root"
                entry.mtime = _EPOCH
                entry.mode = 0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644
                if path.is_dir():
                    tar.addfile(entry)
                else:
                    with path.open("rb") as content:
                        tar.addfile(entry, content)
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
