"""What a host says of the plays and certificates that came to it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from golive.onhost import play
from golive.onhost.main import main
from golive.onhost.places import Places

DIGEST = "d" * 32


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def told(places: Places, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    capsys.readouterr()
    assert main(["--root", str(places.root), *words]) == 0
    return json.loads(capsys.readouterr().out)


def trace(places: Places, state: str, *, token: int = 7, run: str = "run-1", name: str = "base") -> int:
    more = ("--digest", DIGEST, "--step", "deploy/base", "--token", str(token), "--run", run)
    return main(["--root", str(places.root), "play", state, name, *more])


def test_a_play_is_begun_then_done_and_the_trace_says_by_whom(places: Places) -> None:
    assert play.recorded(places) == {}
    for state, said in (("begin", "begun"), ("done", "done")):
        assert trace(places, state) == 0
        kept = play.recorded(places)["base"]
        assert (kept["state"], kept["digest"], kept["run"], kept["step"], kept["token"]) == (said, DIGEST, "run-1", "deploy/base", 7)
    assert trace(places, "begin", run="run-2", token=8) == 0
    assert play.recorded(places)["base"]["state"] == "begun"


def test_a_stale_controller_can_neither_begin_nor_end_a_play(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    assert trace(places, "begin", token=9, run="run-2") == 0
    for state in ("begin", "done"):
        assert trace(places, state) == 4
        assert "stale" in capsys.readouterr().err
    assert play.recorded(places)["base"]["run"] == "run-2"


def test_a_trace_that_cannot_be_read_is_not_taken_for_none(places: Places) -> None:
    places.plays.mkdir(parents=True)
    (places.plays / "base.json").write_text('{"state": "do')
    assert play.recorded(places) == {"base": None}


@pytest.mark.parametrize("name", ["../base", "Base", "a b", ""])
def test_only_a_plain_name_is_a_play(places: Places, name: str) -> None:
    assert trace(places, "begin", name=name) == 2


def _certificate(base: Path) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, base.name)]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    base.with_suffix(".crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    base.with_suffix(".key").write_bytes(private)
    return made.fingerprint(hashes.SHA256()).hex()


def test_certificates_are_told_by_digest_and_half_a_change_shows(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    places.tls.mkdir(parents=True)
    agent, load = _certificate(places.tls / "agent"), _certificate(places.tls / "load")
    (places.tls / "gateway.pem").write_bytes((places.tls / "load.crt").read_bytes() + (places.tls / "load.key").read_bytes())
    said = told(places, capsys, "certificates")["certificates"]
    whole = {"agent.crt": (agent, True), "load.crt": (load, True), "gateway.pem": (load, True)}
    assert {name: (entry["sha256"], entry["fits"]) for name, entry in said.items()} == whole
    (places.tls / "agent.key").write_bytes((places.tls / "load.key").read_bytes())
    (places.tls / "load.crt").write_text("torn")
    said = told(places, capsys, "certificates")["certificates"]
    assert (said["agent.crt"]["sha256"], said["agent.crt"]["fits"]) == (agent, False)
    assert (said["load.crt"]["sha256"], said["load.crt"]["fits"]) == (None, False)
