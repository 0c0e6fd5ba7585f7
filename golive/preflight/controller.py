"""What this machine must have before it works on an environment's hosts: keys, CA, signers, policy, runbooks, releases, room."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from cryptography import x509

from golive import releases
from golive.environment import Environment
from golive.errors import GoliveError
from golive.fleet.connection import load_identity
from golive.fleet.pki import check_ca
from golive.fleet.terraform import executable
from golive.fleet.vault import check_vault, variable_files
from golive.gates.spec import parse_policy
from golive.preflight.certificates import judged_pair
from golive.preflight.finding import Finding, problem, warning
from golive.releases.needs import Needs, needs
from golive.releases.signing import trust

__all__ = ["judged_controller", "wanted_releases"]

_TOOLS = {"ssh": "openssh-client", "ssh-keygen": "openssh-client", "openssl": "openssl"}
_FREE_BYTES = 2 << 30


def judged_controller(env: Environment, looks: Mapping[str, Callable[[], object]]) -> Iterator[Finding]:
    """Everything that is wrong here, without asking any host. ``looks`` are more checks, by name; what one raises is its problem."""
    missing = sorted({package for tool, package in _TOOLS.items() if shutil.which(tool) is None})
    if missing:
        yield problem("tools", f"lacks {', '.join(missing)}; apt-get install {' '.join(missing)}.")
    free = shutil.disk_usage(env.state).free
    if free < _FREE_BYTES:
        yield problem("disk", f"{env.state} has {free / 2**30:.1f} GiB free and a run needs 2; make room.")
    yield from _identity(env.state / "keys" / "operator")
    for check, look in (
        ("signers", lambda: trust(env)),
        ("policy", lambda: parse_policy(env.policy, f"policies/{env.settings.policy}.yaml")),
        ("terraform", executable),
        ("vault", lambda: (variable_files(env), check_vault(env))),
        *looks.items(),
    ):
        yield from _tried(check, look)
    ca: list[x509.Certificate] = []
    yield from _tried("ca", lambda: ca.append(check_ca(env)))
    for certificate in ca:
        yield from judged_pair(env.state / "pki" / "operator", "operator", "operator", [], certificate)
    yield from _releases(env)


def wanted_releases(env: Environment) -> list[Needs]:
    """What the releases of this environment need of hosts; one that is not here is left out, and told by ``judged_controller``."""
    found = []
    for version in _versions(env):
        known = releases.find(version)
        if known:
            found.append(needs(known[0]))
    return found


def _versions(env: Environment) -> list[str]:
    settings = env.settings
    return list(dict.fromkeys(version for version in (settings.first_incumbent, settings.release, settings.load_release) if version))


def _releases(env: Environment) -> Iterator[Finding]:
    for version in _versions(env):
        try:
            releases.verified(env, releases.newest(version).id)
        except GoliveError as error:
            how = "" if env.is_lab else f" Sign it for {env.name}: ./inv package --env {env.name} --release {version} --key KEY."
            yield problem("releases", f"{error.message}{how}")


def _identity(path: Path) -> Iterator[Finding]:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        yield problem("key", f"the operator's SSH key {path} cannot be read ({error.strerror}); put the key that your hosts accept there.")
        return
    if stat.S_IMODE(mode) & 0o077 or path.stat().st_uid not in (os.geteuid(), 0):
        yield problem("key", f"others may read the operator's SSH key {path}, and ssh refuses it; chmod 600 {path}.")
    try:
        load_identity(path)
    except GoliveError as error:
        yield problem("key", error.message)


def _tried(check: str, look: Callable[[], object]) -> Iterator[Finding]:
    try:
        look()
    except GoliveError as error:
        yield problem(check, error.message)
    except OSError as error:
        yield warning(check, f"could not be looked at: {error}")
