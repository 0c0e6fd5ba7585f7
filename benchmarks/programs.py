"""What the benchmarks of the core measure with: C programs and the extension, built here from the agent's sources."""

from __future__ import annotations

import compileall
import ctypes.util
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measure import PeerMissing
from golive.environment import ROOT

__all__ = ["Programs", "built", "native_module"]

AGENT = ROOT / "dwcp_agent"
FLAGS = ("-std=c11", "-O2", "-fno-tree-vectorize", "-Wall", "-Wextra", "-Werror", "-pthread")


class Programs:
    """The C programs, built once in ``place`` from the agent's sources."""

    def __init__(self, place: Path) -> None:
        native = AGENT / "native"
        core = [str(path) for path in sorted(native.glob("*.c")) if not path.name.startswith(("py_", "module"))]
        for name in ("kernels", "queues", "pools", "fragments", "sends"):
            source = str(ROOT / "benchmarks/native" / f"{name}.c")
            command = ["gcc", *FLAGS, f"-I{native}", "-o", str(place / name), source, *core, "-ldl", "-lm"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"benchmarks/native/{name}.c could not be built: {done.stderr}")
        self._place = place

    def kernel(self, kernel: str, path: str, size: int) -> Callable[[], float]:
        """GB/s of one path, or of a peer in C."""

        def sample() -> float:
            done = subprocess.run([str(self._place / "kernels"), kernel, path, str(size)], capture_output=True, text=True, check=False)
            if done.returncode == 3:
                raise PeerMissing(f"{path} for {kernel} is not on this machine (isal: apt-get install libisal2).")
            if done.returncode:
                raise SystemExit(f"kernels {kernel} {path} {size} ended with {done.returncode}: {done.stderr}")
            return float(done.stdout) / 1e9

        return sample

    def queue(self, kind: str, producers: int, consumers: int, items: int, batch: int, *, per: str = "seconds") -> Callable[[], float]:
        """Million items a second; with ``per="meetings"`` items for each time that threads were in each other's way."""

        def sample() -> float:
            words = [str(self._place / "queues"), kind, *map(str, (producers, consumers, items, batch))]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{' '.join(words)} lost or doubled items: {done.stdout}{done.stderr}")
            said = json.loads(done.stdout)
            if per == "meetings":
                return items / max(1, said["meetings"] + said["waited"])
            return items / said["seconds"] / 1e6

        return sample

    @contextmanager
    def listening(self, address: str, namespace: str = "") -> Iterator[int]:
        """The port of a process that drops what comes."""
        inside = ["ip", "netns", "exec", namespace] if namespace else []
        words = [*inside, str(self._place / "sends"), "listen", address, "0"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            said = process.stdout.readline()
            if not said.startswith("listening "):
                raise SystemExit(f"{' '.join(words)} does not listen")
            try:
                yield int(said.split()[1])
            finally:
                process.kill()

    def sends(self, way: str, address: str, port: int, content: Path, chunk: int) -> Callable[[], float]:
        """GB into the connection for each second of the sender's processor time."""

        def sample() -> float:
            words = [str(self._place / "sends"), way, address, str(port), str(content), str(chunk), str(2 << 30)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{' '.join(words)} ended with {done.returncode}: {done.stderr}")
            return float(json.loads(done.stdout)["per_busy_s"]) / 1e9

        return sample

    def pool(self, kind: str, preload: str = "") -> Callable[[], float]:
        """Thousand takes and gives a second by two threads; ``preload`` names a library that replaces malloc."""
        library = ctypes.util.find_library(preload) if preload else None

        def sample() -> float:
            if preload and library is None:
                raise PeerMissing(f"{preload} is not on this machine (apt-get install libmimalloc2.0).")
            environment = {**os.environ, **({"LD_PRELOAD": library} if library else {})}
            words = [str(self._place / "pools"), kind, "2", "200000" if kind == "pool" or preload else "4000"]
            done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
            if done.returncode or done.stderr:
                raise SystemExit(f"{' '.join(words)} ended with {done.returncode}: {done.stderr}")
            return float(done.stdout) / 1e3

        return sample

    def fragments(self, seconds: float) -> dict[str, dict[str, float]]:
        """Resident over live bytes of the pool, malloc and mimalloc under the same load at the same time: ``mean`` and ``worst``."""
        library = ctypes.util.find_library("mimalloc")
        if library is None:
            raise PeerMissing("mimalloc is not on this machine (apt-get install libmimalloc2.0).")
        started = {}
        for name, kind, more in (("pool", "pool", {}), ("glibc malloc", "malloc", {}), ("mimalloc", "malloc", {"LD_PRELOAD": library})):
            words = [str(self._place / "fragments"), kind, str(seconds)]
            started[name] = subprocess.Popen(words, env={**os.environ, **more}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        said = {name: process.communicate() for name, process in started.items()}
        for name, process in started.items():
            if process.returncode or said[name][1]:  # a library that could not be preloaded is only complained of
                raise SystemExit(f"the load on {name} ended with {process.returncode}: {said[name][1]}")
        return {name: json.loads(text) for name, (text, _) in said.items()}


def built(place: Path, source: Path = AGENT) -> Path:
    """The directory with the agent's package and its bytecode, built from ``source``."""
    command = [sys.executable, "setup.py", "-q", "build", "--build-lib", str(place / "lib"), "--build-temp", str(place / "temp")]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DWCP_")}
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the agent could not be built: {done.stderr}")
    compileall.compile_dir(place / "lib", quiet=2)  # as where a release is installed
    return place / "lib"


def native_module(place: Path) -> Any:
    """The extension as built from this tree."""
    sys.path.insert(0, str(built(place)))
    return importlib.import_module("dwcp_agent._native")
