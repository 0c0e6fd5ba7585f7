"""Secrets of an environment: encrypted or refused, opened by a file or a command, and never where others could read them."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pytest

from golive import environment
from golive.environment import Environment, Settings
from golive.errors import BadInput, Unprepared
from golive.fleet.vault import check_vault, variable_files, vault_environment

SECRET = "a-password-of-the-vault"


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    directory = tmp_path / "inventories" / "shop"
    directory.mkdir(parents=True)
    return directory


def env(**more: str) -> Environment:
    settings = {"kind": "static", "policy": "prod", "terraform": "prod", "release": "1.0.0", "load_release": "1.0.0", "load_rate_per_s": 1}
    return Environment(name="shop", settings=Settings.model_validate({**settings, **more}), policy={})


def encrypted(directory: Path) -> Path:
    password = directory / "password"
    password.write_text(SECRET + "\n")
    password.chmod(0o600)
    vault = directory / "vault.yaml"
    vault.write_text("dwcp_monitoring_receiver: pager\nanother: x\n")
    program = Path(sysconfig.get_path("scripts")) / "ansible-vault"
    subprocess.run([str(program), "encrypt", "--vault-password-file", str(password), str(vault)], check=True, capture_output=True)
    return vault


def test_a_vault_opens_with_the_password_of_a_file_or_a_command(inventory: Path) -> None:
    vault = encrypted(inventory)
    (inventory / "vars.yaml").write_text("a: 1\n")
    by_file = env(vault_password_file="password")
    assert check_vault(by_file) == 2
    assert variable_files(by_file) == [inventory / "vars.yaml", vault]
    assert vault_environment(by_file) == {"ANSIBLE_VAULT_PASSWORD_FILE": str(inventory / "password")}
    by_command = env(vault_password_command=f"cat {inventory / 'password'}")
    assert check_vault(by_command) == 2
    assert SECRET not in "".join(vault_environment(by_command).values())


def test_a_vault_in_clear_is_refused_before_anything_reads_it(inventory: Path) -> None:
    (inventory / "vault.yaml").write_text("token: abc\n")
    with pytest.raises(BadInput, match=r"is not encrypted; run `ansible-vault encrypt"):
        variable_files(env(vault_password_file="password"))


def test_what_keeps_a_vault_shut_is_said(inventory: Path) -> None:
    encrypted(inventory)
    with pytest.raises(Unprepared, match="neither vault_password_file nor"):
        check_vault(env())
    with pytest.raises(Unprepared, match="is missing"):
        check_vault(env(vault_password_file="nowhere"))
    (inventory / "password").chmod(0o644)
    with pytest.raises(Unprepared, match="others may read it; chmod 600"):
        check_vault(env(vault_password_file="password"))
    (inventory / "other").write_text("wrong")
    (inventory / "other").chmod(0o600)
    with pytest.raises(BadInput, match="does not open with the password"):
        check_vault(env(vault_password_file="other"))
    with pytest.raises(Unprepared, match="could not be had from"):
        check_vault(env(vault_password_command="false"))


def test_without_a_vault_there_is_nothing_to_open(inventory: Path) -> None:
    assert check_vault(env()) == 0 and variable_files(env()) == [] and vault_environment(env()) == {}
