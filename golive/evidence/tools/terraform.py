"""What Terraform itself says of ``terraform/``: formatted, valid, tested. On a copy; with our provider, and without any registry."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from golive.errors import Unprepared
from golive.evidence.tools.model import Command, Judged, Place, Said, Tool
from golive.fleet import provider_mirror
from golive.fleet.terraform import executable

__all__ = ["FORMAT", "TEST", "VALIDATE"]

_CONTROL = "badly_formatted_on_purpose.tf"
"""A file that `fmt` has to complain of: it says nothing of good ones, and silence would prove nothing."""


def _copied(place: Place) -> Path:
    source, target = place.root / "terraform", place.scratch / "terraform"
    if not any(source.rglob("*.tf")):
        raise Unprepared(f"there is no Terraform code in {source}.")
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    return target


def _command(place: Place, directory: Path, *words: str) -> Command:
    settings = provider_mirror.install(place.scratch)
    variables = {"TF_CLI_CONFIG_FILE": str(settings), "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    return Command((str(executable()), *words), directory, variables)


def _places(root: Path) -> list[Path]:
    """Directories of the configuration that Terraform can be run in: modules and environments."""
    return sorted({path.parent for path in root.glob("*/*/*.tf")})


def _format(place: Place) -> list[Command]:
    target = _copied(place)
    (target / _CONTROL).write_text('locals {\nbadly   =    "formatted"\n}\n', encoding="utf-8")
    return [_command(place, target, "fmt", "-recursive", "-check", ".")]


def _formatted(place: Place, said: Sequence[Said]) -> Judged:
    files = [path for kind in ("*.tf", "*.tftest.hcl") for path in (place.root / "terraform").rglob(kind)]
    (only,) = said
    named = [line.strip() for line in only.output.splitlines() if line.strip()]
    facts = {"files": len(files)}
    if only.rc != 3 or _CONTROL not in named:
        return Judged("UNKNOWN", "terraform fmt did not even complain of a file that is badly formatted on purpose.", facts)
    bad = sorted(name for name in named if name != _CONTROL)
    if bad:
        return Judged("FAIL", f"terraform fmt would change {', '.join(bad)}.", {**facts, "unformatted": bad})
    return Judged("PASS", f"All {len(files)} files of the Terraform code are formatted.", facts)


FORMAT = Tool(
    "terraform-fmt", "The Terraform code is formatted as Terraform formats it.", ("toolkit",), timedelta(days=7), _format, _formatted
)


def _validate(place: Place) -> list[Command]:
    target = _copied(place)
    init = ("init", "-backend=false", "-input=false", "-no-color")
    return [_command(place, where, *words) for where in _places(target) for words in (init, ("validate", "-json"))]


def _valid(place: Place, said: Sequence[Said]) -> Judged:
    names = []
    for init, check in zip(said[::2], said[1::2], strict=True):
        name = f"{check.command.directory.parent.name}/{check.command.directory.name}"
        if init.rc != 0:
            return Judged("UNKNOWN", f"terraform init ended with {init.rc} in {name}: its provider was not found.")
        told = json.loads(check.output)
        errors = [each["summary"] for each in told["diagnostics"] if each["severity"] == "error"]
        if told["valid"] is not True or check.rc != 0 or errors:
            return Judged("FAIL", f"terraform validate refuses {name}: {'; '.join(errors)}.", {"directory": name, "errors": errors})
        names.append(name)
    lacking = [name for name in ("environments/lab", "environments/staging", "environments/prod") if name not in names]
    if lacking:
        return Judged("FAIL", f"There is no Terraform code for {', '.join(lacking)}.", {"directories": names})
    return Judged("PASS", f"terraform validate accepts all {len(names)} modules and environments.", {"directories": names})


VALIDATE = Tool(
    "terraform-validate",
    "Every module and every environment of the Terraform code is valid, with the provider it names.",
    ("toolkit",),
    timedelta(days=7),
    _validate,
    _valid,
)

_SUMMARY = re.compile(r"^(?:Success!|Failure!) (\d+) passed, (\d+) failed(?:, (\d+) skipped)?\.", re.M)


def _test(place: Place) -> list[Command]:
    target = _copied(place)
    tested = sorted({path.parent.parent for path in target.glob("*/*/tests/*.tftest.hcl")})
    init = ("init", "-backend=false", "-input=false", "-no-color")
    return [_command(place, where, *words) for where in tested for words in (init, ("test", "-no-color"))]


def _tested(place: Place, said: Sequence[Said]) -> Judged:
    counts: dict[str, int] = {}
    for init, test in zip(said[::2], said[1::2], strict=True):
        name = test.command.directory.name
        if init.rc != 0:
            return Judged("UNKNOWN", f"terraform init ended with {init.rc} in {name}.")
        match = _SUMMARY.search(test.output)
        if match is None:
            return Judged("UNKNOWN", f"terraform test did not say how many tests of {name} it ran.")
        passed, failed, skipped = (int(number or 0) for number in match.groups())
        if failed or skipped or test.rc != 0:
            return Judged("FAIL", f"Of {name}, {passed} tests passed, {failed} failed, {skipped} were skipped.", {"module": name})
        counts[name] = passed
    bare = [path.name for path in sorted((place.root / "terraform" / "modules").iterdir()) if not counts.get(path.name)]
    if bare:
        return Judged("FAIL", f"No test of the module {', '.join(bare)} was run.", {"tests": counts})
    return Judged("PASS", f"terraform test: {sum(counts.values())} passed, every module has some.", {"tests": counts})


TEST = Tool("terraform-test", "The tests of every Terraform module pass.", ("toolkit",), timedelta(days=7), _test, _tested)
