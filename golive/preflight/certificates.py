"""The certificates that an environment's owner gives: there, of this CA, for this host and role, and good for long enough."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from golive.fleet.model import Host
from golive.fleet.pki import roles
from golive.preflight.finding import Finding, problem, warning

__all__ = ["judged_certificates", "judged_pair"]

_SOON = timedelta(days=30)
_RUN = timedelta(days=9)
"""A go-live at real pace takes eight days, and none of its certificates may end in it."""


def judged_certificates(directory: Path, host: Host, ca: x509.Certificate) -> Iterator[Finding]:
    """What is wrong with the certificates of ``host`` under ``directory/<host>``."""
    for role in roles(host):
        name = host.name if role == "agent" else f"{role}.{host.name}"
        yield from judged_pair(directory / host.name / role, role, name, [host.name, host.address], ca)


def judged_pair(base: Path, role: str, name: str, alternatives: list[str], ca: x509.Certificate) -> Iterator[Finding]:
    """What is wrong with ``base``.crt and ``base``.key as the certificate of ``name`` in ``role``."""
    shown = f"certificate {base.parent.name}/{base.name}.crt"
    try:
        certificate = x509.load_pem_x509_certificate(base.with_name(base.name + ".crt").read_bytes())
        key = serialization.load_pem_private_key(base.with_name(base.name + ".key").read_bytes(), password=None)
    except FileNotFoundError as error:
        yield problem("certificates", f"{error.filename} is missing; issue it with your CA (OU={role}, CN={name}).")
        return
    except (OSError, ValueError, TypeError) as error:
        yield problem("certificates", f"{shown} or its key cannot be read ({error}); both are PEM, the key without a password.")
        return
    if key.public_key().public_bytes(*_SPKI) != certificate.public_key().public_bytes(*_SPKI):
        yield problem("certificates", f"{shown} and its key do not belong together.")
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError, TypeError):
        yield problem("certificates", f"{shown} was not issued by the CA in pki/ca.crt.")
    given = {attribute.oid: str(attribute.value) for attribute in certificate.subject}
    if (given.get(NameOID.ORGANIZATIONAL_UNIT_NAME), given.get(NameOID.COMMON_NAME)) != (role, name):
        yield problem("certificates", f"{shown} says {certificate.subject.rfc4514_string()}; it has to say OU={role}, CN={name}.")
    if missing := [each for each in alternatives if each not in _alternatives(certificate)]:
        yield problem("certificates", f"{shown} does not name {' and '.join(missing)} among its alternative names.")
    now = datetime.now(UTC)
    ends = certificate.not_valid_after_utc
    if now < certificate.not_valid_before_utc:
        yield problem("certificates", f"{shown} is valid from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC only.")
    elif ends < now:
        yield problem("certificates", f"{shown} ended on {ends:%Y-%m-%d}; issue it anew.")
    elif ends < now + _RUN:
        yield problem("certificates", f"{shown} ends on {ends:%Y-%m-%d}, before a go-live that begins now; issue it anew.")
    elif ends < now + _SOON:
        yield warning("certificates", f"{shown} ends on {ends:%Y-%m-%d}, in {(ends - now).days} days.")


_SPKI = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _alternatives(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return set()
    return {str(entry.value) for entry in names}
