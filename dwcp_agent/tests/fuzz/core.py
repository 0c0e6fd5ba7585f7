"""Builds the targets of the compiled core, ``native/*.c``: with libFuzzer and sanitizers to fuzz, with gcc alone to run inputs again."""

from __future__ import annotations

import subprocess
from pathlib import Path

__all__ = ["PROGRAMS", "fuzzer", "replayer"]

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parent.parent / "native"
KERNELS = [str(NATIVE / f"{name}.c") for name in ("cpu", "dispatch", "checksum", "xor", "pagescan", "chunker")]
KERNELS += [str(NATIVE / f"{name}.c") for name in ("checksum_sse42", "checksum_clmul", "checksum_avx512", "checksum_arm", "chunker_x86")]
PROGRAMS = ("core_crc", "core_xor", "core_scan", "core_chunker")
_BOTH = ("-std=c11", "-g", f"-I{NATIVE}", f"-I{HERE / 'native'}")


def fuzzer(program: str, place: Path) -> Path:
    """The libFuzzer program. Raises RuntimeError when it cannot be built, with what has to be installed."""
    out = place / program
    flags = ("-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", "-Wno-unknown-pragmas")
    _compiled(["clang", *_BOTH, *flags, "-o", str(out), str(HERE / "native" / f"{program}.c"), *KERNELS], "clang libclang-rt-14-dev")
    return out


def replayer(program: str, place: Path) -> Path:
    """A program that runs the files it is given through the target, and ends badly with the first that fails. Raises RuntimeError."""
    flags = ("gcc", *_BOTH, "-O0", "-Wall", "-Wextra", "-Werror")
    packages = "gcc libc6-dev"
    objects = [place / f"{Path(source).stem}.o" for source in KERNELS]
    for source, compiled in zip(KERNELS, objects, strict=True):
        if not compiled.exists():
            _compiled([*flags, "-c", "-o", str(compiled), source], packages)
    out = place / f"{program}-replay"
    _compiled([*flags, "-o", str(out), *(str(HERE / "native" / f"{name}.c") for name in (program, "replay")), *map(str, objects)], packages)
    return out


def _compiled(command: list[str], packages: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise RuntimeError(f"There is no {command[0]}; on Debian, as root: apt-get install {packages}.") from None
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed; on Debian it takes: apt-get install {packages}.\n{done.stderr}")
