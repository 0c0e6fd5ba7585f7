"""A play in a parcel: everything that a worker needs to play it, made by ``ansible-runner``'s transmit. Secrets are vault files in it."""

from __future__ import annotations

import io
import shutil
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ansible_runner
import yaml

from golive.environment import ROOT, Environment
from golive.errors import GoliveError, Unprepared

__all__ = ["PRIVATE", "STATE", "VAULT", "Parcel", "packed", "result_of"]

JSON = dict[str, Any]

PRIVATE, STATE, VAULT = "GOLIVE_PRIVATE", "GOLIVE_ENV_STATE", "keys/worker_vault"
"""Variables by which a parcel finds its own directory and the worker's state on the worker, and where that has the vault's password."""
_HERE, _THERE = (f"{{{{ lookup('ansible.builtin.env', '{name}') }}}}" for name in (PRIVATE, STATE))
_PROJECT = ("playbooks", "roles", "library", "ansible.cfg")
_LEFT_OUT = shutil.ignore_patterns("molecule", "__pycache__")


@dataclass(frozen=True)
class Parcel:
    """What transmit wrote, and the files that the play reads beside it: large, the same in every wave, sent once by their digest."""

    stream: bytes
    files: Mapping[str, str] = field(default_factory=dict)
    """Path below the worker's private directory -> SHA-256 of the content."""


def packed(
    env: Environment,
    hosts: Sequence[str],
    playbook: str,
    extravars: Mapping[str, Any],
    keep: Callable[[bytes], str],
    inventory: Path | None = None,
) -> Parcel:
    """The parcel of ``playbook`` for ``hosts``.

    Args:
        env: Whose inventory and certificates.
        hosts: The wave.
        playbook: Below ``playbooks/``.
        extravars: A value that names a file of this machine becomes that file on the worker; never a secret.
        keep: Keeps content where workers find it and returns its SHA-256.
        inventory: Another inventory file.

    Raises:
        Unprepared: the inventory, or the password of the vault, is missing here.
    """
    source = inventory or env.state / "hosts.yml"
    if not source.is_file():
        raise Unprepared(f"{source} is missing; run: ./inv provision --env {env.name}.")
    with tempfile.TemporaryDirectory(prefix="golive-parcel-", dir=env.state) as made:
        private = Path(made)
        _project(private / "project")
        (private / "inventory").mkdir()
        written = yaml.safe_load(source.read_text(encoding="utf-8"))
        (private / "inventory" / "hosts.yml").write_text(yaml.safe_dump(_moved(written, env), sort_keys=True), encoding="utf-8")
        _known(private, env)
        _certificates(private, env, hosts)
        files: dict[str, str] = {}
        variables = {name: _carried(value, files, keep) for name, value in extravars.items()}
        (private / "env").mkdir()
        (private / "env" / "extravars").write_text(yaml.safe_dump(variables), encoding="utf-8")
        output = _Stream()
        limit = ",".join(hosts)
        ansible_runner.run(
            streamer="transmit", _output=output, private_data_dir=str(private), playbook=f"playbooks/{playbook}", limit=limit, ident="wave"
        )
    return Parcel(output.getvalue(), files)


def result_of(stream: bytes, take: Callable[[JSON], bool]) -> str:
    """Reads a worker's artifact stream, event by event; returns ansible-runner's last status (``successful``, ``failed``, ``error``...)."""
    with tempfile.TemporaryDirectory(prefix="golive-artifacts-") as made:
        runner = ansible_runner.run(streamer="process", _input=io.BytesIO(stream), private_data_dir=made, event_handler=take, quiet=True)
        return str(runner.status)


class _Stream(io.BytesIO):
    """ansible-runner asks a stream for its name, to know stdout."""

    name = "parcel"


def _project(into: Path) -> None:
    for name in _PROJECT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, into / name, ignore=_LEFT_OUT)
        else:
            into.mkdir(exist_ok=True)
            shutil.copy2(ROOT / name, into / name)


def _moved(value: Any, env: Environment) -> Any:
    """The inventory with this machine's paths as they are on the worker: its own key, the parcel's known hosts and certificates."""
    state = str(env.state.resolve())
    if isinstance(value, dict):
        return {name: _moved(entry, env) for name, entry in value.items() if name != "ansible_control_path_dir"}
    if isinstance(value, list):
        return [_moved(entry, env) for entry in value]
    if isinstance(value, str):
        return value.replace(f"{state}/keys/operator", f"{_THERE}/keys/operator").replace(state, f"{_HERE}/state")
    return value


def _known(private: Path, env: Environment) -> None:
    (private / "state").mkdir()
    if (env.state / "known_hosts").is_file():
        shutil.copy2(env.state / "known_hosts", private / "state" / "known_hosts")


def _certificates(private: Path, env: Environment, hosts: Sequence[str]) -> None:
    """Certificates as they are, keys as vault files."""
    pki = env.state / "pki"
    keys: list[str] = []
    for path in [pki / "ca.crt", *(path for host in hosts for path in sorted((pki / host).glob("*")))]:
        if path.suffix in (".crt", ".key") and path.is_file():
            to = private / "state" / "pki" / path.relative_to(pki)
            to.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.copy2(path, to)
            keys += [str(to)] if path.suffix == ".key" else []
    if not keys:
        return
    password = env.state / VAULT
    if not password.is_file():
        raise Unprepared(
            f"{password} is missing; keys go to workers only in a vault. Make it by `openssl rand -base64 32`, the same on each worker."
        )
    program = Path(sysconfig.get_path("scripts")) / "ansible-vault"
    done = subprocess.run(
        [str(program), "encrypt", "--vault-password-file", str(password), *keys], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise GoliveError(f"The keys of a wave could not be put into a vault, so nothing was sent: {done.stderr.strip()[-200:]}")


def _carried(value: Any, files: dict[str, str], keep: Callable[[bytes], str]) -> Any:
    if isinstance(value, str) and value.startswith("/") and (path := Path(value)).is_file():
        sha256 = keep(path.read_bytes())
        name = f"files/{sha256[:16]}/{path.name}"
        files[name] = sha256
        return f"{_HERE}/{name}"
    return value
