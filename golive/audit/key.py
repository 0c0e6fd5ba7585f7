"""The key that signs an environment's journal: made by the lab for itself, named by everyone else."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from golive.engine.ports import Signature
from golive.environment import Environment
from golive.errors import BadInput, Refused, Unprepared
from golive.lab.keys import key_pair
from golive.releases.signing import made_by_toolkit, public_half

__all__ = ["NAMESPACE", "key_of", "public_key", "sign", "signed"]

NAMESPACE = "dwcp-journal"
_PRINCIPAL = "journal@dwcp"
_PATIENCE_S = 30
"""A key on a token waits for a touch; nothing waits for a passphrase that no one types."""


def key_of(env: Environment) -> Path:
    """The key of ``env``'s journal. The lab's is made (0600) when it is missing.

    Raises Unprepared when none is named or it is not there, Refused for one that the toolkit made for a lab.
    """
    if env.is_lab:
        path = env.state / "keys" / "journal_signing"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        key_pair(path, _PRINCIPAL)
        return path
    if env.settings.journal_key is None:
        raise Unprepared(f"inventories/{env.name}/environment.yaml names no journal_key, so its journal is not signed.")
    path = env.inventory_dir / Path(env.settings.journal_key).expanduser()
    if not path.is_file():
        raise Unprepared(f"The journal key {path} of {env.name} does not exist.")
    if made_by_toolkit().intersection(public_half(path).split()):
        raise Refused(f"{path} was made by the toolkit for a lab; the journal of {env.name} is signed with a key of yours.")
    return path


def public_key(env: Environment) -> str:
    """Algorithm and body of the public half of ``env``'s journal key. Raises like :func:`key_of`; makes no key."""
    if env.is_lab and not (env.state / "keys" / "journal_signing").exists():
        raise Unprepared(f"The journal of {env.name} has no key yet; its first run makes it.")
    return _bare(public_half(key_of(env)))


def sign(env: Environment, message: bytes) -> Signature:
    """``message`` signed with ``env``'s journal key. Raises Unprepared or BadInput when that cannot be done now, and why."""
    key = key_of(env)
    # No terminal and no window: a run that nobody watches must not wait for a passphrase.
    silent = {**os.environ, "SSH_ASKPASS": "/bin/false", "SSH_ASKPASS_REQUIRE": "force"}
    command = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(key), "-n", NAMESPACE]
    done = _run(command, message, silent)
    if done.returncode != 0 or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise BadInput(f"{key} cannot sign: {said[-1].rstrip('.') if said else 'ssh-keygen said nothing'}.")
    return Signature(_bare(public_half(key)), done.stdout.decode())


def signed(message: bytes, signature: str, key: str) -> bool:
    """Whether ``key`` (public half) signed ``message`` as a journal's head."""
    with tempfile.TemporaryDirectory(prefix="golive-") as scratch:
        trusted, armored = Path(scratch, "signers"), Path(scratch, "signature")
        trusted.write_text(f'{_PRINCIPAL} namespaces="{NAMESPACE}" {key}\n', encoding="utf-8")
        armored.write_text(signature, encoding="utf-8")
        command = ["ssh-keygen", "-Y", "verify", "-f", str(trusted), "-I", _PRINCIPAL, "-n", NAMESPACE, "-s", str(armored)]
        return _run(command, message, dict(os.environ)).returncode == 0


def _bare(public: str) -> str:
    return " ".join(public.split()[:2])


def _run(command: list[str], message: bytes, variables: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            command, input=message, capture_output=True, check=False, env=variables, timeout=_PATIENCE_S, start_new_session=True
        )
    except FileNotFoundError:
        raise Unprepared("ssh-keygen is not installed; on Debian: apt install openssh-client.") from None
    except subprocess.TimeoutExpired:
        raise Unprepared(
            f"The journal key did not sign within {_PATIENCE_S} s (a token that waits for a touch, an agent that hangs)."
        ) from None
