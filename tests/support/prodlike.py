"""Hosts that the toolkit did not make: an owner's, with a user of their own, behind a bastion, and keys and a CA as an operator makes them.

Containers stand for the machines; they are started with plain podman, and everything on them before the toolkit comes is done here.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from golive.environment import ROOT
from golive.lab import image, podman
from golive.runbook.loader import _Loader

SECRET = "a-token-that-only-the-vault-knows"
PREFIX = "dwcp-prodlike-"
INSIDE, OUTSIDE = "10.78.41", "10.78.42"
SSHD = """\
Port 22
HostKey /etc/owner/ssh_host_ed25519_key
AuthorizedKeysFile /etc/owner/authorized_keys
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
UsePAM yes
UseDNS no
{more}
Subsystem sftp /usr/lib/openssh/sftp-server
"""


@dataclass(frozen=True)
class Machine:
    """One machine of the owner's."""

    name: str
    number: int
    site: str = ""
    role: str = "agent"
    gateway: bool = False
    load: bool = False
    canary: bool = False

    @property
    def address(self) -> str:
        return f"{INSIDE}.{self.number}"


MACHINES = (
    Machine("fra-1", 11, "fra", gateway=True),
    Machine("fra-2", 12, "fra", load=True, canary=True),
    Machine("muc-1", 13, "muc", gateway=True, load=True),
    Machine("ops", 10, "fra", "ops"),
)


def run(*words: str | Path, **options: Any) -> str:
    done = subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@dataclass
