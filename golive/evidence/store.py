"""Where evidence is kept: envelopes and outputs by the digest of their content, each chained to what the same key signed before."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from golive.errors import BadInput, Refused
from golive.evidence.sealing import Foreign, Key, PublicKey, opened, sealed
from golive.evidence.statement import Statement

__all__ = ["Contents", "Kept", "Store"]

_NAME = re.compile(r"[0-9a-f]{64}")
_LARGEST_OUTPUT = 64 * 1024 * 1024


@dataclass(frozen=True)
class Kept:
    """A statement whose signature, place in the chain and output were checked."""

    digest: str
    """SHA-256 of its envelope."""
    key: str
    statement: Statement


@dataclass
class Contents:
    """Everything in a store, and what is wrong with it."""

    kept: list[Kept] = field(default_factory=list)
    """In the order in which they were signed, key after key."""
    wrong: list[str] = field(default_factory=list)
    """One sentence a file that was changed, is missing, or does not belong; empty when everything is as it was signed."""
    foreign: int = 0
    """Statements by keys that do not count here."""
    heads: dict[str, str] = field(default_factory=dict)
    """The newest statement of each key."""


class Store:
    """``statements/DIGEST.json``, ``outputs/DIGEST`` and ``heads/KEYID`` below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def key_path(self) -> Path:
        return self.root / "key.pem"

    def added(self, key: Key, output: bytes, made: Callable[[int, str | None], Statement]) -> Kept:
        """Keeps ``output``, and the statement that ``made(seq, previous)`` returns. Written whole or not at all; one writer at a time.

        Raises BadInput when the disk takes no more, Refused when what the key signed last is not there: nothing is added behind a gap.
        """
        if len(output) > _LARGEST_OUTPUT:
            raise BadInput(f"The output of this check has {len(output)} bytes; evidence keeps up to {_LARGEST_OUTPUT}.")
        try:
            with self._locked():
                head = self._head(key.id)
                seq, previous = 0, None
                if head is not None:
                    try:
                        last, _ = opened((self.root / "statements" / f"{head}.json").read_bytes(), [key.signer.public_key])
                    except (OSError, Refused):
                        raise Refused(
                            f"The newest evidence of this controller ({head[:12]}) was removed or changed; see `./inv evidence.verify`."
                        ) from None
                    seq, previous = last.predicate.seq + 1, head
                statement = made(seq, previous)
                self._put(self.root / "outputs" / statement.predicate.output.sha256, output)
                envelope = sealed(statement, key)
                digest = hashlib.sha256(envelope).hexdigest()
                self._put(self.root / "pending" / key.id, envelope)
                self._settled(key.id)
        except OSError as error:
            raise BadInput(f"Evidence cannot be kept in {self.root}: {error.strerror}.") from None
        return Kept(digest, key.id, statement)

    def taken(self, other: Store, kept: Sequence[Kept]) -> int:
        """Adds what was checked in ``other``, chain after chain; returns how many are new here. A chain only ever grows.

        Raises Refused, with nothing added, when a chain of ``other`` is none that the chain here could have grown into.
        """
        with self._locked():
            chains: dict[str, list[Kept]] = defaultdict(list)
            for one in kept:
                chains[one.key].append(one)
            for key, chain in chains.items():
                head = self._head(key)
                if head is not None and head not in {one.digest for one in chain}:
                    raise Refused(f"What key {key[:12]} signed is further here than there, or another chain; nothing was taken.")
            fresh = [one for one in kept if not (self.root / "statements" / f"{one.digest}.json").exists()]
            for one in fresh:
                self._put(self.root / "outputs" / one.statement.predicate.output.sha256, other.output(one))
                name = f"{one.digest}.json"
                self._put(self.root / "statements" / name, (other.root / "statements" / name).read_bytes())
            for key, chain in chains.items():
                self._put(self.root / "heads" / key, f"{chain[-1].digest}\n".encode())
        return len(fresh)

    def output(self, kept: Kept) -> bytes:
        """What the check printed. Raises Refused when that is not there as it was."""
        wanted = kept.statement.predicate.output.sha256
        try:
            content = (self.root / "outputs" / wanted).read_bytes()
        except OSError:
            raise Refused(f"the output of {kept.digest[:12]} ({kept.statement.predicate.check}) is missing") from None
        if hashlib.sha256(content).hexdigest() != wanted:
            raise Refused(f"the output of {kept.digest[:12]} ({kept.statement.predicate.check}) was changed")
        return content

    def contents(self, keys: Sequence[PublicKey]) -> Contents:
        """Everything that one of ``keys`` signed, checked to the byte."""
        if not self.root.is_dir():
            return Contents()
        try:
            with self._locked():
                return self._read(keys)
        except OSError as error:
            raise BadInput(f"The evidence in {self.root} cannot be read: {error.strerror}.") from None

    def _read(self, keys: Sequence[PublicKey]) -> Contents:
        found = Contents()
        chains: dict[str, list[Kept]] = defaultdict(list)
        for path in sorted((self.root / "statements").glob("*")):
            if path.name.startswith("."):
                continue
            try:
                content = path.read_bytes()
                if not _NAME.fullmatch(path.stem) or path.suffix != ".json" or hashlib.sha256(content).hexdigest() != path.stem:
                    raise Refused("its content is not that of its name")
                statement, key = opened(content, keys)
            except Foreign:
                found.foreign += 1
                continue
            except (OSError, Refused) as error:
                found.wrong.append(f"statements/{path.name[:12]}: {getattr(error, 'message', None) or error}")
                continue
            chains[key].append(Kept(path.stem, key, statement))
        outputs = set()
        for key in sorted(chains):
            chain = sorted(chains[key], key=lambda kept: kept.statement.predicate.seq)
            found.wrong += _gaps(chain, self._head(key))
            found.kept += chain
            found.heads[key] = chain[-1].digest
            for kept in chain:
                outputs.add(kept.statement.predicate.output.sha256)
                try:
                    self.output(kept)
                except Refused as error:
                    found.wrong.append(error.message)
        for path in (self.root / "heads").glob("[!.]*"):
            if path.name not in chains and path.name in {key.keyid for key in keys}:
                found.wrong.append(f"everything that key {path.name[:12]} signed is missing")
        return found

    def _head(self, key: str) -> str | None:
        try:
            head = (self.root / "heads" / key).read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return None
        except ValueError:
            return "?"
        return head if _NAME.fullmatch(head) else "?"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        for name in ("statements", "outputs", "heads", "pending"):
            (self.root / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.root / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            for left in (self.root / "pending").glob("[!.]*"):
                self._settled(left.name)
            yield

    def _settled(self, key: str) -> None:
        """What ``key`` signed last is a statement, and the head of its chain. Whoever comes after one who died in here does it again."""
        pending = self.root / "pending" / key
        envelope = pending.read_bytes()
        digest = hashlib.sha256(envelope).hexdigest()
        self._put(self.root / "statements" / f"{digest}.json", envelope)
        self._put(self.root / "heads" / key, f"{digest}\n".encode())
        pending.unlink()

    @staticmethod
    def _put(path: Path, content: bytes) -> None:
        """``path`` holds ``content``, on the disk; never a part of it."""
        fresh = path.with_name(f".{path.name}.new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _gaps(chain: Sequence[Kept], head: str | None) -> list[str]:
    """What is missing from a chain that should be whole from its first statement to ``head``."""
    wrong = []
    previous: str | None = None
    for number, kept in enumerate(chain):
        at = kept.statement.predicate
        if at.seq != number or at.previous != previous:
            wrong.append(f"before statement {kept.digest[:12]} ({at.check}), what the same key signed is missing or another")
            break
        previous = kept.digest
    last = chain[-1].digest
    if head is None:
        wrong.append(f"the head of key {chain[0].key[:12]} is missing, so nobody knows whether its newest statements are there")
    elif head in {kept.digest for kept in chain} and head != last:
        wrong.append(f"statements of key {chain[0].key[:12]} go on behind its head: `evidence.take` was ended in the middle; do it again")
    elif head != last and not wrong:
        wrong.append(f"the newest statement of key {chain[0].key[:12]} ({head[:12]}) is missing")
    return wrong
