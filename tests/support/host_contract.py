"""What every host of the toolkit keeps, be it a machine or a simulated one: the same body runs over both."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest

from golive.errors import GoliveError, Refused, Unreachable
from golive.fleet.connection import Completed
from golive.fleet.model import Host
from golive.fleet.port import Commands

OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


@dataclass(frozen=True)
class Subject:
    """A host under contract. ``cut``, ``hangs``: while entered, nothing answers there; SSH is accepted and nothing follows.

    Where the toolkit cannot make the host itself do so, they give another way to it that does.
    """

    shell: Commands
    host: Host
    cut: Callable[[], AbstractContextManager[Host]]
    hangs: Callable[[], AbstractContextManager[Host]]
    reboot: Callable[[], None]
    first_token: int = 1000

    def dwcp(self, *words: str, stdin: bytes | None = None) -> Completed:
        return self.shell.run(self.host, ["dwcp-host", *words], input=stdin, timeout_s=30)

    def told(self, *words: str, stdin: bytes | None = None) -> dict[str, Any]:
        done = self.dwcp(*words, stdin=stdin)
        assert done.rc == 0, done.stderr
        return dict(json.loads(done.stdout))


class HostContract:
    """Collected where a subclass gives the fixture ``subject``; its tests run in order and share the host."""

    def test_what_it_does_not_know_is_an_exit_status_and_no_error(self, subject: Subject) -> None:
        done = subject.shell.run(subject.host, ["no-such-program"], timeout_s=10)
        assert done.rc == 127 and b"not found" in done.stderr + b"not found" * (b"no such" in done.stderr)

    def test_words_that_are_no_verb_are_bad_input(self, subject: Subject) -> None:
        assert subject.dwcp("no-such-verb").rc == 2

    def test_status_says_what_is_there(self, subject: Subject) -> None:
        said = subject.told("status")
        assert set(said) == {"fence", "releases", "load", "incomplete", "plays"}
        assert all(set(row) >= {"id", "digest", "slot", "unit", "active", "enabled", "state"} for row in said["releases"])

    def test_an_old_token_is_refused_and_changes_nothing(self, subject: Subject) -> None:
        token = subject.first_token
        assert subject.told("fence", "--token", str(token), "--run", "r1")["token"] == token
        for older, run in ((token - 1, "r1"), (token, "r2")):
            done = subject.dwcp("fence", "--token", str(older), "--run", run)
            assert done.rc == 4 and done.stdout == b"" and done.stderr.strip()
        assert subject.told("status")["fence"] == {"token": token, "owner": "r1"}

    def test_stdin_reaches_the_verb_and_the_same_again_changes_nothing(self, subject: Subject) -> None:
        labels = {"host": "h", "site": "s", "slot": "a", "release": "2.9.0-aaaaaaaaaaaa"}
        text = json.dumps([{"targets": ["h:7400"], "labels": labels}]).encode()
        words = ("targets", "set", "--token", str(subject.first_token), "--run", "r1")
        assert subject.told(*words, stdin=text)["targets"] == 1
        assert subject.told(*words, stdin=text)["changed"] is False
        assert subject.dwcp(*words, stdin=b"nonsense").rc == 2

    def test_a_release_that_is_not_there_is_not_started(self, subject: Subject) -> None:
        words = ("activate", "9.9.9-000000000000", "--token", str(subject.first_token), "--run", "r1")
        done = subject.dwcp(*words)
        assert done.rc == 4 and b"not installed" in done.stderr

    def test_health_is_told_in_the_six_lines_that_the_check_reads(self, subject: Subject) -> None:
        from golive.actions.checks_hosts import _LOOK

        lines = subject.shell.run(subject.host, ["sh", "-c", _LOOK], timeout_s=15).text.splitlines()
        assert len(lines) == 6
        boot, now, disk, failed, load, cpus = lines
        assert boot and float(now) > 1e9 and disk.split()[1].endswith("%") and failed.strip() == "0" and load.split() and int(cpus) > 0

    def test_each_answers_for_every_host_and_one_that_is_silent_takes_nothing_from_the_others(self, subject: Subject) -> None:
        with subject.cut() as silent:
            answers = subject.shell.each([silent], ["dwcp-host", "status"], timeout_s=5)
        assert list(answers) == [silent.name] and isinstance(answers[silent.name], Unreachable)
        again = subject.shell.each([subject.host], ["dwcp-host", "status"], timeout_s=15)[subject.host.name]
        assert isinstance(again, Completed) and again.rc == 0

    def test_a_host_that_is_cut_off_is_unreachable_by_name(self, subject: Subject) -> None:
        with subject.cut() as silent, pytest.raises(Unreachable, match=silent.name) as told:
            subject.shell.run(silent, ["dwcp-host", "status"], timeout_s=5)
        assert told.value.host == silent.name

    def test_ssh_that_accepts_and_hangs_is_unreachable_in_time(self, subject: Subject) -> None:
        with subject.hangs() as hanging, pytest.raises(Unreachable, match="handshake"):
            subject.shell.run(hanging, ["dwcp-host", "status"], timeout_s=2)

    def test_another_machine_of_the_same_name_is_refused(self, subject: Subject) -> None:
        impostor = subject.host.model_copy(update={"host_key": OTHER_KEY, "name": subject.host.name + "x"})
        answers = subject.shell.each([impostor], ["dwcp-host", "status"], timeout_s=10)
        said = answers[impostor.name]
        assert isinstance(said, GoliveError) and isinstance(said, Refused) and "another host key" in str(said)

    def test_what_was_recorded_survives_a_reboot(self, subject: Subject) -> None:
        subject.reboot()
        assert subject.told("status")["fence"] == {"token": subject.first_token, "owner": "r1"}
