"""Fuzzes the targets: ``run.py --target T --seconds N``, or ``--all --minutes M`` in turn; ``--minimise`` keeps what is worth keeping.

Python targets run under atheris, those of the compiled core under libFuzzer with the address and undefined behaviour sanitizers; it takes
``pip install atheris`` and ``apt-get install clang libclang-rt-14-dev``. What is new goes to ``build/fuzz`` (``--work``), what breaks a
promise to ``corpus/<target>/crash-...``, where the test suite finds it until it is mended.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
AGENT = HERE.parent.parent
CORPUS = HERE / "corpus"
LIMITS = ("-rss_limit_mb=2048", "-print_final_stats=1", "-handle_usr1=1", "-verbosity=1")
INSTRUMENTED = [
    "dwcp_agent",
    "fuzz.kernels",
    "yaml.constructor",
    "yaml.resolver",
    "urllib.parse",
    "http.client",
    "ipaddress",
    "base64",
    "json",
]


@dataclass
class Found:
    """What one run of a target came to."""

    seconds: float = 0.0
    executions: int = 0
    edges: int = 0
    features: int = 0
    crash: str = ""

    def __str__(self) -> str:
        end = f"CRASH {self.crash}" if self.crash else "no crash"
        return f"{self.seconds:6.0f} s {self.executions:10d} executions {self.edges:6d} edges {self.features:6d} features  {end}"


class Fuzzers:
    """Commands that fuzz, by target; what has to be built for them is built once, in ``place``."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._core: dict[str, Path] = {}
        self._environment: dict[str, str] | None = None
        sys.path.insert(0, str(HERE.parent))

    def names(self) -> list[str]:
        """Every target."""
        from fuzz.core import PROGRAMS

        done = subprocess.run([sys.executable, __file__, "--names"], env=self._with_package(), capture_output=True, text=True, check=True)
        return [*done.stdout.split(), *PROGRAMS]

    def command(self, target: str) -> tuple[list[str], dict[str, str]]:
        """What runs ``target`` with libFuzzer's arguments after it, and its environment."""
        from fuzz.core import PROGRAMS, fuzzer

        if target in PROGRAMS:
            if target not in self._core:
                self._core[target] = fuzzer(target, self._place)
            return [str(self._core[target])], dict(os.environ)
        # libFuzzer starts itself again to merge, so it has to be one program without arguments of ours.
        program = self._place / target
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" --inside {target} "$0" "$@"\n', encoding="utf-8")
        program.chmod(0o700)
        return [str(program)], self._with_package()

    def _with_package(self) -> dict[str, str]:
        if self._environment is None:
            import conftest  # builds the package of this tree and puts it first in the path, here and in what is started
            from fuzz.place import IN_MEMORY

            assert conftest.ROOT == AGENT
            # A fuzzer ends without cleaning up: what its targets leave goes with this process.
            self._files = tempfile.TemporaryDirectory(prefix="dwcp-fuzz-", dir=IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None)
            self._environment = {**os.environ, "PYTHONHASHSEED": "0", "DWCP_FUZZ_PLACE": self._files.name}
        return self._environment


def inside(target: str, program: str, arguments: list[str]) -> None:
    """Fuzzes one Python target in this process, which ``program`` started; does not return."""
    import atheris

    sys.path.insert(0, str(HERE.parent))
    with atheris.instrument_imports(include=INSTRUMENTED):
        from fuzz.targets import TARGETS
    chosen = TARGETS[target]
    with tempfile.NamedTemporaryFile("w", suffix=".dict") as tokens:
        for token in chosen.tokens:
            tokens.write('"' + "".join(f"\\x{byte:02x}" for byte in token.encode("latin-1")) + '"\n')
        tokens.flush()
        merges = any(argument.startswith("-merge") for argument in arguments)
        more = [f"-dict={tokens.name}"] if chosen.tokens and not merges else []
        atheris.Setup([program, f"-max_len={chosen.most}", *more, *arguments], chosen.run)
        atheris.Fuzz()


