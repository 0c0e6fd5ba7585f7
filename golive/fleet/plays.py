"""What a play is made of, as one digest: a host that bears it had this very playbook, with these roles, variables and certificates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from golive.environment import ROOT, Environment

__all__ = ["issued", "play_digest"]

_LEFT_OUT = {"molecule", "__pycache__", "meta"}


def play_digest(env: Environment, playbook: str, extravars: Mapping[str, Any]) -> str:
    """Hex digits over everything that decides what ``playbook`` does: its file, roles, modules, variables, inventory and certificates.

    A variable that names a file of this machine counts with the file's content.
    """
    digest = hashlib.sha256()
    for name, content in _parts(env, playbook, extravars):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:32]


def issued(env: Environment, host: str) -> dict[str, str]:
    """SHA-256 of each certificate that is meant for ``host``, by the name its file has there. Empty where none are kept here."""
    pki = env.state / "pki"
    found: dict[str, str] = {}
    for path in [pki / "ca.crt", *sorted((pki / host).glob("*.crt"))]:
        try:
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
        except (OSError, ValueError):
            continue
        found["gateway.pem" if path.name == "gateway.crt" else path.name] = certificate.fingerprint(hashes.SHA256()).hex()
    return found


def _parts(env: Environment, playbook: str, extravars: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    for path in [ROOT / "playbooks" / playbook, ROOT / "ansible.cfg", *_files(ROOT / "roles"), *_files(ROOT / "library")]:
        if path.is_file():
            yield str(path.relative_to(ROOT)), path.read_bytes()
    for name, value in sorted(extravars.items()):
        content = json.dumps(value, sort_keys=True, default=str).encode()
        if isinstance(value, str) and value.startswith("/") and (file := Path(value)).is_file():
            content = file.read_bytes()
        yield f"variable {name}", content
    for path in [env.state / "hosts.yml", *sorted((env.state / "pki").glob("**/*.crt"))]:
        if path.is_file():
            yield str(path.relative_to(env.state)), path.read_bytes()


def _files(directory: Path) -> list[Path]:
    found = (path for path in directory.glob("**/*") if path.is_file())
    return sorted(path for path in found if not _LEFT_OUT & set(path.relative_to(directory).parts))
