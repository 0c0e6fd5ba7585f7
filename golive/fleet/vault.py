"""Variables of an environment's plays: ``vars.yaml`` in clear, ``vault.yaml`` encrypted by Ansible's vault.

Both stand in ``inventories/<env>/``. Ansible reads them itself: no secret is on a command line, in the journal, or in what a play leaves.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import yaml

from golive.environment import Environment
from golive.errors import BadInput, Unprepared

__all__ = ["check_vault", "variable_files", "vault_environment"]

_HEADER = b"$ANSIBLE_VAULT;"


def variable_files(env: Environment) -> list[Path]:
    """The files that exist, in the order in which Ansible reads them. Raises BadInput for a vault that lies there in clear."""
    found = [path for name in ("vars.yaml", "vault.yaml") if (path := env.inventory_dir / name).is_file()]
    for path in found:
        if path.name == "vault.yaml" and not path.read_bytes().startswith(_HEADER):
            raise BadInput(f"{path} is not encrypted; run `ansible-vault encrypt {path}` before anything reads it.")
    return found


def vault_environment(env: Environment) -> dict[str, str]:
    """What ansible-playbook needs in its environment to open the vault: where the password is, never the password itself."""
    if not (env.inventory_dir / "vault.yaml").is_file():
        return {}
    return {"ANSIBLE_VAULT_PASSWORD_FILE": str(_source(env))}


def check_vault(env: Environment) -> int:
    """How many variables the vault holds; 0 when there is none. Raises BadInput or Unprepared when it cannot be opened."""
    if "vault.yaml" not in [path.name for path in variable_files(env)]:
        return 0
    from ansible.parsing.vault import VaultLib, VaultSecret  # type: ignore[import-untyped]

    path, source = env.inventory_dir / "vault.yaml", _source(env)
    try:
        executed = os.access(source, os.X_OK)
        password = _said(source) if executed else source.read_bytes()
        text = VaultLib([("default", VaultSecret(password.strip()))]).decrypt(path.read_bytes())
    except (OSError, subprocess.SubprocessError) as error:
        raise Unprepared(f"The password of {path} could not be had from {source}: {type(error).__name__}.") from None
    except Exception:
        raise BadInput(f"{path} does not open with the password that environment.yaml names; correct one of the two.") from None
    data: Any = yaml.safe_load(text)
    if not isinstance(data, dict):
        raise BadInput(f"{path} holds no mapping of variables.")
    return len(data)


def _said(program: Path) -> bytes:
    return subprocess.run([str(program)], stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=30).stdout


def _source(env: Environment) -> Path:
    """The file with the password, or a program that prints it: Ansible runs what is executable."""
    settings = env.settings
    if settings.vault_password_command:
        program = env.state / "vault-password"
        text = f"#!/bin/sh\nexec {settings.vault_password_command}\n"
        shlex.split(settings.vault_password_command)
        if not program.is_file() or program.read_text(encoding="utf-8") != text:
            program.write_text(text, encoding="utf-8")
        program.chmod(0o700)
        return program
    if settings.vault_password_file is None:
        raise Unprepared(
            f"{env.inventory_dir / 'vault.yaml'} is encrypted, and environment.yaml names neither vault_password_file nor "
            "vault_password_command."
        )
    path = env.inventory_dir / Path(settings.vault_password_file).expanduser()
    if not path.is_file():
        raise Unprepared(f"{path}, which should hold the vault's password, is missing.")
    if path.stat().st_mode & 0o077:
        raise Unprepared(f"{path} holds the vault's password and others may read it; chmod 600 {path}.")
    return path
