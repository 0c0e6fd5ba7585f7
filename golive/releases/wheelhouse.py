"""Wheels: every dependency by hash, downloaded once; and the agent's own, built from its sources."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

from golive.environment import state_root
from golive.errors import GoliveError, Refused, Unprepared
from golive.releases.model import digest_of

__all__ = ["Toolchain", "build_wheel", "dependencies", "requirements", "toolchain", "uv_binary"]

_EPOCH = "946684800"
"""SOURCE_DATE_EPOCH of every build: 2000-01-01, any fixed time that zip can hold. The same sources give the same wheel."""
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.M)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Toolchain:
    """What a build depends on besides the sources."""

    python: str
    platform: str
    compiler: str
    setuptools: str
    uv: str

    def key(self) -> dict[str, str]:
        """As inputs of a release."""
        return {"python": self.python, "platform": self.platform, "compiler": self.compiler, "setuptools": self.setuptools, "uv": self.uv}


def toolchain() -> Toolchain:
    """This machine's. Raises Unprepared when there is no C compiler."""
    from importlib.metadata import version

    compiler = os.environ.get("CC", "cc")
    try:
        done = subprocess.run([*compiler.split(), "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Unprepared(f"There is no C compiler ({compiler}); on Debian: apt install gcc libc6-dev.") from None
    if done.returncode != 0 or not done.stdout:
        raise Unprepared(f"{compiler} --version failed: {done.stderr.strip()}.")
    full = sys.version.split()[0]
    return Toolchain(full, sysconfig.get_platform(), done.stdout.splitlines()[0], version("setuptools"), digest_of(uv_binary()))


def uv_binary() -> Path:
    """The ``uv`` of this Python environment, which travels in every release. Raises Unprepared when it is missing."""
    path = Path(sysconfig.get_path("scripts")) / "uv"
    if not path.is_file():
        raise Unprepared(f"{path} is missing; run ./inv once to prepare the environment.")
    return path


def dependencies(lock: Path) -> list[Path]:
    """Wheels of everything that ``lock`` pins, each with a hash that ``lock`` lists; downloaded when not there yet.

    Raises Unprepared when the download fails, Refused when a kept wheel is not what was downloaded.
    """
    content = lock.read_bytes()
    kept = (
        state_root() / "cache" / "wheels" / f"{sys.version_info.major}{sys.version_info.minor}-{hashlib.sha256(content).hexdigest()[:12]}"
    )
    if not kept.is_dir():
        _download(lock, kept)
    wheels = sorted(kept.glob("*.whl"))
    allowed = set(_HASH.findall(content.decode()))
    for wheel in wheels:
        if digest_of(wheel) not in allowed:
            raise Refused(f"{wheel} was changed after it was downloaded; remove {kept} and run again.")
    pinned = {(_plain(name), version) for name, version in _PIN.findall(content.decode())}
    found = {_named(wheel) for wheel in wheels}
    if found != pinned:
        odd = sorted(f"{name} {version}" for name, version in found ^ pinned)
        raise Refused(f"{kept} does not hold exactly what {lock.name} pins ({', '.join(odd)}); remove it and run again.")
    return wheels


def build_wheel(source: Path, target: Path, *, version: str, phase4: bool, defect: str) -> Path:
    """The agent's wheel, built from ``source`` into ``target``. Raises GoliveError with the compiler's last words."""
    environment = {
        **{k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "CC", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")},
        "DWCP_VERSION": version,
        "DWCP_PHASE4": "1" if phase4 else "0",
        "DWCP_DEFECT": defect,
        "SOURCE_DATE_EPOCH": _EPOCH,
        "CFLAGS": f"-ffile-prefix-map={source}=/dwcp_agent",
        "PYTHONHASHSEED": "0",
    }
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(source)]
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False, umask=0o022
    )
    wheels = list(target.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        log = state_root() / "cache" / "last-build.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(done.stdout + done.stderr, encoding="utf-8")
        telling = [line for line in (done.stdout + done.stderr).splitlines() if "error" in line.lower()]
        raise GoliveError(
            f"The wheel of {version} could not be built: {telling[0].strip() if telling else 'no wheel came out'} (all of it: {log})."
        )
    if _named(wheels[0]) != ("dwcp-agent", version):
        raise GoliveError(f"The build of {version} made {wheels[0].name}; dwcp_agent/setup.py must take its version from DWCP_VERSION.")
    return wheels[0]


def requirements(wheels: list[Path]) -> str:
    """Pins of exactly these wheels, with the hash of each: the only ones that a host will install."""
    lines = sorted(f"{name}=={version} --hash=sha256:{digest_of(wheel)}" for wheel in wheels for name, version in [_named(wheel)])
    return "\n".join(lines) + "\n"


def _download(lock: Path, kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".partial-", dir=kept.parent))
    try:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--require-hashes", "--no-deps"]
        done = subprocess.run(
            [*command, "--only-binary", ":all:", "--dest", str(fresh), "--requirement", str(lock)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            raise Unprepared(f"The wheels of {lock.name} could not be downloaded: {said[-1].strip() if said else 'pip said nothing'}.")
        fresh.chmod(0o755)
        if kept.is_dir():
            return  # another build was faster, with the same hashes
        fresh.replace(kept)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _named(wheel: Path) -> tuple[str, str]:
    name, version = wheel.name.split("-")[:2]
    return _plain(name), version


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
