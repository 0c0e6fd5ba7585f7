"""The store: ``<root>/<OU>.<CN>/<name>``, every path walked one directory at a time without following links."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dwcp_agent.encoding.manifest import Manifest
from dwcp_agent.errors import BadInput, Corrupt, Refused
from dwcp_agent.security.identity import Identity
from dwcp_agent.store.manifests import kept_id, load_manifest, read_manifest, save_manifest
from dwcp_agent.store.names import parts_of
from dwcp_agent.store.partial import Partial, partial_key, purge

__all__ = ["Incoming", "Receipt", "Spoil", "Store", "refusal"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_BACK_BYTES = 1 << 20
PARTIAL_KEEP_S = 24 * 3600.0
MAX_PARTIALS = 16
"""How long, and for how many transfers, content waits for a sender that went away."""

Spoil = Callable[[int, int, int, int], None]
"""Called with a descriptor, offset and length of what was written, and the content's size, before it is verified; by a defective build."""


@dataclass(frozen=True)
class Receipt:
    """What was committed: the hash of the file as read back from it, and its size."""

    sha256: str
    bytes: int


class Store:
    """Content below ``root``. Releases in different slots share it; partial content lies in a directory of the slot's own."""

    def __init__(self, root: Path, slot: str, spoil: Spoil | None = None) -> None:
        self.spoil = spoil
        try:
            self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise BadInput(f"store: {root}: {error.strerror}.") from None
        partial = f".partial-{slot}"
        try:
            self._partial = make_directory(self._root, partial)
            purge(self._partial, PARTIAL_KEEP_S, MAX_PARTIALS)
            self._manifests = make_directory(self._root, ".manifests")
        except OSError as error:
            os.close(self._root)
            raise BadInput(f"store: {root / partial}: {error.strerror}.") from None

    def close(self) -> None:
        """Closes the store; nothing may be in flight."""
        os.close(self._manifests)
        os.close(self._partial)
        os.close(self._root)

    def begin(self, owner: Identity, name: str) -> Incoming:
        """Room for content that will be ``name`` of ``owner`` once it is committed. Raises BadInput for a name that cannot be."""
        parts = parts_of(name)
        temporary = secrets.token_hex(16)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(temporary, flags, 0o640, dir_fd=self._partial)
        except OSError as error:
            raise refusal(error) from None
        return Incoming(self, owner, parts, temporary, descriptor)

    def read(self, owner: Identity, name: str, limit: int) -> bytes | None:
        """Content of ``name``, None when there is none. Raises Refused when it is larger than ``limit`` or not a file."""
        descriptor = self.open(owner, name)
        if descriptor is None:
            return None
        try:
            size = os.fstat(descriptor).st_size
            if size > limit:
                raise Refused(f"The object has {size} bytes, more than {limit}.", code="too-large", status=413)
            with os.fdopen(os.dup(descriptor), "rb") as file:
                return file.read(limit)
        finally:
            os.close(descriptor)

    def open(self, owner: Identity, name: str) -> int | None:
        """A descriptor of ``name``, for reading; None when there is none. Raises Refused when it is not a file."""
        parts = parts_of(name)
        try:
            with self._walk(owner, parts[:-1], make=False) as directory:
                descriptor = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
                raise Refused("The name does not lead to a file.", code="not-a-file", status=409) from None
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Refused("The name does not lead to a file.", code="not-a-file", status=409)
        return descriptor

    def resume(self, owner: Identity, token: str, name: str, size: int) -> Partial:
        """What is there of the transfer that ``owner`` calls ``token``. Raises BadInput for a name that cannot be, Refused."""
        parts_of(name)
        try:
            return Partial.opened(self._partial, partial_key(owner, token), name, size)
        except OSError as error:
            raise refusal(error) from None

    def has_begun(self, owner: Identity, token: str) -> bool:
        """True when something is there of the transfer that ``owner`` calls ``token``."""
        with contextlib.suppress(FileNotFoundError):
            os.stat(f"{partial_key(owner, token)}.content", dir_fd=self._partial, follow_symlinks=False)
            return True
        return False

    def purge_partials(self, busy: frozenset[str]) -> int:
        """Partial content whose sender did not come back goes, unless its key is in ``busy``; says of how many files."""
        return purge(self._partial, PARTIAL_KEEP_S, MAX_PARTIALS, busy)

    def commit(self, owner: Identity, name: str, partial: Partial, found: Manifest, wanted: str) -> Manifest:
        """Verifies complete partial content, makes it durable and gives it its name, in this order.

        ``found`` is the manifest of the file as read back from it. Raises Corrupt when its id is not ``wanted``: nothing is kept then;
        Refused when the name is taken by a directory or the disk is full.
        """
        parts = parts_of(name)
        try:
            if found.id != wanted:
                partial.remove()
                raise Corrupt(f"The content has the id {found.id}, not {wanted} as announced.")
            os.fsync(partial.content)
            with self._walk(owner, parts[:-1], make=True) as directory:
                os.rename(f"{partial.key}.content", parts[-1], src_dir_fd=self._partial, dst_dir_fd=directory)
                os.fsync(directory)
            kept = save_manifest(self._manifests, f"{owner.directory}/{name}", partial.content, found)
            partial.remove()
            if found.rounded is not None and not kept:
                what = "The content has its name, but that its numbers are rounded could not be noted: the disk is full"
                raise Refused(f"{what}; make room and send it again.", code="not-noted", status=507)
            return found
        except OSError as error:
            raise refusal(error) from None

    def manifest(self, owner: Identity, name: str, *, compute: bool) -> tuple[int, Manifest] | None:
        """``name`` for reading, and its manifest: the one written at its commit, if nobody changed it since.

        Without one it is computed with ``compute`` (a second for some gigabytes) and otherwise, like for no such name, None is returned.
        The descriptor is the caller's to close. Raises Refused when it is not a file.
        """
        descriptor = self.open(owner, name)
        if descriptor is None:
            return None
        try:
            found = load_manifest(self._manifests, f"{owner.directory}/{name}", descriptor)
            if found is None and compute:
                found = read_manifest(descriptor)
                save_manifest(self._manifests, f"{owner.directory}/{name}", descriptor, found)
        except BaseException:
            os.close(descriptor)
            raise
        if found is None:
            os.close(descriptor)
            return None
        return descriptor, found

    def known(self, owner: Identity, name: str) -> dict[str, Any] | None:
        """``size`` and ``id`` of ``name``, the id None unless it is known without reading the content; None when there is no such content.

        Raises Refused when it is not a file, BadInput for a name that cannot be.
        """
        descriptor = self.open(owner, name)
        if descriptor is None:
            return None
        try:
            return {
                "size": os.fstat(descriptor).st_size,
                "id": kept_id(self._manifests, f"{owner.directory}/{name}", descriptor),
            }
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _walk(self, owner: Identity, parts: tuple[str, ...], *, make: bool) -> Iterator[int]:
        current = os.dup(self._root)
        try:
            for part in (owner.directory, *parts):
                below = make_directory(current, part) if make else os.open(part, _DIRECTORY, dir_fd=current)
                os.close(current)
                current = below
            yield current
        finally:
            os.close(current)


