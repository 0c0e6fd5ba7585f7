"""The lab's host image: a small Debian that boots systemd, built once by mmdebstrap and tagged by the digest of its recipe."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from golive.environment import ROOT, state_root
from golive.errors import Refused, Unprepared
from golive.lab.commands import must, run

__all__ = ["PACKAGES", "cache_dir", "ensure", "present", "reference", "remove"]

_SUITE = "bookworm"
_REPOSITORY = "localhost/dwcp-lab-host"

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "libnss-myhostname", "openssh-server", "openssh-client", "python3", "python3-venv", "iproute2"),
    *("iputils-ping", "nftables", "procps", "curl", "ca-certificates", "openssl", "haproxy", "prometheus", "prometheus-alertmanager"),
    *("prometheus-node-exporter", "socat", "sudo", "restic"),
)
"""Everything a host needs that a release does not bring."""

_EXCLUDED = tuple(f"/usr/share/{kind}/*" for kind in ("doc", "man", "locale", "javascript", "nodejs", "fonts"))

# Services are masked until a role wants them; host keys and who may log in come from a read-only mount, never from the image.
_CUSTOMIZE = r"""#!/bin/sh
set -e
root=$1
rm -f "$root"/etc/ssh/ssh_host_*
cat > "$root/etc/ssh/sshd_config" <<'END'
Port 22
HostKey /etc/dwcp-lab/ssh_host_ed25519_key
AuthorizedKeysFile /etc/dwcp-lab/authorized_keys
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PermitEmptyPasswords no
UsePAM yes
UseDNS no
X11Forwarding no
AllowAgentForwarding no
MaxStartups 100:30:200
MaxSessions 100
PrintMotd no
AcceptEnv LANG LC_*
Subsystem sftp /usr/lib/openssh/sftp-server
END
cat > "$root/etc/systemd/system/dwcp-lab-routes.service" <<'END'
[Unit]
Description=Routes to the lab's other sites
ConditionPathExists=/etc/dwcp-lab/routes
Before=network.target ssh.service
DefaultDependencies=no
After=sysinit.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/ip -batch /etc/dwcp-lab/routes

[Install]
WantedBy=multi-user.target
END
mkdir -p "$root/etc/dwcp-lab" "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nSystemMaxUse=64M\nRuntimeMaxUse=64M\n' > "$root/etc/systemd/journald.conf.d/lab.conf"
printf '127.0.0.1 localhost\n' > "$root/etc/hosts"
: > "$root/etc/resolv.conf"
: > "$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id"
chroot "$root" passwd --lock root
chroot "$root" systemctl set-default multi-user.target
chroot "$root" systemctl enable dwcp-lab-routes.service ssh.service
chroot "$root" systemctl mask haproxy.service prometheus.service prometheus-alertmanager.service prometheus-node-exporter.service \
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
  console-getty.service getty@tty1.service systemd-networkd.service systemd-resolved.service systemd-timesyncd.service
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/usr/share/doc/* "$root"/usr/share/man/*
"""

_BUILD_BYTES = 3 << 30
"""Room for the unpacked tree, the archive and the import, which were seen to take 1.8 GB together."""


def cache_dir() -> Path:
    """``.golive/cache``; shared by all environments of the checkout."""
    path = state_root() / "cache"
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def reference() -> str:
    """``localhost/dwcp-lab-host:<digest12>``: the name of the image that this recipe builds."""
    recipe = "\n".join([_SUITE, *PACKAGES, *_EXCLUDED, _CUSTOMIZE])
    return f"{_REPOSITORY}:{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def present() -> bool:
    """Whether the image is there, ready to boot hosts from."""
    return run(["podman", "image", "exists", reference()]).ok


def ensure(tell: Callable[[str], None]) -> str:
    """The image's name; builds it when missing. ``tell`` is called with what takes long, before it does.

    Raises:
        Unprepared: mmdebstrap or room on the disk is missing, or the packages could not be fetched.
    """
    with _alone():
        brought = ROOT / "image" / "host.tar"
        if not present() and brought.is_file():
            must(["podman", "load", "--quiet", "--input", str(brought)], timeout_s=600)  # a bundle's, for a site without Debian's mirrors
        if not present():
            _check_room(cache_dir())
            tell("building the lab's host image with mmdebstrap, about a minute")
            _build()
    return reference()


def remove() -> list[str]:
    """Removes every version of the image; returns their names."""
    listed = must(["podman", "image", "ls", "--quiet", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}}", _REPOSITORY])
    names = sorted(set(listed.split()))
    if names:
        must(["podman", "image", "rm", "--force", *names], timeout_s=120)
    return names


def _build() -> None:
    for leftover in cache_dir().glob("image-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix="image-", dir=cache_dir()))
    try:
        hook = work / "customize"
        hook.write_text(_CUSTOMIZE, encoding="utf-8")
        hook.chmod(0o755)
        archive = work / "host.tar"
        options = ["--variant=minbase", f"--include={','.join(PACKAGES)}", f"--customize-hook={hook}"]
        options += [f"--dpkgopt=path-exclude={pattern}" for pattern in _EXCLUDED]
        made = run(["env", f"TMPDIR={work}", "mmdebstrap", *options, _SUITE, str(archive), *_mirrors()], timeout_s=1200)
        if not made.ok:
            log = cache_dir() / "image.log"
            log.write_text(made.stdout + made.stderr, encoding="utf-8")
            reason = next((line for line in made.stderr.splitlines() if line.startswith("E:")), made.complaint)
            raise Unprepared(f"The lab's host image could not be built: {reason} (all of it in {log}). Nothing was changed; run it again.")
        # No CMD: the hosts' command is theirs to say, and an image without one cannot be started by mistake.
        must(["podman", "import", "--quiet", "--change", "STOPSIGNAL SIGRTMIN+3", str(archive), reference()], timeout_s=600)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if not present():
        raise Refused(f"podman imported the host image but does not list {reference()}.")


def _mirrors() -> list[str]:
    """The machine's own Debian sources for the suite, as sources.list lines; empty (mmdebstrap's default) when it has none."""
    if shutil.which("apt-get") is None:
        return []
    listed = run(["apt-get", "indextargets", "--format", "$(ORIGIN)|$(RELEASE)|$(COMPONENT)|$(SITE)", "Created-By: Packages"])
    if not listed.ok:
        return []
    lines = []
    for entry in dict.fromkeys(listed.stdout.splitlines()):
        origin, release, component, site = entry.split("|", 3)
        if origin == "Debian" and component == "main" and release in (_SUITE, f"{_SUITE}-updates", f"{_SUITE}-security"):
            lines.append(f"deb {site} {release} {component}")
    return lines if any(f" {_SUITE} " in line for line in lines) else []


def _check_room(directory: Path) -> None:
    graph = run(["podman", "info", "--format", "{{.Store.GraphRoot}}"]).stdout.strip() or "/var/lib/containers"
    for place in (directory, Path(graph)):
        there = place if place.exists() else place.parent
        free = os.statvfs(there).f_bavail * os.statvfs(there).f_frsize
        if free < _BUILD_BYTES:
            raise Unprepared(
                f"{place} has {free / 2**30:.1f} GiB free and building the lab's host image takes {_BUILD_BYTES / 2**30:.0f} GiB; "
                f"nothing was changed. Make room, or put the state elsewhere with GOLIVE_STATE, and run the command again."
            )


@contextmanager
def _alone() -> Iterator[None]:
    """Two builds never run at once: the second waits and finds the image there."""
    with (cache_dir() / "image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
