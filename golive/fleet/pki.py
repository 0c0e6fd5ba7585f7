"""The environment's certificates: ECDSA P-256, one CA, one certificate per role and host. In the lab they are made; elsewhere given."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from golive.environment import Environment
from golive.errors import Refused, Unprepared
from golive.fleet.model import Fleet, Host

__all__ = ["LAB_ORGANISATION", "check_ca", "due", "ensure", "roles"]

LAB_ORGANISATION = "DWCP lab, not for production"

_LIFE = timedelta(days=365)
_RENEW = timedelta(days=30)
_SKEW = timedelta(hours=1)
"""Certificates are valid from this long ago, so that a host whose clock is behind takes them."""


def roles(host: Host) -> list[str]:
    """Which certificates ``host`` has: ``agent`` on agent hosts, ``gateway`` and ``load`` where those run, ``monitor`` on ops."""
    held = [("agent", host.role == "agent"), ("gateway", host.gateway), ("load", host.load), ("monitor", host.role == "ops")]
    return [role for role, has in held if has]


def check_ca(env: Environment) -> x509.Certificate:
    """The environment's CA certificate.

    Raises:
        Unprepared: it is missing, unreadable or not valid now.
        Refused: it is a lab's, and this is not a lab (or the other way round).
    """
    path = env.state / "pki" / "ca.crt"
    how = f"run `./inv provision --env {env.name}`" if env.is_lab else "put your CA's certificate there"
    try:
        ca = x509.load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError:
        raise Unprepared(f"{path} is missing; {how}.") from None
    except ValueError:
        raise Unprepared(f"{path} is not a PEM certificate; {how}.") from None
    from_lab = any(attribute.value == LAB_ORGANISATION for attribute in ca.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    if from_lab and not env.is_lab:
        raise Refused(f"{path} is a lab's CA, made by the toolkit; environment {env.name} takes only a CA of its owner's.")
    if env.is_lab and not from_lab:
        raise Refused(f"{path} is not a lab's CA, and the lab takes no other. Move it away and provision again.")
    now = datetime.now(UTC)
    if not ca.not_valid_before_utc <= now <= ca.not_valid_after_utc:
        raise Unprepared(f"{path} is valid from {ca.not_valid_before_utc:%Y-%m-%d} to {ca.not_valid_after_utc:%Y-%m-%d}, not now; {how}.")
    return ca


def ensure(env: Environment, fleet: Fleet, addresses: Mapping[str, Sequence[str]]) -> int:
    """Every certificate of the lab's fleet is there and good for 30 days more; returns how many were made.

    Args:
        env: A lab; Refused for every other kind, whose certificates are given.
        fleet: Hosts to have certificates.
        addresses: All addresses of each host, by name; they go into its certificates.
    """
    if not env.is_lab:
        raise Refused(f"Environment {env.name} is not a lab: its certificates are given by its owner, the toolkit makes none.")
    directory = env.state / "pki"
    directory.mkdir(mode=0o700, exist_ok=True)
    key, ca, made = _authority(directory)
    for host in fleet.hosts:
        (directory / host.name).mkdir(mode=0o700, exist_ok=True)
        for role in roles(host):
            name = host.name if role == "agent" else f"{role}.{host.name}"
            names = [host.name, *addresses.get(host.name, [host.address])]
            made += _issue(directory / host.name / role, role, name, names, key, ca)
    made += _issue(directory / "operator", "operator", "operator", [], key, ca)
    return made


def due(env: Environment, fleet: Fleet, addresses: Mapping[str, Sequence[str]]) -> list[str]:
    """What :func:`ensure` would make, by path: certificates that are missing, run out, were issued by another CA, or lie there without
    their own key, as a change that was cut off leaves them. Changes nothing."""
    directory = env.state / "pki"
    known = _load(directory / "ca")
    if known is None or known[1].not_valid_after_utc - datetime.now(UTC) <= _RENEW:
        return ["ca.crt, and with it every certificate"]
    wanted = [(directory / "operator", "operator", "operator", list[str]())]
    for host in fleet.hosts:
        names = [host.name, *addresses.get(host.name, [host.address])]
        for role in roles(host):
            wanted.append((directory / host.name / role, role, host.name if role == "agent" else f"{role}.{host.name}", names))
    found = []
    for base, role, name, names in wanted:
        there = _load(base)
        if there is None or not _good(there[1], *_identity(role, name, names), known[1]):
            found.append(f"{base.relative_to(directory)}.crt")
    return found


def _identity(role: str, name: str, names: Sequence[str]) -> tuple[x509.Name, x509.SubjectAlternativeName]:
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role), x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return subject, x509.SubjectAlternativeName([_general_name(entry) for entry in names] or [x509.DNSName(name)])


def _authority(directory: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate, int]:
    known = _load(directory / "ca")
    if known is not None and known[1].not_valid_after_utc - datetime.now(UTC) > _RENEW:
        return *known, 0
    key = ec.generate_private_key(ec.SECP256R1())
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, LAB_ORGANISATION)
    # A name of its own, so that a certificate of an earlier lab's CA is never looked up under this one's.
    name = x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, f"DWCP lab CA {os.urandom(4).hex()}")])
    usage = _usage(key_cert_sign=True, crl_sign=True)
    ca = (
        _builder(name, name, key.public_key(), 2 * _LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _store(directory / "ca", key, ca)
    return key, ca, 1


def _issue(base: Path, role: str, name: str, names: Sequence[str], ca_key: ec.EllipticCurvePrivateKey, ca: x509.Certificate) -> int:
    """``base``.crt and ``base``.key are a certificate for ``name`` in ``role``; returns whether they had to be made."""
    subject, alternatives = _identity(role, name, names)
    known = _load(base)
    if known is not None and _good(known[1], subject, alternatives, ca):
        return 0
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(subject, ca.subject, key.public_key(), _LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(alternatives, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    _store(base, key, certificate)
    return 1


def _good(certificate: x509.Certificate, subject: x509.Name, alternatives: x509.SubjectAlternativeName, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    now = datetime.now(UTC)
    fresh = certificate.not_valid_before_utc <= now and certificate.not_valid_after_utc - now > _RENEW
    return fresh and certificate.subject == subject and names == alternatives


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(entry: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(entry))
    except ValueError:
        return x509.DNSName(entry)


def _load(base: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate] | None:
    """Key and certificate that belong together, or None: missing, damaged, or halves of two."""
    try:
        key = serialization.load_pem_private_key(base.with_name(base.name + ".key").read_bytes(), password=None)
        certificate = x509.load_pem_x509_certificate(base.with_name(base.name + ".crt").read_bytes())
    except (FileNotFoundError, ValueError, TypeError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    return key, certificate


def _store(base: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for suffix, data in ((".key", private), (".crt", certificate.public_bytes(serialization.Encoding.PEM))):
        path = base.with_name(base.name + suffix)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
