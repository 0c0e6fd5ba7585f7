"""What ruff and mypy say of the Python code, and whether the agent's wheel is the same when it is built again."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Sequence
from datetime import timedelta

from golive.evidence.tools.model import Command, Judged, Place, Said, Tool, python, venv

__all__ = ["BUILD", "MYPY", "RUFF"]


def _ruff(place: Place) -> list[Command]:
    ruff = venv("ruff")
    lines = (
        ("check", "--no-cache", "--show-files", "."),
        ("check", "--no-cache", "."),
        ("format", "--no-cache", "--check", "--output-format", "concise", "."),
    )
    return [Command((ruff, *words), place.root) for words in lines]


def _linted(_: Place, said: Sequence[Said]) -> Judged:
    shown, checked, formatted = said
    files = [line for line in shown.output.splitlines() if line.endswith((".py", ".pyi"))]
    facts = {"files": len(files)}
    if shown.rc != 0 or not files:
        return Judged("UNKNOWN", "ruff looked at no file.", facts)
    if checked.rc == 1:
        count = re.search(r"^Found (\d+) error", checked.output, re.M)
        return Judged("FAIL", f"ruff finds {count[1] if count else 'some'} errors.", facts)
    if checked.rc != 0 or "All checks passed!" not in checked.output:
        return Judged("UNKNOWN", f"ruff check ended with {checked.rc} and did not say that all checks passed.", facts)
    if formatted.rc == 1:
        changed = [line.split(":", 1)[0] for line in formatted.output.splitlines() if ": unformatted:" in line]
        return Judged("FAIL", f"ruff would format {len(changed)} files anew.", {**facts, "unformatted": changed})
    match = re.search(r"^(\d+) files? already formatted", formatted.output, re.M)
    if formatted.rc != 0 or match is None or int(match[1]) == 0:
        return Judged("UNKNOWN", f"ruff format ended with {formatted.rc} and did not say how many files are formatted.", facts)
    return Judged("PASS", f"ruff finds nothing in {len(files)} files, and all are formatted.", facts)


RUFF = Tool("ruff", "The Python code passes ruff's rules and is formatted.", ("source", "toolkit"), timedelta(days=7), _ruff, _linted)

_TYPED = re.compile(r"^Success: no issues found in (\d+) source files?", re.M)
_ERRORS = re.compile(r"^Found (\d+) errors? in (\d+) files?", re.M)


def _mypy(place: Place) -> list[Command]:
    return [
        Command((venv("mypy"), "--cache-dir", str(place.scratch / name)), place.root / where)
        for name, where in (("toolkit", "."), ("agent", "dwcp_agent"))
    ]


def _typed(_: Place, said: Sequence[Said]) -> Judged:
    counts = {}
    for each in said:
        name = "agent" if each.command.directory.name == "dwcp_agent" else "toolkit"
        if (found := _ERRORS.search(each.output)) is not None:
            return Judged("FAIL", f"mypy finds {found[1]} errors in the {name}.", {"errors": int(found[1]), "part": name})
        match = _TYPED.search(each.output)
        if each.rc != 0 or match is None or int(match[1]) == 0:
            return Judged("UNKNOWN", f"mypy ended with {each.rc} and did not say that it looked at the {name}.")
        counts[name] = int(match[1])
    return Judged("PASS", f"mypy finds nothing in {counts['toolkit']} files of the toolkit and {counts['agent']} of the agent.", counts)


MYPY = Tool("mypy", "The types of toolkit and agent fit, strictly.", ("source", "toolkit"), timedelta(days=7), _mypy, _typed)

_NOT_SOURCE = shutil.ignore_patterns("tests", "build", "*.so", "*.egg-info", "__pycache__", ".*")
_EPOCH = {"SOURCE_DATE_EPOCH": "946684800", "PYTHONHASHSEED": "0"}


def _build(place: Place) -> list[Command]:
    commands = []
    # At places whose names differ in length: a path that gets into the wheel shows.
    for name in ("a", "a-much-longer-directory"):
        tree = place.scratch / name / "tree"
        shutil.copytree(place.root / "dwcp_agent", tree, ignore=_NOT_SOURCE)
        words = ("-m", "build", "--wheel", "--no-isolation", "--outdir", str(place.scratch / name / "out"), str(tree))
        flags = {"CFLAGS": f"-ffile-prefix-map={tree}=/dwcp_agent"}
        commands.append(Command(python(*words), place.scratch, _EPOCH | flags))
    return commands


def _same(_: Place, said: Sequence[Said]) -> Judged:
    digests = []
    for each in said:
        out = each.command.argv[each.command.argv.index("--outdir") + 1]
        wheels = [path for path in _.scratch.glob("*/out/*.whl") if str(path.parent) == out]
        if each.rc != 0:
            telling = next((line.strip() for line in each.output.splitlines() if "error" in line.lower()), f"exit code {each.rc}")
            return Judged("FAIL", f"The agent's wheel cannot be built: {telling}")
        if len(wheels) != 1:
            return Judged("UNKNOWN", f"A build left {len(wheels)} wheels.")
        digests.append(hashlib.sha256(wheels[0].read_bytes()).hexdigest())
    facts = {"digests": digests}
    if len(digests) != 2:
        return Judged("UNKNOWN", f"There were {len(digests)} builds and not two.", facts)
    if digests[0] != digests[1]:
        return Judged("FAIL", "Built twice, the agent's wheel has two digests.", facts)
    return Judged("PASS", f"Built twice at different places, the agent's wheel has the digest {digests[0][:12]} both times.", facts)


BUILD = Tool("build-reproduces", "The agent's wheel is the same whenever it is built.", ("source",), timedelta(days=7), _build, _same)