class Incoming:
    """Content that is arriving. Ends with :meth:`commit` or :meth:`discard`, each of which leaves no temporary file."""

    def __init__(self, store: Store, owner: Identity, parts: tuple[str, ...], temporary: str, descriptor: int) -> None:
        self._store = store
        self._owner = owner
        self._parts = parts
        self._temporary = temporary
        self._descriptor = descriptor
        self._open = True

    def reserve(self, size: int) -> None:
        """Sets the final size; what is never written reads as zeros. Raises Refused."""
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            raise refusal(error) from None

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Writes all of ``data`` at ``offset``; safe from several threads. Raises Refused when the disk is full or fails."""
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._descriptor, view, offset)
                offset += written
                view = view[written:]
        except OSError as error:
            raise refusal(error) from None

    def commit(self, sha256: str) -> Receipt:
        """Makes the content durable, verifies it and gives it its name, in this order.

        The hash is computed from the file as read back after fsync. Raises Corrupt when it is not ``sha256``, Refused when the name is
        taken by a directory or the disk is full; nothing is left then.
        """
        try:
            size = os.fstat(self._descriptor).st_size
            if self._store.spoil is not None:
                self._store.spoil(self._descriptor, 0, size, size)
            os.fsync(self._descriptor)
            found = self._read_back()
            if found != sha256:
                raise Corrupt(f"The content has SHA-256 {found}, not {sha256} as announced.")
            with self._store._walk(self._owner, self._parts[:-1], make=True) as directory:
                os.rename(self._temporary, self._parts[-1], src_dir_fd=self._store._partial, dst_dir_fd=directory)
                self._close()
                os.fsync(directory)
            return Receipt(found, size)
        except OSError as error:
            raise refusal(error) from None
        finally:
            self.discard()

    def discard(self) -> None:
        """Removes what arrived; does nothing after a commit."""
        if self._open:
            self._close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=self._store._partial)

    def _close(self) -> None:
        self._open = False
        os.close(self._descriptor)

    def _read_back(self) -> str:
        digest = hashlib.sha256()
        offset = 0
        while block := os.pread(self._descriptor, _READ_BACK_BYTES, offset):
            digest.update(block)
            offset += len(block)
        return digest.hexdigest()


def refusal(error: OSError) -> Refused:
    """What a caller is told about a failing store."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Refused("The store's disk is full.", code="disk-full", status=507)
    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST):
        return Refused("The name is taken by a directory, or leads through something that is none.", code="name-taken", status=409)
    return Refused(f"The store cannot be written: {error.strerror}.", code="io", status=500)


def make_directory(parent: int, name: str) -> int:
    """Opens directory ``name`` below ``parent``; when it has to be made, the entry is durable before this returns."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o750, dir_fd=parent)
            os.fsync(parent)
        return os.open(name, _DIRECTORY, dir_fd=parent)
