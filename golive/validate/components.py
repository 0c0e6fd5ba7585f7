"""Each component against its own bars: short runs of the product's own benchmarks, and its tests.

Nothing is measured here that ``benchmarks/`` does not measure; this chooses rows of them, and says what of a component has no benchmark.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from golive.collect.tests import Case, ran
from golive.environment import ROOT
from golive.errors import Unprepared
from golive.validate.rows import Row, measured, of_bench, unmeasured

__all__ = ["COMPONENTS", "Component", "Program", "components", "functions_of", "of_tests"]

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Program:
    """A benchmark, and which of its rows are a component's."""

    script: str
    rows: Sequence[str]
    """Patterns of ids."""
    options: Sequence[str] = ()


@dataclass(frozen=True)
class Component:
    """What is measured and tested of it."""

    name: str
    what: str
    programs: Sequence[Program]
    tests: Sequence[str]
    """Files; every test in them."""
    lacks: str = ""
    """What no benchmark measures."""


_CORE = "benchmarks/core.py"

COMPONENTS: Sequence[Component] = (
    Component(
        "AMST",
        "transport over several streams",
        (Program(_CORE, ("mpmc-16", "batch-1 KiB", "zerocopy-by-size-1 MiB", "pool-glibc")),),
        ("dwcp_agent/tests/test_streams.py", "dwcp_agent/tests/test_frames.py"),
        "its rate on a link is measured by the suite end-to-end, and beside its peers by `inv bench wan`",
    ),
    Component(
        "HDE",
        "encoding of differences and content",
        (Program(_CORE, ("crc32c-scalar-64 KiB", "xor-avx2-256 KiB", "zero-scalar-256 KiB", "chunker-fastcdc-64k")),),
        ("dwcp_agent/tests/test_encoding.py", "dwcp_agent/tests/test_patch.py"),
        "its ratio is a row of `inv regress` and of `inv bench encoding`",
    ),
    Component(
        "PBA",
        "forecasts of links",
        (Program("benchmarks/forecast.py", ("near-median", "near-p85", "far-median", "far-p85")),),
        ("dwcp_agent/tests/test_prediction.py",),
    ),
    Component(
        "ASS",
        "sessions that scale",
        (),
        ("dwcp_agent/tests/test_scaling.py", "dwcp_agent/tests/test_sharing.py"),
        "no benchmark of its own",
    ),
    Component(
        "ACP",
        "control of congestion",
        (),
        ("dwcp_agent/tests/test_congestion.py", "dwcp_agent/tests/test_steering.py"),
        "its rate under loss is `inv bench wan`",
    ),
    Component(
        "ITP", "profiles by the path", (), ("dwcp_agent/tests/test_profiles.py", "dwcp_agent/tests/test_path.py"), "no benchmark of its own"
    ),
)


def components(tell: Tell, rounds: int = 3, chosen: Sequence[Component] = COMPONENTS) -> Iterator[Row]:
    """Rows of every component: its benchmarks', then its tests'."""
    results = _results(chosen, rounds, tell)
    cases = ran(sorted(test for component in chosen for file in component.tests for test in functions_of(file)))
    for component in chosen:
        name = component.name.lower()
        for program in component.programs:
            result = results[program.script]
            if isinstance(result, str):
                yield unmeasured(f"{name}-{Path(program.script).stem}", f"{component.name}, {component.what}", result)
                continue
            for pattern in program.rows:
                found = [row for row in result if fnmatchcase(str(row["id"]), pattern)]
                yield from (of_bench(name, row) for row in found)
                if not found:
                    yield unmeasured(
                        f"{name}-{pattern}", f"{component.name}, {component.what}", f"{program.script} has no such row any more"
                    )
        yield of_tests(f"{name}-tests", f"{component.name}, {component.what}: its tests", component.tests, cases, component.lacks)


def functions_of(file: str) -> list[str]:
    """Every test of a file, as node ids up to the function. Empty for a file that is not there."""
    import ast

    try:
        tree = ast.parse((ROOT / file).read_bytes())
    except OSError:
        return []
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [f"{file}::{node.name}" for node in tree.body if isinstance(node, kinds) and node.name.startswith("test_")]


def of_tests(id_: str, case: str, files: Sequence[str], cases: Iterable[Case], note: str = "") -> Row:
    """How many of the cases in ``files`` passed: all of them, and at least one in each, or it is a failure."""
    mine = [case for case in cases if case.test.partition("::")[0] in files]
    silent = [file for file in files if not any(case.test.startswith(f"{file}::") for case in mine)]
    bad = [case for case in mine if case.outcome != "passed"]
    said = [f"nothing of {file} ran" for file in silent] + [f"{one.test.rpartition('::')[2]} {one.outcome}" for one in bad[:3]]
    words = "; ".join([*said, *([note] if note else []), "tests, and no measurement"])
    if not mine:
        return unmeasured(id_, case, words, unit="tests")
    passed = len(mine) - len(bad)
    return measured(id_, case, "tests", [passed], above=len(mine) - 1, right=not silent and not bad, note=words)


def _results(chosen: Sequence[Component], rounds: int, tell: Tell) -> Mapping[str, Sequence[Mapping[str, Any]] | str]:
    """By script, its rows; or why there are none."""
    wanted: dict[str, list[str]] = {}
    for component in chosen:
        for program in component.programs:
            wanted.setdefault(program.script, []).extend(program.rows)
    found: dict[str, Sequence[Mapping[str, Any]] | str] = {}
    for script, patterns in wanted.items():
        options = ["--only", ",".join(patterns), "--rounds", str(rounds)] if script == _CORE else []
        found[script] = run_benchmark(script, options, tell)
    return found


def run_benchmark(script: str, options: Sequence[str], tell: Tell) -> Sequence[Mapping[str, Any]] | str:
    """The rows that a benchmark measured just now; its committed result stays as it is. A sentence when it could not be run."""
    from golive.verbs.bench import _peers

    try:
        environment = {**os.environ, "PYTHONPATH": str(_peers())}
    except Unprepared as error:
        return error.message
    tell(f"running {script} {' '.join(options)}".rstrip())
    with tempfile.TemporaryDirectory(prefix="golive-validate-") as directory:
        words = [sys.executable, str(ROOT / script), *options, "--out", str(Path(directory) / "result.json")]
        done = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 2:
        return done.stdout.strip() or "the benchmark lacks something and does not say what"
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        return f"{script} ended with {done.returncode} and said: {said[:300]}"
    rows: Sequence[Mapping[str, Any]] = json.loads(done.stdout)["rows"]
    return rows