class Owner:
    """The owner's machines, and a checkout of the toolkit that works on them as environment ``prod``."""

    work: Path
    image: str
    runtime: str
    host_keys: dict[str, str] = field(default_factory=dict)

    @property
    def checkout(self) -> Path:
        return self.work / "checkout"

    @property
    def inventory(self) -> Path:
        return self.checkout / "inventories" / "prod"

    @property
    def state(self) -> Path:
        return self.checkout / ".golive" / "prod"

    def inv(self, *words: str, timeout_s: float = 420) -> tuple[int, dict[str, Any], str]:
        """Exit code, the JSON on stdout and what a person saw."""
        own = {k: v for k, v in os.environ.items() if not k.startswith(("GOLIVE_", "SSH_", "PYTEST"))}
        env = {**own, "PYTHONPATH": str(self.checkout), "GOLIVE_STATE": str(self.checkout / ".golive")}
        argv = [sys.executable, "-P", "-m", "golive.program", "--search-root", str(self.checkout), *words, "--json"]
        done = subprocess.run(
            argv, cwd="/", env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        return done.returncode, json.loads(done.stdout) if done.stdout.strip() else {}, done.stderr

    def on(self, name: str, *words: str) -> str:
        """A command as the machine's own root, not by SSH: what its owner does there."""
        return run("podman", "exec", PREFIX + name, *words)

    def boot(self, machine: Machine, *, key: str | None = None, networks: Sequence[str] = (), user: str = "deploy", sshd: str = "") -> None:
        """A machine runs, lets ``user`` in by the operator's key, and shows the host key it has, or a new one called ``key``."""
        there = self.work / "machines" / (key or machine.name)
        if not there.exists():
            there.mkdir(parents=True)
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", machine.name, "-f", there / "ssh_host_ed25519_key")
            shutil.copy(self.work / "operator.pub", there / "authorized_keys")
            (there / "authorized_keys").chmod(0o644)
            (there / "sshd_config").write_text(SSHD.format(more=sshd))
        self.host_keys.setdefault(machine.name, " ".join((there / "ssh_host_ed25519_key.pub").read_text().split()[:2]))
        networks = networks or [f"{PREFIX}inside:ip={machine.address}"]
        run(
            *("podman", "run", "--detach", "--name", PREFIX + machine.name, "--hostname", machine.name, "--runtime", self.runtime),
            *(f"--network={network}" for network in networks),
            *("--no-hosts", "--dns", "none", "--memory", "2000m", "--volume", f"{there}:/etc/owner:ro"),
            *("--volume", f"{there / 'sshd_config'}:/etc/ssh/sshd_config:ro", *podman.resource_limits(), *podman.privileges()),
            *(self.image, "/sbin/init"),
        )
        # Podman gives the bridge an address of its own whatever it was told; without it the bastion is the only way in.
        inside = json.loads(run("podman", "network", "inspect", f"{PREFIX}inside"))[0]["network_interface"]
        run("ip", "address", "flush", "dev", inside)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                self.on(machine.name, "systemctl", "is-active", "--quiet", "ssh.service")
                break
            except RuntimeError:
                time.sleep(0.2)
        self.on(machine.name, "useradd", "--create-home", "--shell", "/bin/sh", user)
        if user == "deploy":
            self.on(machine.name, "sh", "-c", "umask 227; echo 'deploy ALL=(root) NOPASSWD: ALL' > /etc/sudoers.d/deploy")

    def gone(self, name: str) -> None:
        run("podman", "rm", "--force", "--ignore", "--time", "0", PREFIX + name)

    def certificate(self, base: Path, role: str, name: str, alternatives: Sequence[str], *, days: int = 90) -> None:
        """A certificate of the owner's CA, as its PKI would issue it."""
        base.parent.mkdir(parents=True, exist_ok=True)
        names = ",".join(f"IP:{a}" if a[0].isdigit() else f"DNS:{a}" for a in alternatives) or f"DNS:{name}"
        usage = ["-addext", "extendedKeyUsage=serverAuth,clientAuth", "-addext", "basicConstraints=critical,CA:FALSE"]
        ca = ["-CA", self.state / "pki" / "ca.crt", "-CAkey", self.work / "ca.key"]
        run(
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", *ca, "-days", str(days)),
            *("-subj", f"/OU={role}/CN={name}", "-addext", f"subjectAltName={names}", *usage),
            *("-keyout", f"{base}.key", "-out", f"{base}.crt"),
        )

    def settings(self) -> None:
        """``environment.yaml``, variables and secrets, as the owner of small machines writes them; and a plan that takes minutes."""
        path = self.inventory / "environment.yaml"
        own = {"first_incumbent": "2.9.0", "agent_cpus": "0-1", "agent_memory_max": "512M", "load_rate_per_s": 25, "hosts_at_once": 2}
        own |= {"vault_password_command": f"cat {self.work / 'vault-password'}"}
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **own}, sort_keys=False))
        (self.inventory / "vars.yaml").write_text(
            "dwcp_monitoring_latency_p99_s: 2\ndwcp_monitoring_timeout_s: 4\ndwcp_monitoring_load_interval_s: 4\n"
            "dwcp_monitoring_absent_s: 20\n"
            "dwcp_agent_load_sessions: 100\ndwcp_monitoring_receiver: pager\n"
        )
        (self.work / "vault-password").write_text("not on any command line\n")
        receiver = {"name": "pager", "webhook_configs": [{"url": f"https://127.0.0.1:1/{SECRET}"}]}
        vault = self.inventory / "vault.yaml"
        vault.write_text(yaml.safe_dump({"dwcp_monitoring_receivers": [receiver]}))
        program = Path(sysconfig.get_path("scripts")) / "ansible-vault"
        run(program, "encrypt", "--vault-password-file", self.work / "vault-password", vault)
        short_plan(self.checkout / "runbooks" / "golive.yaml")
        # What this owner's readiness is made of is not what is tried here, and nobody has a week for it: it is asked, and noted.
        policy = self.checkout / "policies" / "prod.yaml"
        policy.write_text(policy.read_text().replace("golive: require", "golive: note"))

    def list_hosts(self, **changes: dict[str, Any]) -> None:
        """``hosts.yaml``, as its owner writes it; ``changes`` by host name."""
        hosts = []
        for m in MACHINES:
            entry: dict[str, Any] = {"name": m.name, "site": m.site, "address": m.address, "role": m.role}
            entry["host_key"] = self.host_keys[m.name]
            entry |= {flag: True for flag in ("gateway", "load") if getattr(m, flag)} | ({"labels": {"canary": True}} if m.canary else {})
            hosts.append({**entry, **changes.get(m.name.replace("-", "_"), {})})
        jump = {"name": "jump", "address": f"{OUTSIDE}.5", "ssh_user": "hop", "host_key": self.host_keys["jump"]}
        text = yaml.safe_dump({"defaults": {"ssh_user": "deploy", "bastion": "jump"}, "bastions": [jump], "hosts": hosts}, sort_keys=False)
        (self.inventory / "hosts.yaml").write_text(text)


