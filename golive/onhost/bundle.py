"""A release as it arrives: a tar whose signature is checked before the rest is looked at, and each file's hash while it is written."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from golive.onhost.failures import BadInput, Refused
from golive.onhost.fence import Lock
from golive.onhost.places import Places

__all__ = ["LAB_NAMESPACE", "Bundle", "opened"]

LAB_NAMESPACE = "dwcp-release-lab"
_MANIFEST, _SIGNATURE, _FILES = "manifest.json", "manifest.json.sig", "files/"
_MAX_TEXT = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Bundle:
    """An open bundle whose signature held."""

    tar: tarfile.TarFile
    manifest: dict[str, Any]
    content: bytes
    """``manifest.json``, byte by byte."""
    signature: bytes
    size: int
    """Bytes of the tar."""

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def id(self) -> str:
        return f"{self.manifest['version'].replace('+', '_')}-{self.digest[:12]}"

    def extract(self, target: Path) -> None:
        """``target`` holds the files of the manifest and nothing else. Raises Refused, naming the file, when one is not as signed."""
        expected: dict[str, str] = self.manifest["files"]
        seen = {_MANIFEST, _SIGNATURE}
        for member in self.tar.getmembers():
            if member.name in (_MANIFEST, _SIGNATURE):
                continue
            name = member.name[len(_FILES) :]
            if not member.name.startswith(_FILES) or not _NAME.fullmatch(name) or name not in expected:
                raise Refused(f"The bundle holds {member.name!r}, which is not in the manifest of {self.id}.")
            if not member.isreg() or member.name in seen:
                raise Refused(f"The bundle holds {member.name!r} twice, or not as a plain file.")
            seen.add(member.name)
            source = self.tar.extractfile(member)
            if source is None or _write(source, target / name, 0o755 if name == "uv" else 0o644) != expected[name]:
                raise Refused(f"{name} in the bundle of {self.id} was changed after the release was signed.")
        missing = sorted(name for name in expected if _FILES + name not in seen)
        if missing:
            raise Refused(f"{missing[0]} is missing in the bundle of {self.id}.")


@contextmanager
def opened(places: Places, lock: Lock, path: Path) -> Iterator[Bundle]:
    """The bundle at ``path``, its signature checked against this host's allowed signers and namespace.

    Raises BadInput when it is no bundle, Refused when nobody trusted signed it, or when it has a planted defect and this host is in no lab.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from None
    with file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                content, signature = _text(tar, _MANIFEST), _text(tar, _SIGNATURE)
                namespace = _check(places, lock, content, signature)
                manifest = _parse(content)
                if manifest["defect"] is not None and namespace != LAB_NAMESPACE:
                    raise Refused(f"Release {manifest['version']} has a planted defect; only a lab takes such a release.")
                yield Bundle(tar, manifest, content, signature, os.fstat(file.fileno()).st_size)
        except (tarfile.TarError, EOFError) as error:
            raise BadInput(f"{path} is not a whole bundle: {error}.") from None


def _text(tar: tarfile.TarFile, name: str) -> bytes:
    found = [m for m in tar.getmembers() if m.name == name]
    if len(found) != 1 or not found[0].isreg() or found[0].size > _MAX_TEXT:
        raise Refused(f"The bundle must hold exactly one plain {name} of at most {_MAX_TEXT} bytes.")
    source = tar.extractfile(found[0])
    if source is None:
        raise Refused(f"{name} in the bundle cannot be read.")
    return source.read()


def _check(places: Places, lock: Lock, content: bytes, signature: bytes) -> str:
    signers = places.allowed_signers
    try:
        namespace = places.signature_namespace.read_text(encoding="utf-8").strip()
        signers.read_bytes()
    except OSError as error:
        raise Refused(f"This host does not know whose releases to take ({error.filename}: {error.strerror}); run the base play.") from None
    with tempfile.TemporaryDirectory(prefix="dwcp-host-") as scratch:
        message, armored = Path(scratch, _MANIFEST), Path(scratch, _SIGNATURE)
        message.write_bytes(content)
        armored.write_bytes(signature)
        found = lock.run(["ssh-keygen", "-Y", "find-principals", "-s", str(armored), "-f", str(signers)])
        for principal in found.stdout.splitlines() if found.returncode == 0 else []:
            command = ["ssh-keygen", "-Y", "verify", "-f", str(signers), "-I", principal, "-n", namespace, "-s", str(armored)]
            with message.open("rb") as stdin:
                done = lock.run(command, stdin=stdin)
            if done.returncode == 0:
                return namespace
    raise Refused(f"The bundle's signature is not by anyone in {signers} for namespace {namespace}, or its manifest was changed.")


def _parse(content: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(content)
        files, version = manifest["files"], manifest["version"]
        sound = (
            manifest["schema"] == 1
            and manifest["name"] == "dwcp-agent"
            and manifest["kind"] in ("agent", "load")
            and isinstance(manifest["python"], str)
            and re.fullmatch(r"3\.[0-9]+", manifest["python"])
            and re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+(\+defect\.[a-z]+)?", version)
            and ("+" in version) == (manifest["defect"] is not None)
            and {"uv", "requirements.txt"} <= set(files)
            and all(_NAME.fullmatch(name) and _HEX.fullmatch(digest) for name, digest in files.items())
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise Refused("The bundle's manifest is signed, but not a manifest that this host understands; update dwcp-host by the base play.")
    return dict(manifest)


def _write(source: IO[bytes], path: Path, mode: int) -> str:
    """Writes and hashes in one pass; what was hashed is what lies there."""
    whole = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as out:
        while block := source.read(1 << 20):
            whole.update(block)
            out.write(block)
    return whole.hexdigest()
