"""The core without Python: every path against the scalar one, and threads against each other, as built and under sanitizers.

``DWCP_SANITIZE=1`` adds the sanitized builds and valgrind, ``DWCP_STRESS_ITEMS`` says how many items go through each structure.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import build as build_package

HERE = Path(__file__).resolve().parent
NATIVE = HERE.parent.parent / "native"
CORE = sorted(str(path) for path in NATIVE.glob("*.c") if not path.name.startswith(("py_", "module")))
STRICT = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-pthread", f"-I{NATIVE}")
BUILDS = {
    "plain": ("-O2", "-fno-tree-vectorize"),
    "address": ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "thread": ("-O1", "-g", "-fsanitize=thread"),
}
SANITIZE = os.environ.get("DWCP_SANITIZE") == "1"
ITEMS = int(os.environ.get("DWCP_STRESS_ITEMS", "300000"))

pytestmark = pytest.mark.timeout(1800)


def builds(*sanitized: str) -> list[str]:
    return ["plain", *sanitized] if SANITIZE else ["plain"]


def built(place: Path, program: str, build: str, native: Path = NATIVE) -> str:
    """The program with the core of ``native``; fails the test when the compiler finds anything."""
    out = str(place / f"{program}-{build}")
    core = [str(native / Path(path).name) for path in CORE]
    command = ["gcc", f"-I{native}", *STRICT, *BUILDS[build], "-o", out, str(HERE / f"{program}.c"), *core]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("build", builds("address"))
def test_every_path_agrees_on_blocks_of_exactly_its_length(tmp_path: Path, build: str) -> None:
    program = built(tmp_path, "kernels", build)
    for seed in ("1", "2") if build == "plain" else ("3",):
        done = subprocess.run([program, "2500", seed], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "crc32c: scalar" in done.stdout


ARM = ("aarch64-linux-gnu-gcc", "qemu-aarch64")


@pytest.mark.skipif(not SANITIZE and not all(map(shutil.which, ARM)), reason=f"without {' and '.join(ARM)}")
def test_every_path_of_armv8_agrees_under_emulation(tmp_path: Path) -> None:
    out = str(tmp_path / "kernels-arm")
    command = [ARM[0], *STRICT, *BUILDS["plain"], "-static", "-o", out, str(HERE / "kernels.c"), *CORE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([ARM[1], out, "1700", "5"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "crc32c: scalar armcrc\n" in done.stdout


SHAPES = [
    ("queue", 1, 1, 1),
    ("queue", 4, 4, 1),
    ("queue", 8, 8, 32),
    ("ring", 1, 1, 1),
    ("ring", 1, 1, 16),
    ("stack", 4, 4, 1),
    ("stack", 8, 8, 16),
]


@pytest.mark.parametrize("build", builds("thread", "address"))
def test_nothing_is_lost_doubled_or_overtaken(tmp_path: Path, build: str) -> None:
    program = built(tmp_path, "stress", build)
    items = ITEMS if build == "plain" else ITEMS // 10
    for shape, producers, consumers, batch in SHAPES:
        for capacity in (2, 64, 1000):
            command = [program, shape, str(producers), str(consumers), str(items), str(capacity), str(batch)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            assert json.loads(done.stdout)["popped"] == items


def races(program: str, shape: str) -> int:
    """How many the thread sanitizer reports while items go through; it knows C11's orderings, whatever this processor makes of them."""
    threads = "1" if shape == "ring" else "3"
    found = 0
    for capacity, batch in (("8", "1"), ("64", "16")):
        command = [program, shape, threads, threads, "6000", capacity, batch]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.stdout and json.loads(done.stdout)["lost"] == 0, done.stderr
        found += done.stderr.count("WARNING: ThreadSanitizer: data race")
        assert found or done.returncode == 0, done.stderr
    return found


def test_threads_meet_by_orderings_that_suffice_and_weaker_ones_would_not(tmp_path: Path) -> None:
    (tmp_path / "weak").mkdir()
    for path in NATIVE.iterdir():
        text = path.read_text(encoding="utf-8")
        (tmp_path / "weak" / path.name).write_text(text.replace("memory_order_release", "memory_order_relaxed"), encoding="utf-8")
    sound, weak = built(tmp_path, "stress", "thread"), built(tmp_path / "weak", "stress", "thread", tmp_path / "weak")
    for shape in ("queue", "ring", "stack"):
        assert races(sound, shape) == 0, shape
        assert races(weak, shape) > 0, f"nobody would notice a wrong ordering of the {shape}"


@pytest.mark.parametrize("mode", ["plain", "poison"])
@pytest.mark.parametrize("build", builds("thread", "address"))
def test_pooled_buffers_belong_to_one_thread_at_a_time(tmp_path: Path, build: str, mode: str) -> None:
    program = built(tmp_path, "pool", build)
    for threads in (1, 4, 16):
        rounds = max(200, ITEMS // 60 // threads // (1 if build == "plain" else 5))
        done = subprocess.run([program, str(threads), str(rounds), mode], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{threads} threads\n{done.stdout}{done.stderr}"
        assert json.loads(done.stdout)["handed"] > 0


if SANITIZE:

    def test_valgrind_finds_nothing(tmp_path: Path) -> None:
        # Valgrind knows no AVX-512: those paths are AddressSanitizer's to look at.
        for program, arguments in (
            ("kernels", ("300", "4")),
            ("stress", ("queue", "2", "2", "2000", "16", "4")),
            ("pool", ("2", "200", "plain")),
        ):
            checked = ["valgrind", "-q", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect,possible"]
            command = [*checked, built(tmp_path, program, "plain"), *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr

    def test_python_faces_are_clean_under_address_and_undefined_behaviour_sanitizer(tmp_path: Path) -> None:
        flags = "-fsanitize=address,undefined -fno-sanitize-recover=all"
        lib = build_package(tmp_path, CFLAGS=f"{flags} -g", LDFLAGS=flags)
        (extension,) = lib.glob("dwcp_agent/_native*.so")
        assert b"__asan_report" in extension.read_bytes()
        runtime = [
            subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
            for name in ("libasan.so", "libubsan.so")
        ]
        environment = {
            **{key: value for key, value in os.environ.items() if key != "DWCP_SANITIZE"},
            "LD_PRELOAD": " ".join(runtime),
            "ASAN_OPTIONS": "detect_leaks=0",  # Python keeps what it has until it ends
            "DWCP_TEST_LIB": str(lib),
            "PYTHONMALLOC": "malloc",
        }
        files = [
            str(HERE / name)
            for name in ("test_checksum.py", "test_kernels.py", "test_channels.py", "test_pool.py", "test_zerocopy.py", "test_batch.py")
        ]
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
        done = subprocess.run(command, cwd=HERE.parent.parent, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
