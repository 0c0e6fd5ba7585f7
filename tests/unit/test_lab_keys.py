"""Keys of the lab: usable by OpenSSH, made once, private, and never made for an environment of somebody's own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from golive import environment
from golive.environment import Environment
from golive.errors import Refused, Unprepared
from golive.lab import keys


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    return environment.load("lab")


def test_openssh_reads_the_keys_and_agrees_on_the_public_half(lab: Environment) -> None:
    directory = keys.ensure(lab)
    for name in ("operator", "release_signing"):
        shown = subprocess.run(["ssh-keygen", "-y", "-f", str(directory / name)], capture_output=True, text=True, check=True).stdout
        assert shown.split()[:2] == (directory / f"{name}.pub").read_text().split()[:2]


def test_the_signing_key_is_allowed_for_the_labs_namespace_only(lab: Environment, tmp_path: Path) -> None:
    directory = keys.ensure(lab)
    message = tmp_path / "message"
    message.write_bytes(b"release")

    def verified(namespace: str) -> bool:
        signature = message.with_suffix(".sig")
        signature.unlink(missing_ok=True)
        sign = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(directory / "release_signing"), "-n", namespace, str(message)]
        subprocess.run(sign, check=True, capture_output=True)
        signature = Path(f"{message}.sig")
        verify = ["ssh-keygen", "-Y", "verify", "-f", str(directory / "allowed_signers"), "-I", keys.LAB_PRINCIPAL, "-n", namespace]
        done = subprocess.run([*verify, "-s", str(signature)], stdin=message.open("rb"), capture_output=True, check=False)
        signature.unlink()
        return done.returncode == 0

    assert verified(keys.LAB_NAMESPACE)
    assert not verified("dwcp-release")


def test_a_second_run_changes_nothing(lab: Environment) -> None:
    directory = keys.ensure(lab)
    first = keys.host_key(directory, "h1")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.rglob("*") if path.is_file()}
    keys.ensure(lab)
    assert keys.host_key(directory, "h1") == first
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.rglob("*") if path.is_file()} == before


def test_private_halves_are_private(lab: Environment) -> None:
    directory = keys.ensure(lab)
    keys.host_key(directory, "h1")
    for path in (directory / "operator", directory / "release_signing", directory / "hosts" / "h1" / "ssh_host_ed25519_key"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700 and (directory / "hosts" / "h1").stat().st_mode & 0o777 == 0o700


def test_a_lost_public_half_comes_back(lab: Environment) -> None:
    directory = keys.ensure(lab)
    before = (directory / "operator.pub").read_text()
    (directory / "operator.pub").unlink()
    keys.ensure(lab)
    assert (directory / "operator.pub").read_text() == before


def test_each_host_has_a_key_of_its_own_and_lets_the_operator_in(lab: Environment) -> None:
    directory = keys.ensure(lab)
    assert keys.host_key(directory, "h1") != keys.host_key(directory, "h2")
    assert (directory / "hosts" / "h2" / "authorized_keys").read_text() == (directory / "operator.pub").read_text()


def test_no_keys_are_made_for_hosts_of_somebodys_own(lab: Environment) -> None:
    with pytest.raises(Refused, match="not a lab"):
        keys.ensure(environment.load("prod"))
    assert not (environment.load("prod").state / "keys").exists()


def test_a_host_key_needs_the_operators(tmp_path: Path) -> None:
    with pytest.raises(Unprepared, match=r"operator\.pub is missing"):
        keys.host_key(tmp_path, "h1")


def test_a_damaged_private_key_is_named_and_left_alone(lab: Environment) -> None:
    operator = keys.ensure(lab) / "operator"
    for content in (b"", b"not a key", operator.read_bytes()[:-60]):
        operator.write_bytes(content)
        with pytest.raises(Unprepared, match=f"{operator} is not a usable private key"):
            keys.ensure(lab)
        assert operator.read_bytes() == content
    operator.unlink()
    operator.mkdir()
    with pytest.raises(Unprepared, match=r"operator cannot be read \(Is a directory\)"):
        keys.ensure(lab)
