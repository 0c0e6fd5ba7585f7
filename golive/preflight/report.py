"""What a preflight found, for people and for scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from golive.preflight.finding import Finding, Grade

__all__ = ["Report"]

CONTROLLER = "this machine"


@dataclass(frozen=True)
class Report:
    """Findings of this machine and of every host; a host without any is in order."""

    env: str
    controller: Sequence[Finding]
    hosts: Mapping[str, Sequence[Finding]]
    silent: Sequence[str]
    """Hosts that could not be asked, so that nothing else is known of them."""
    seconds: float

    def count(self, grade: Grade) -> int:
        """Findings of a grade, of this machine and all hosts."""
        return sum(finding.grade is grade for _, finding in self._all())

    @property
    def ok(self) -> bool:
        """Whether nothing stands in the way of a go-live."""
        return self.count(Grade.PROBLEM) == 0

    @property
    def text(self) -> str:
        """Problems by host, then warnings by host."""
        blocks = []
        for grade, title in ((Grade.PROBLEM, "Problems"), (Grade.WARNING, "Warnings")):
            lines: list[str] = []
            for who, findings in [(CONTROLLER, self.controller), *self.hosts.items()]:
                told = [finding.says for finding in findings if finding.grade is grade]
                lines += [f"  {who}", *(f"    - {sentence}" for sentence in told)] if told else []
            blocks += [f"{title}:", *lines] if lines else []
        problems, warnings = self.count(Grade.PROBLEM), self.count(Grade.WARNING)
        verdict = "nothing stands in the way of a go-live" if self.ok else "mend the problems, then run it again"
        last = (
            f"Environment {self.env}: {len(self.hosts)} hosts in {self.seconds:.0f} s, {problems} problems, {warnings} warnings; {verdict}."
        )
        return "\n".join([*blocks, last])

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "env": self.env,
            "ok": self.ok,
            "problems": self.count(Grade.PROBLEM),
            "warnings": self.count(Grade.WARNING),
            "seconds": round(self.seconds, 1),
            "controller": [_row(finding) for finding in self.controller],
            "hosts": [
                {"name": name, "asked": name not in self.silent, "findings": [_row(finding) for finding in findings]}
                for name, findings in self.hosts.items()
            ],
        }

    def _all(self) -> Iterator[tuple[str, Finding]]:
        for who, findings in [(CONTROLLER, self.controller), *self.hosts.items()]:
            for finding in findings:
                yield who, finding


def _row(finding: Finding) -> dict[str, str]:
    return {"check": finding.check, "grade": finding.grade.value, "says": finding.says}