def fuzz(fuzzers: Fuzzers, target: str, seconds: float, work: Path, pause: Path | None) -> Found:
    """Fuzzes ``target`` for so long, without the time that ``pause`` is there, for which the fuzzer is stopped."""
    command, environment = fuzzers.command(target)
    for directory in (work / target, CORPUS / target):
        directory.mkdir(parents=True, exist_ok=True)
    # A fuzzer that stands still looks like one that hangs.
    arguments = [
        *LIMITS,
        f"-timeout={20 if pause is None else 1200}",
        f"-artifact_prefix={CORPUS / target}/",
        str(work / target),
        str(CORPUS / target),
    ]
    known = set((CORPUS / target).glob("crash-*")) | set((CORPUS / target).glob("timeout-*"))
    output = work / f"{target}.log"
    with output.open("wb") as log:
        running = subprocess.Popen([*command, *arguments], env=environment, stdout=log, stderr=subprocess.STDOUT)
        found = Found(seconds=_watch(running, seconds, pause))
    text = output.read_text(encoding="utf-8", errors="replace")
    for edges, features in re.findall(r"cov: (\d+) ft: (\d+)", text)[-1:]:
        found.edges, found.features = int(edges), int(features)
    for executions in re.findall(r"stat::number_of_executed_units: (\d+)", text)[-1:]:
        found.executions = int(executions)
    new = (set((CORPUS / target).glob("crash-*")) | set((CORPUS / target).glob("timeout-*"))) - known
    found.crash = ", ".join(sorted(path.name for path in new)) or (f"see {output}" if running.returncode else "")
    return found


def _watch(running: subprocess.Popen[bytes], seconds: float, pause: Path | None) -> float:
    """Ends the fuzzer after ``seconds`` of running; how long it ran."""
    try:
        return _until(running, seconds, pause)
    finally:
        running.kill()
        running.wait()


def _until(running: subprocess.Popen[bytes], seconds: float, pause: Path | None) -> float:
    ran, stopped, last = 0.0, False, time.monotonic()
    while running.poll() is None:
        time.sleep(0.2)
        now = time.monotonic()
        ran, last = ran + (0.0 if stopped else now - last), now
        wanted = pause is not None and pause.exists()
        if wanted != stopped:
            running.send_signal(signal.SIGSTOP if wanted else signal.SIGCONT)
            stopped = wanted
        if ran >= seconds and not stopped:
            running.send_signal(signal.SIGUSR1)
            try:
                running.wait(timeout=30)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()
    return ran


def minimise(fuzzers: Fuzzers, target: str, work: Path, keep: int) -> str:
    """Leaves in the target's corpus what reaches as much as everything found, at most ``keep`` files; what was a crash always stays."""
    command, environment = fuzzers.command(target)
    with tempfile.TemporaryDirectory() as place:
        merged = Path(place) / "merged"
        merged.mkdir()
        arguments = ["-merge=1", "-use_counters=0", str(merged), str(CORPUS / target), str(work / target)]
        done = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{target}: merging failed\n{done.stderr[-3000:]}")
        # libFuzzer takes the smallest first and one only for what none before it reached: what is cut off here are large ones for little.
        chosen = sorted(merged.iterdir(), key=lambda path: (path.stat().st_size, path.name))[:keep]
        for path in (CORPUS / target).iterdir():
            if not path.name.startswith(("crash-", "timeout-", "found-")):
                path.unlink()
        for path in chosen:
            shutil.copy(path, CORPUS / target / path.name)
        kept = list((CORPUS / target).iterdir())
        return f"{len(kept)} files of {len(list(merged.iterdir()))}, {sum(path.stat().st_size for path in kept)} bytes"


def main() -> None:
    if sys.argv[1:2] == ["--inside"]:
        inside(sys.argv[2], sys.argv[3], sys.argv[4:])
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no fuzzer is left behind
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", action="append", default=[], help="one target; may be given again")
    parser.add_argument("--all", action="store_true", help="every target, in turn")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--minutes", type=float, help="for all together, instead of --seconds")
    parser.add_argument("--minimise", action="store_true", help="do not fuzz: keep of the corpora what is worth keeping")
    parser.add_argument("--keep", type=int, default=12, help="files of a corpus to keep at most")
    parser.add_argument("--work", type=Path, default=AGENT / "build" / "fuzz", help="where new inputs and logs go")
    parser.add_argument("--pause-while", type=Path, metavar="FILE", help="stand still as long as this file exists")
    parser.add_argument("--names", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.names:
        sys.path.insert(0, str(HERE.parent))
        from fuzz.targets import TARGETS

        print(*TARGETS)
        return
    with tempfile.TemporaryDirectory(prefix="dwcp-fuzz-") as place:
        fuzzers = Fuzzers(Path(place))
        targets = fuzzers.names() if options.all else options.target
        if not targets:
            parser.error("give --target or --all")
        seconds = options.minutes * 60 / len(targets) if options.minutes else options.seconds
        crashed = False
        for target in targets:
            if options.minimise:
                print(f"{target:14}", minimise(fuzzers, target, options.work, options.keep), flush=True)
                continue
            found = fuzz(fuzzers, target, seconds, options.work, options.pause_while)
            crashed = crashed or bool(found.crash)
            print(f"{target:14}", found, flush=True)
    sys.exit(1 if crashed else 0)


if __name__ == "__main__":
    main()
