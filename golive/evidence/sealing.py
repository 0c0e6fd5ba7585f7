"""The key that signs evidence, and envelopes (DSSE, ed25519): whoever changes a byte of one, or makes one, is found."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner as CryptoSigner  # type: ignore[attr-defined]
from securesystemslib.signer import SSlibKey as SSlibKey  # type: ignore[attr-defined]

from golive.errors import Refused
from golive.evidence.statement import Statement, canonical

__all__ = ["Foreign", "Key", "PublicKey", "key_made", "opened", "public_key", "sealed"]

PublicKey = SSlibKey


class Foreign(Refused):
    """Signed by a key that nobody here trusts: it may be sound, and counts for nothing."""


_PAYLOAD = "application/vnd.in-toto+json"
_LARGEST = 16 * 1024 * 1024


@dataclass(frozen=True)
class Key:
    """Who signs here."""

    signer: CryptoSigner

    @property
    def id(self) -> str:
        return str(self.signer.public_key.keyid)

    @property
    def public(self) -> str:
        """The public half: 64 hex digits."""
        return str(self.signer.public_key.keyval["public"])


def key_made(path: Path) -> Key:
    """The key in ``path``; made there (0600) when there is none. Two who make it at once get the same. Raises Refused."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    try:
        private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        raise Refused(
            f"{path} is no key that can be read; evidence is signed with it. Move it away, and what it signed is not known here."
        ) from None
    if not isinstance(private, Ed25519PrivateKey):
        raise Refused(f"{path} is no ed25519 key; evidence is signed with one.")
    return Key(CryptoSigner(private))


def public_key(public: str) -> PublicKey:
    """The key whose public half is ``public`` (64 hex digits). Raises ValueError."""
    raw = bytes.fromhex(public)
    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(raw))


def sealed(statement: Statement, key: Key) -> bytes:
    """The envelope of ``statement``, signed by ``key``."""
    envelope = Envelope(statement.written(), _PAYLOAD, {})
    envelope.sign(key.signer)
    return canonical(envelope.to_dict())


def opened(content: bytes, keys: Sequence[PublicKey]) -> tuple[Statement, str]:
    """The statement in an envelope, and the id of the key that signed it.

    Raises Foreign for another's, Refused: it is no envelope, is written in another way than envelopes are, or was changed.
    """
    try:
        if len(content) > _LARGEST:
            raise ValueError
        written = json.loads(content)
        if canonical(written) != content or set(written) != {"payload", "payloadType", "signatures"}:
            raise ValueError
        envelope = Envelope.from_dict(written)
    except Exception:  # whatever the library makes of bytes that are none of ours
        raise Refused("it is no envelope as they are written here") from None
    if envelope.payload_type != _PAYLOAD or len(envelope.signatures) != 1:
        raise Refused("it is no statement that one key signed")
    if next(iter(envelope.signatures)) not in {key.keyid for key in keys}:
        raise Foreign("it is signed by a key that does not count here")
    try:
        by = envelope.verify(list(keys), 1)
    except VerificationError:
        raise Refused("its signature is not of what it says") from None
    statement = Statement.read(envelope.payload)
    if statement.written() != envelope.payload:
        raise Refused("its statement is not written as statements are")
    return statement, str(next(iter(by)))
