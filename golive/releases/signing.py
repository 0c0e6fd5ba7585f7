"""Who signed a release: OpenSSH signatures (``ssh-keygen -Y``) by keys that the environment pins."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from golive.environment import Environment, state_root
from golive.errors import BadInput, Refused, Unprepared

__all__ = ["LAB_NAMESPACE", "LAB_PRINCIPAL", "Trust", "check", "made_by_toolkit", "public_half", "sign", "signer", "trust"]

LAB_NAMESPACE = "dwcp-release-lab"
LAB_PRINCIPAL = "lab-release@dwcp"
"""Who signs in a lab; the comment of its signing key, by which another machine's lab key is known too."""


@dataclass(frozen=True)
class Trust:
    """Whose signatures an environment takes."""

    allowed_signers: Path
    namespace: str


def trust(env: Environment) -> Trust:
    """What ``env`` trusts.

    Raises Unprepared when its allowed signers are missing, Refused when an environment that is no lab would trust a key that the toolkit
    made, or take the lab's namespace.
    """
    namespace = env.settings.signature_namespace
    if env.is_lab:
        return Trust(_lab_keys(env, "allowed_signers"), namespace)
    path = env.inventory_dir / (env.settings.signers or "allowed_signers")
    if not path.is_file():
        raise Unprepared(f"{path} is missing; list there who may sign releases of {env.name} (see ssh-keygen(1), ALLOWED SIGNERS).")
    if namespace == LAB_NAMESPACE:
        raise Refused(f"{env.name} is not a lab, so its signature_namespace cannot be {LAB_NAMESPACE}.")
    made = made_by_toolkit()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#") and (LAB_PRINCIPAL in line or made.intersection(line.split())):
            raise Refused(f"{path}:{number} is a key that the toolkit made; {env.name} takes only keys of yours.")
    return Trust(path, namespace)


def signer(env: Environment, key: Path | None) -> Path:
    """The private key that signs releases of ``env``: the lab's own, elsewhere the operator's ``key``.

    Raises BadInput without a key, Refused for one that the toolkit made.
    """
    if env.is_lab:
        if key is not None:
            raise BadInput("--key is for other environments; the lab signs with a key of its own.")
        return _lab_keys(env, "release_signing")
    if key is None:
        raise BadInput(
            f"Releases of {env.name} are signed by you: give --key PATH, an SSH key whose public half is in its allowed signers."
        )
    if not key.is_file():
        raise BadInput(f"--key {key} does not exist.")
    public = public_half(key)
    if LAB_PRINCIPAL in public or made_by_toolkit().intersection(public.split()):
        raise Refused(f"{key} was made by the toolkit; releases of {env.name} are signed with a key of yours.")
    return key


def sign(message: bytes, key: Path, namespace: str) -> bytes:
    """An armored signature of ``message``. Raises BadInput when ``key`` cannot sign."""
    done = _ssh_keygen(["-Y", "sign", "-q", "-f", str(key), "-n", namespace], message)
    if done.returncode != 0 or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        raise BadInput(f"{key} cannot sign: {_last(done.stderr)}.")
    return done.stdout


def check(message: bytes, signature: Path, trusted: Trust) -> str:
    """The principal who signed ``message``. Raises Refused when nobody trusted did, in this namespace."""
    if not signature.is_file():
        raise Refused(f"{signature} is missing; an unsigned release is not installed.")
    found = _ssh_keygen(["-Y", "find-principals", "-s", str(signature), "-f", str(trusted.allowed_signers)], b"")
    principals = found.stdout.decode(errors="replace").splitlines()
    if found.returncode != 0 or not principals:
        raise Refused(f"{signature} was made by nobody in {trusted.allowed_signers}.")
    for principal in principals:
        options = ["-Y", "verify", "-f", str(trusted.allowed_signers), "-I", principal, "-n", trusted.namespace, "-s", str(signature)]
        if _ssh_keygen(options, message).returncode == 0:
            return principal
    raise Refused(
        f"{signature} does not fit {signature.with_suffix('').name} in namespace {trusted.namespace}: one of the two was changed."
    )


def _lab_keys(env: Environment, name: str) -> Path:
    path = state_root() / env.name / "keys" / name
    if not path.is_file():
        raise Unprepared(f"{path} is missing; ./inv provision --env {env.name} makes it.")
    return path


def made_by_toolkit() -> set[str]:
    """The base64 blobs of all public keys under the toolkit's state."""
    return set(_blobs(state_root().glob("*/keys/**/*.pub")))


def _blobs(paths: Iterable[Path]) -> Iterable[str]:
    for path in paths:
        fields = path.read_text(encoding="utf-8", errors="replace").split()
        if len(fields) >= 2:
            yield fields[1]


def public_half(key: Path) -> str:
    """The public key of ``key``, which may be a public key itself. Raises BadInput."""
    beside = key.with_name(key.name + ".pub")
    if beside.is_file():
        return beside.read_text(encoding="utf-8", errors="replace")
    if key.read_bytes().startswith((b"ssh-", b"ecdsa-", b"sk-")):
        return key.read_text(encoding="utf-8", errors="replace")
    done = _ssh_keygen(["-y", "-f", str(key)], b"")
    if done.returncode != 0:
        raise BadInput(f"{key} is not a key that can be read: {_last(done.stderr)}.")
    return done.stdout.decode(errors="replace")


def _ssh_keygen(arguments: list[str], message: bytes) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["ssh-keygen", *arguments], input=message, capture_output=True, check=False)
    except FileNotFoundError:
        raise Unprepared("ssh-keygen is not installed; on Debian: apt install openssh-client.") from None


def _last(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1].rstrip(".") if lines else "ssh-keygen said nothing"
