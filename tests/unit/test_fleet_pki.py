"""Certificates: right names and roles, made once, remade when damaged, and never a lab's outside the lab."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from golive import environment
from golive.environment import Environment
from golive.errors import Refused, Unprepared
from golive.fleet import pki
from golive.fleet.model import Fleet, Host

KEY = "ssh-ed25519 AAAA"
FLEET = Fleet(
    env="lab",
    hosts=(
        Host(name="a1", site="ams", address="10.0.0.11", role="agent", gateway=True, host_key=KEY),
        Host(name="a2", site="ams", address="10.0.0.12", role="agent", load=True, host_key=KEY),
        Host(name="ops", site="ams", address="10.0.0.10", role="ops", host_key=KEY),
    ),
)
ADDRESSES = {"ops": ["10.0.0.10", "10.0.1.10"]}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    return environment.load("lab")


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def subject(cert: x509.Certificate) -> tuple[str, str]:
    unit = cert.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)[0].value
    return str(unit), str(cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def test_every_host_has_the_certificates_of_its_parts(lab: Environment) -> None:
    assert pki.ensure(lab, FLEET, ADDRESSES) == 7
    root = lab.state / "pki"
    made = {str(path.relative_to(root)): subject(certificate(path)) for path in root.rglob("*.crt") if path.name != "ca.crt"}
    assert made == {
        "a1/agent.crt": ("agent", "a1"),
        "a1/gateway.crt": ("gateway", "gateway.a1"),
        "a2/agent.crt": ("agent", "a2"),
        "a2/load.crt": ("load", "load.a2"),
        "ops/monitor.crt": ("monitor", "monitor.ops"),
        "operator.crt": ("operator", "operator"),
    }


def test_certificates_chain_to_the_ca_and_serve_both_ways(lab: Environment) -> None:
    pki.ensure(lab, FLEET, ADDRESSES)
    ca = pki.check_ca(lab)
    cert = certificate(lab.state / "pki" / "ops" / "monitor.crt")
    cert.verify_directly_issued_by(ca)
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["ops"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.10", "10.0.1.10"]
    usage = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert isinstance(cert.public_key(), ec.EllipticCurvePublicKey) and cert.public_key().curve.name == "secp256r1"


def test_a_second_run_makes_nothing(lab: Environment) -> None:
    pki.ensure(lab, FLEET, ADDRESSES)
    before = {path: path.read_bytes() for path in (lab.state / "pki").rglob("*.*")}
    assert pki.ensure(lab, FLEET, ADDRESSES) == 0
    assert {path: path.read_bytes() for path in (lab.state / "pki").rglob("*.*")} == before


def test_keys_and_certificates_are_private(lab: Environment) -> None:
    pki.ensure(lab, FLEET, ADDRESSES)
    assert {path.stat().st_mode & 0o777 for path in (lab.state / "pki").rglob("*") if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (lab.state / "pki").rglob("*") if path.is_dir()} == {0o700}


@pytest.mark.parametrize("damage", ["missing", "truncated", "another's key", "address moved"])
def test_what_is_damaged_is_made_again(lab: Environment, damage: str) -> None:
    pki.ensure(lab, FLEET, ADDRESSES)
    base = lab.state / "pki" / "ops"
    addresses = ADDRESSES
    if damage == "missing":
        (base / "monitor.key").unlink()
    elif damage == "truncated":
        (base / "monitor.crt").write_text("-----BEGIN CERTIFICATE-----\n")
    elif damage == "another's key":
        (base / "monitor.key").write_bytes((lab.state / "pki" / "a1" / "agent.key").read_bytes())
    else:
        addresses = {"ops": ["10.9.9.9"]}
    assert pki.ensure(lab, FLEET, addresses) == 1
    assert pki.ensure(lab, FLEET, addresses) == 0


def test_a_new_ca_gives_everyone_new_certificates(lab: Environment) -> None:
    pki.ensure(lab, FLEET, ADDRESSES)
    (lab.state / "pki" / "ca.key").unlink()
    assert pki.ensure(lab, FLEET, ADDRESSES) == 7


def test_what_runs_out_within_a_month_is_named_and_renewed(lab: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as short:
        short.setattr(pki, "_LIFE", timedelta(days=20))  # the CA has twice that
        pki.ensure(lab, FLEET, ADDRESSES)
    before = certificate(lab.state / "pki" / "a1" / "agent.crt")
    named = {"operator.crt", "a1/agent.crt", "a1/gateway.crt", "a2/agent.crt", "a2/load.crt", "ops/monitor.crt"}
    assert set(pki.due(lab, FLEET, ADDRESSES)) == named
    assert pki.ensure(lab, FLEET, ADDRESSES) == 6 and pki.due(lab, FLEET, ADDRESSES) == []
    after = certificate(lab.state / "pki" / "a1" / "agent.crt")
    assert after.not_valid_after_utc - before.not_valid_after_utc > timedelta(days=300)
    assert (subject(after), after.issuer) == (subject(before), before.issuer) and after.public_key() != before.public_key()


def test_a_labs_ca_is_refused_elsewhere(lab: Environment) -> None:
    pki.ensure(lab, FLEET, ADDRESSES)
    prod = environment.load("prod")
    (prod.state / "pki").mkdir()
    (prod.state / "pki" / "ca.crt").write_bytes((lab.state / "pki" / "ca.crt").read_bytes())
    with pytest.raises(Refused, match="lab's CA"):
        pki.check_ca(prod)
    with pytest.raises(Refused, match="not a lab"):
        pki.ensure(prod, FLEET, ADDRESSES)


def test_an_owners_ca_is_taken_unless_it_ran_out(lab: Environment) -> None:
    prod = environment.load("prod")
    (prod.state / "pki").mkdir()
    path = prod.state / "pki" / "ca.crt"
    with pytest.raises(Unprepared, match="is missing"):
        pki.check_ca(prod)
    path.write_text("hello")
    with pytest.raises(Unprepared, match="not a PEM certificate"):
        pki.check_ca(prod)
    path.write_bytes(_ca(timedelta(days=1)))
    assert pki.check_ca(prod)
    path.write_bytes(_ca(-timedelta(days=1)))
    with pytest.raises(Unprepared, match="not now"):
        pki.check_ca(prod)


def _ca(left: timedelta) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example Ltd")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    cert = builder.not_valid_before(now - timedelta(days=9)).not_valid_after(now + left).sign(key, hashes.SHA256())
    return cert.public_bytes(serialization.Encoding.PEM)
