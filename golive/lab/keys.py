"""SSH keys of the lab, made once and kept under its state: the operator's, each host's, and the one that signs the lab's releases."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from golive.errors import Refused, Unprepared

if TYPE_CHECKING:
    # The provider starts several times a plan and needs none of it: pydantic alone would double its start.
    from golive.environment import Environment

__all__ = ["LAB_NAMESPACE", "LAB_PRINCIPAL", "ensure", "host_directory", "host_key", "key_pair"]

LAB_PRINCIPAL = "lab-release@dwcp"
LAB_NAMESPACE = "dwcp-release-lab"


def ensure(env: Environment) -> Path:
    """The lab's key directory, holding ``operator``, ``release_signing`` and ``allowed_signers``. Raises Refused outside the lab."""
    if not env.is_lab:
        raise Refused(f"Environment {env.name} is not a lab: its keys are given by its owner, the toolkit makes none.")
    directory = env.state / "keys"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key_pair(directory / "operator", f"operator@dwcp-{env.name}")
    signing = key_pair(directory / "release_signing", LAB_PRINCIPAL)
    algorithm, body = signing.split()[:2]
    _write(directory / "allowed_signers", f'{LAB_PRINCIPAL} namespaces="{LAB_NAMESPACE}" {algorithm} {body}\n', 0o644)
    return directory


def host_directory(keys: Path, name: str) -> Path:
    """Where the keys of host ``name`` are; mounted read-only into it."""
    return keys / "hosts" / name


def host_key(keys: Path, name: str) -> str:
    """The public host key of ``name`` (``ssh-ed25519 AAAA...``), made when there is none, with the operator's key allowed to log in.

    Raises:
        Unprepared: the operator's own key is missing.
    """
    directory = host_directory(keys, name)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        operator = (keys / "operator.pub").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Unprepared(f"{keys / 'operator.pub'} is missing; `./inv provision` makes it.") from None
    _write(directory / "authorized_keys", operator, 0o600)
    return " ".join(key_pair(directory / "ssh_host_ed25519_key", name).split()[:2])


def key_pair(path: Path, comment: str) -> str:
    """The public half of the ed25519 key at ``path``, which is made (0600) when missing; a lost ``.pub`` is written again.

    Raises:
        Unprepared: the file is no private key that can be used, or cannot be read.
    """
    if path.exists():
        try:
            private = serialization.load_ssh_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise Unprepared(
                f"The private key {path} cannot be read ({error.strerror}); make it readable and run the command again."
            ) from None
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise Unprepared(
                f"{path} is not a usable private key without a password; put it back from a copy, or remove it so that a new one is made."
            ) from None
    else:
        private = Ed25519PrivateKey.generate()
        text = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()).decode()
        _write(path, text, 0o600)
    public = private.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    line = f"{public} {comment}\n"
    _write(path.with_name(path.name + ".pub"), line, 0o644)
    return line


def _write(path: Path, text: str, mode: int) -> None:
    """Replaces ``path`` in one step, unless it holds ``text`` already: a half-written key is never seen."""
    try:
        if path.read_text(encoding="utf-8") == text and path.stat().st_mode & 0o777 == mode:
            return
    except FileNotFoundError:
        pass
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    partial.chmod(mode)
    partial.replace(path)