@contextmanager
def owner(work: Path) -> Iterator[Owner]:
    """Machines, checkout, keys and CA; all gone afterwards."""
    name = image.ensure(lambda line: print(line, file=sys.stderr))
    world = Owner(work, name, podman.bootable_runtime(name, image.cache_dir()))
    _removed()
    try:
        _checkout(world)
        _networks()
        _keys(world)
        jump = Machine("jump", 5)
        world.boot(
            jump,
            networks=[f"{PREFIX}inside:ip={INSIDE}.5", f"{PREFIX}outside:ip={OUTSIDE}.5"],
            user="hop",
            sshd="PermitTTY no\nForceCommand /usr/sbin/nologin\nAllowTcpForwarding local",
        )
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(world.boot, MACHINES))
        world.list_hosts()
        world.settings()
        _pki(world)
        yield world
    finally:
        _removed()


def short_plan(path: Path) -> None:
    """The runbook's stages, offsets of seconds apart and watches of half a minute, with limits that so little traffic can prove."""
    book = yaml.load(path.read_text(), Loader=_Loader)  # to which `on` is a word
    watched = {"for": "20s", "error_rate": "< 10 %"}
    hold = {"fail": "rollback", "inconclusive": "hold 2m then rollback", "error": "hold 1m then rollback"}
    kept = []
    for stage in book["stages"]:
        if stage["stage"] == "intensive-watch" or stage["stage"].startswith("checkpoint"):
            continue
        stage["at"] = "+0s" if stage["stage"] == "deploy" else "+1s" if stage["at"].startswith("+") else "T-1s"
        for step in stage["steps"]:
            if step["uses"] == "gate.metrics":
                step["with"], step["on"] = watched, hold
            if step["uses"] == "gate.signoff":
                step["with"] = {"error_rate": "< 10 %", "latency_p50_ms": 1000, "latency_p99_ms": 5000, "availability_percent": 90}
            if step["uses"] == "rehearsal.watch":
                step["with"] = {"for": "10s"}
            if step["uses"] == "baseline.freeze":
                step["with"] = {"for": "15s"}
        kept.append(stage)
    path.write_text(yaml.safe_dump({**book, "stages": kept}, sort_keys=False))


def reachable_directly(address: str) -> bool:
    """Whether sshd answers there; that somebody takes the connection says little, as a proxy on the way may."""
    try:
        with socket.create_connection((address, 22), timeout=2) as opened:
            return opened.recv(4) == b"SSH-"
    except OSError:
        return False


def _removed() -> None:
    names = run("podman", "ps", "--all", "--quiet", "--filter", f"name=^{PREFIX}").split()
    if names:
        run("podman", "rm", "--force", "--ignore", "--time", "0", *names)
    for network in ("inside", "outside"):
        if subprocess.run(["podman", "network", "exists", PREFIX + network], check=False).returncode == 0:
            run("podman", "network", "rm", "--force", PREFIX + network)


def _networks() -> None:
    for network, base in (("inside", INSIDE), ("outside", OUTSIDE)):
        # Inside, the machine that the containers run on has no address: the bastion is the only way in.
        own = ["--gateway", f"{base}.1"] if network == "outside" else []
        run("podman", "network", "create", "--disable-dns", "--internal", "--subnet", f"{base}.0/24", *own, PREFIX + network)


def _checkout(world: Owner) -> None:
    """A clean copy of this checkout as it stands, with its history: frozen releases are built from that."""
    run("git", "clone", "--quiet", "--shared", ROOT, world.checkout)
    listed = run("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (world.checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, world.checkout / name)
    wheels = image.cache_dir() / "wheels"
    if wheels.is_dir():
        shutil.copytree(wheels, world.checkout / ".golive" / "cache" / "wheels")


def _keys(world: Owner) -> None:
    for name in ("operator", "release"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{name}@example.net", "-f", world.work / name)
    keys = world.state / "keys"
    keys.mkdir(parents=True, mode=0o700)
    shutil.copy(world.work / "operator", keys / "operator")
    public = " ".join((world.work / "release.pub").read_text().split()[:2])
    (world.inventory / "allowed_signers").write_text(f'release@example.net namespaces="dwcp-release" {public}\n')


def _pki(world: Owner) -> None:
    pki = world.state / "pki"
    pki.mkdir(parents=True)
    run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "365"),
        *("-subj", "/O=Example/CN=Example CA", "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", world.work / "ca.key", "-out", pki / "ca.crt"),
    )
    for m in MACHINES:
        roles = [("agent", m.role == "agent"), ("gateway", m.gateway), ("load", m.load), ("monitor", m.role == "ops")]
        for role in (role for role, has in roles if has):
            world.certificate(pki / m.name / role, role, m.name if role == "agent" else f"{role}.{m.name}", [m.name, m.address])
    world.certificate(pki / "operator", "operator", "operator", [])
