"""Who may decide is pinned where the controller's own files do not reach: without that pin, or with another, nobody is asked."""

from __future__ import annotations

from typing import Any

import pytest

from golive.actions import _pin
from golive.actions._world import World
from golive.approvals import Approvers
from golive.errors import GoliveError, Refused, Unprepared, Unreachable
from golive.fleet.ssh import Completed
from tests.support.action_step import OPS, Call, Hosts, environment, fleet

DIGEST = "a" * 64
APPROVERS = Approvers(people=[], digest=DIGEST)


class _Step:
    """As much of a step as the pin is looked up with."""

    def __init__(self, answer: Any, *, user: str = "root", **policy: Any) -> None:
        self.env = environment().model_copy(update={"policy": policy})
        self.hosts = Hosts(special=lambda call: answer)
        self.known = fleet(user=user)

    def fleet(self) -> Any:
        return self.known


def _looked(monkeypatch: pytest.MonkeyPatch, step: _Step) -> list[Call]:
    monkeypatch.setattr(_pin, "world", lambda env, known: World(known, step.hosts))  # type: ignore[arg-type]
    _pin.pinned_on_ops(step, APPROVERS)  # type: ignore[arg-type]
    return step.hosts.calls


def _said(text: str, rc: int = 0) -> Completed:
    return Completed(rc, text.encode(), b"")


@pytest.mark.parametrize("pin", [f"0 644\n{DIGEST}\n", f"0 444\n{DIGEST}  approvers.yaml\n", f"0 600\n{DIGEST}"])
def test_the_very_file_that_root_pinned_on_the_ops_host_holds(monkeypatch, pin):
    calls = _looked(monkeypatch, _Step(_said(pin)))
    assert [call.host for call in calls] == [OPS] and _pin.PIN in " ".join(calls[0].words)


def test_a_user_who_is_not_root_reads_the_pin_by_sudo(monkeypatch):
    assert _looked(monkeypatch, _Step(_said(f"0 600\n{DIGEST}"), user="dwcp"))[0].words[:2] == ("sudo", "-n")


@pytest.mark.parametrize(
    ("answer", "error", "match"),
    [
        (_said(f"0 644\n{'b' * 64}\n"), Refused, "is not the file that ops pins"),
        (_said("0 644\n"), Refused, "is not the file that ops pins"),
        (_said(f"1000 644\n{DIGEST}\n"), Refused, "by others than root"),
        (_said(f"0 664\n{DIGEST}\n"), Refused, "by others than root"),
        (_said(f"0 646\n{DIGEST}\n"), Refused, "by others than root"),
        (_said(f"0 nonsense\n{DIGEST}\n"), Refused, "by others than root"),
        (_said("", rc=1), Unprepared, "is missing"),
        (Unreachable("no answer"), Unreachable, "is unknown"),
    ],
    ids=["another", "empty", "another's file", "a group's", "everyone's", "nonsense", "missing", "silent"],
)
def test_anything_else_than_that_pin_is_refused(monkeypatch, answer, error, match):
    with pytest.raises(error, match=match):
        _looked(monkeypatch, _Step(answer))


def test_only_a_policy_that_says_so_goes_without(monkeypatch):
    assert _looked(monkeypatch, _Step(_said("", rc=1), approvals={"host_pin": "none"})) == []
    with pytest.raises(GoliveError, match="required or none"):
        _looked(monkeypatch, _Step(_said("", rc=1), approvals={"host_pin": "maybe"}))
