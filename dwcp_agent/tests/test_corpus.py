"""Every input that fuzzing kept, through its target again: in this process, or, for the compiled core, in a program that gcc made."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fuzz.core import PROGRAMS, replayer
from fuzz.targets import TARGETS

CORPUS = Path(__file__).resolve().parent / "fuzz" / "corpus"
MOST_FILES = 300
MOST_BYTES = 500_000


def inputs(target: str) -> list[Path]:
    found = sorted((CORPUS / target).iterdir())
    assert found, f"corpus/{target} is empty: nothing would be tried on the target"
    return found


@pytest.mark.parametrize("target", TARGETS)
def test_every_kept_input_keeps_the_promise_of_its_target(target: str) -> None:
    for path in inputs(target):
        try:
            TARGETS[target].run(path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path.relative_to(CORPUS)}: {error!r}") from error


def test_every_kept_input_of_the_core_finds_all_paths_agreed(tmp_path: Path) -> None:
    for program in PROGRAMS:
        command = [str(replayer(program, tmp_path)), *map(str, inputs(program))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{program}: {done.stderr[-500:]}"


def test_no_corpus_is_without_its_target_and_all_of_them_are_small() -> None:
    assert {path.name for path in CORPUS.iterdir()} == {*TARGETS, *PROGRAMS}
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert len(files) < MOST_FILES
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
