"""``terraform.apply``, ``ansible.play``, ``monitoring.targets``, ``logs.collect``, and the runbooks that name all actions."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from golive import actions, ground, runbook
from golive.actions import _waves, ansible_play
from golive.actions.port import MARK, Finding, Found, registered
from golive.environment import ROOT
from golive.errors import Unreachable
from golive.fleet.ansible import PlayResult
from golive.fleet.connection import Completed
from golive.gates.verdict import Verdict
from golive.ground.provision import Provisioned
from golive.runbook import Runbook
from tests.support import action_step
from tests.support.action_step import AGENTS, NEW, OLD, OPS, RUN, TOKEN, Call, Step, answer, fleet, found, named, use_fleet

actions.load_all()
step = action_step.step


# -- terraform.apply --------------------------------------------------------------------------------------------------------------


def _applied(step: Step, monkeypatch: pytest.MonkeyPatch, provision: Any) -> Any:
    monkeypatch.delenv(MARK, raising=False)
    monkeypatch.setattr(ground, "provision", provision)
    return named("terraform.apply").apply(step.ctx(), {})


@pytest.mark.parametrize(("unreachable", "verdict"), [({}, Verdict.PASS), ({"ams-1": "no route"}, Verdict.ERROR)])
def test_terraform_runs_under_the_mark_and_leaves_none(
    step: Step, monkeypatch: pytest.MonkeyPatch, unreachable: dict[str, str], verdict: Verdict
) -> None:
    marks: list[str | None] = []

    def provision(env: object) -> Provisioned:
        marks.append(os.environ.get(MARK))
        return Provisioned(step.fleet, (), unreachable)

    outcome = _applied(step, monkeypatch, provision)
    assert (outcome.verdict, outcome.changed) == (verdict, 0) and "5 hosts" in outcome.summary
    assert all(name in outcome.summary for name in unreachable)
    assert marks == [f"unit/{RUN}/{TOKEN}"] and MARK not in os.environ


def test_a_terraform_that_fails_leaves_no_mark(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    def provision(env: object) -> Provisioned:
        raise Unreachable("the provider does not answer")

    with pytest.raises(Unreachable, match="the provider"):
        _applied(step, monkeypatch, provision)
    assert MARK not in os.environ


# -- ansible.play -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "verdict", "said"),
    [
        (PlayResult("base.yml", 0, {name: 3 if name == "ams-1" else 0 for name in (*AGENTS, OPS)}), Verdict.PASS, "on 5 hosts"),
        (PlayResult("base.yml", 0, {"ams-1": 3, "ams-2": 0, "nyc-1": 0, "ops": 0}), Verdict.ERROR, "nyc-2: nothing was heard of it"),
        (PlayResult("base.yml", 0, {}), Verdict.ERROR, "nothing was heard of it (and 3 more)"),
        (PlayResult("base.yml", 2, dict.fromkeys(AGENTS[1:], 0), failed={"ams-1": "no space"}), Verdict.FAIL, "ams-1: no space"),
        (PlayResult("base.yml", 4, dict.fromkeys(AGENTS[1:], 0), unreachable={"ams-1": "no route"}), Verdict.ERROR, "ams-1: no route"),
        (
            PlayResult("base.yml", 6, dict.fromkeys(AGENTS[2:], 0), failed={"ams-2": "x"}, unreachable={"ams-1": "no route"}),
            Verdict.ERROR,
            "ams-1",
        ),
        (PlayResult("base.yml", 250, {}), Verdict.ERROR, "status 250"),
    ],
)
def test_a_play_passes_only_when_every_host_did_it_all(
    step: Step, monkeypatch: pytest.MonkeyPatch, result: PlayResult, verdict: Verdict, said: str
) -> None:
    played: list[Any] = []

    def play_step(ctx: object, playbook: str, *, extravars: object, limit: list[str]) -> PlayResult:
        played.append((playbook, extravars, limit))
        return result

    monkeypatch.setattr(_waves, "play_step", play_step)
    monkeypatch.setattr(ansible_play, "variables", lambda env: {"of": env.name})
    outcome = named("ansible.play").apply(step.ctx({"playbook": "base.yml"}), dict.fromkeys((*AGENTS, OPS), Finding(Found.ABSENT)))
    assert (played[0][0], played[0][1], sorted(played[0][2])) == ("base.yml", {"of": "unit"}, list(AGENTS))
    assert [entry[2] for entry in played[1:]] == ([[OPS]] if verdict is Verdict.PASS else [])
    assert outcome.verdict is verdict and said in outcome.summary


@pytest.mark.parametrize("name", ["../base.yml", "/base.yml", "base.yaml", "Base.yml", ""])
def test_only_a_playbook_of_the_project_is_played(name: str) -> None:
    with pytest.raises(ValueError, match="playbook"):
        ansible_play.AnsiblePlay.Params.model_validate({"playbook": name})


# -- monitoring.targets -----------------------------------------------------------------------------------------------------------


def _set(step: Step, releases: list[str], said: object = None) -> Any:
    step.hosts.special = lambda call: said or answer({"changed": True, "targets": 99})  # type: ignore[assignment,return-value]
    return named("monitoring.targets").apply(step.ctx({"releases": releases}), {})


@pytest.mark.parametrize(
    ("roles", "wanted"),
    [
        (["incumbent"], [(OLD, "a", 7400)]),
        (["incumbent", "candidate"], [(OLD, "a", 7400), (NEW, "b", 7410)]),
        (["candidate"], [(NEW, "b", 7410)]),
    ],
)
def test_exactly_the_named_releases_are_scraped_on_every_agent_host(
    step: Step, roles: list[str], wanted: list[tuple[str, str, int]]
) -> None:
    step.slots()
    outcome = _set(step, roles)
    assert (outcome.verdict, outcome.changed, outcome.summary) == (Verdict.PASS, 1, "99 agent targets")
    [call] = step.hosts.calls
    assert call.host == OPS and call.words == ("dwcp-host", "targets", "set", "--token", str(TOKEN), "--run", RUN)
    assert json.loads(call.input or b"") == [
        {"targets": [f"{host}:{port}"], "labels": {"host": host, "site": host[:3], "slot": slot, "release": release}}
        for release, slot, port in wanted
        for host in AGENTS
    ]


def test_an_unprivileged_user_of_ops_takes_sudo(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    use_fleet(step, monkeypatch, fleet(user="deploy"))
    step.slots()
    assert _set(step, ["incumbent"]).verdict is Verdict.PASS
    assert step.hosts.calls[0].words[:3] == ("sudo", "-n", "dwcp-host")


def test_a_list_that_is_not_taken_fails_and_a_silent_ops_errs(step: Step) -> None:
    step.slots()
    outcome = _set(step, ["incumbent"], answer(rc=4, stderr="token 7 is older than 9"))
    assert outcome.verdict is Verdict.FAIL and "ops: " in outcome.summary and "older than 9" in outcome.summary
    assert "ended with 1" in _set(step, ["incumbent"], answer(rc=1)).summary
    step.hosts.silent.add(OPS)
    with pytest.raises(Unreachable, match="ops"):
        _set(step, ["incumbent"])


# -- logs.collect -----------------------------------------------------------------------------------------------------------------


def test_logs_are_kept_from_whoever_answers(step: Step) -> None:
    step.hosts.silent.add("ams-2")
    step.hosts.special = lambda call: answer(rc=1, stderr="no journal") if call.host == "nyc-1" else answer({"log of": call.host})
    collect, ctx = named("logs.collect"), step.ctx({"release": "candidate"})
    todo = collect.probe(ctx)
    assert found(todo) == dict.fromkeys(AGENTS, Found.ABSENT)
    outcome = collect.apply(ctx, todo)
    assert outcome.verdict is Verdict.PASS and outcome.data["missed"] == ["ams-2", "nyc-1"]
    assert "logs of 2 hosts" in outcome.summary and "not collected from ams-2, nyc-1" in outcome.summary
    assert json.loads((step.workdir / "ams-1.log").read_text()) == {"log of": "ams-1"}
    [left] = step.workdir.glob("ams-2.*")
    assert left.read_text().startswith("not collected: ams-2: no answer")
    assert all(call.says("--unit", f"dwcp-agent@{NEW}.service") or call.says("cores", NEW) for call in step.hosts.calls)


def test_logs_are_read_only_from_hosts_that_were_not_read(step: Step) -> None:
    (step.workdir / "ams-1.log").write_text("kept")
    collect, ctx = named("logs.collect"), step.ctx({"release": "candidate"})
    todo = {name: finding for name, finding in collect.probe(ctx).items() if finding.found is not Found.DONE}
    collect.apply(ctx, todo)
    assert step.hosts.told("journalctl") == ["ams-2", "nyc-1", "nyc-2"]
    assert (step.workdir / "ams-1.log").read_text() == "kept"


# -- the runbooks -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["golive", "rollback"])
def book(request: pytest.FixtureRequest) -> Runbook:
    return runbook.load(ROOT / "runbooks" / f"{request.param}.yaml", registered())


def test_runbooks_load_and_name_registered_actions_with_their_parameters(book: Runbook) -> None:
    uses = {each.uses for stage in book.stages for each in stage.steps}
    assert uses and uses <= set(registered())
    for stage in book.stages:
        for each in stage.steps:
            registered()[each.uses].Params.model_validate(each.params)


def test_every_action_is_used_by_a_runbook_and_has_a_file_of_its_own_name() -> None:
    used: set[str] = set()
    for name in ("golive", "rollback"):
        book = runbook.load(ROOT / "runbooks" / f"{name}.yaml", registered())
        used |= {each.uses for stage in book.stages for each in stage.steps}
    assert used == set(registered())
    pairs = {"release.deactivate": "release_activate", "traffic.detach": "traffic_attach", "traffic.close": "traffic_attach"}
    for name, kind in registered().items():
        home = type(kind).__module__.rsplit(".", 1)[-1]
        assert home == pairs.get(name, name.replace(".", "_"))


def test_every_share_of_the_candidate_is_watched_before_the_next() -> None:
    book = runbook.load(ROOT / "runbooks" / "golive.yaml", registered())
    stages = [stage for stage in book.stages if stage.name != "rehearsal"]
    order = [(each.uses, each.params.get("candidate")) for stage in stages for each in stage.steps]
    moves = [entry for entry in order if entry[0] in ("traffic.shift", "gate.metrics", "release.retire")]
    shares = [percent for uses, percent in moves if uses == "traffic.shift"]
    assert shares == sorted(shares) and shares[-1] == 100
    for at, (uses, _) in enumerate(moves):
        if uses == "traffic.shift":
            assert moves[at + 1][0] == "gate.metrics"
    names = [uses for uses, _ in order]
    assert names.index("baseline.freeze") < names.index("traffic.shift")
    assert names.index("gate.signoff") < names.index("release.retire")


def test_the_drill_goes_back_by_every_step_of_the_way_back_and_go_needs_each_of_their_times() -> None:
    books = {name: runbook.load(ROOT / "runbooks" / f"{name}.yaml", registered()) for name in ("golive", "rollback")}
    stages = {stage.name: stage for stage in books["golive"].stages}
    drill = list(stages["rehearsal"].steps)
    turn = next(at for at, each in enumerate(drill) if (each.uses, each.params.get("candidate")) == ("traffic.shift", 0))
    rehearsed = [each for each in drill[turn:] if each.uses != "rehearsal.finish"]
    whole = [each for stage in books["rollback"].stages for each in stage.steps]
    assert sorted(f"{each.uses} {dict(each.params)}" for each in rehearsed) == sorted(f"{each.uses} {dict(each.params)}" for each in whole)
    go = next(each for each in stages["final-readiness"].steps if each.uses == "rollback.predict")
    assert {step for box in ("traffic", "candidate", "verification") for step in go.params[box]} == {each.id for each in rehearsed}
    assert go.params["stage"] == "rehearsal" and list(stages).index("rehearsal") < list(stages).index("final-readiness")


def test_the_way_back_takes_traffic_first() -> None:
    book = runbook.load(ROOT / "runbooks" / "rollback.yaml", registered())
    first, *rest = [each for stage in book.stages for each in stage.steps]
    assert (first.uses, dict(first.params)) == ("traffic.shift", {"candidate": 0})
    assert [each.uses for each in rest][-1] == "traffic.close"


def test_the_newest_core_dump_of_each_host_is_kept_for_the_operator_alone_and_the_rest_is_named(step: Step) -> None:
    large = {"name": "core", "bytes": 1 << 40, "at": 2.0, "read": ["cat", "--", "/var/lib/dwcp/cores/x/core"]}
    small = {"name": "core.7", "bytes": 4, "at": 1.0, "read": ["cat", "--", "/var/lib/dwcp/cores/x/core.7"]}
    by_host = {"ams-1": [small, small], "ams-2": [large], "nyc-1": []}

    def said(call: Call) -> Completed | None:
        if call.says("cores"):
            if call.host == "nyc-2":
                return answer(rc=4, stderr="no cores")
            return answer({"cores": by_host[call.host], "more": 0, "directory": "/var/lib/dwcp/cores/x", "none": "did not crash"})
        return Completed(0, b"dump" if call.says("bash") else b"log", b"")

    step.hosts.special = said
    collect, ctx = named("logs.collect"), step.ctx({"release": "candidate"})
    outcome = collect.apply(ctx, collect.probe(ctx))
    told = outcome.data["cores"]
    path = step.workdir / "ams-1.core.gz"
    assert path.read_bytes() == b"dump" and path.stat().st_mode & 0o777 == 0o600
    assert (told["ams-1"]["cores"], told["ams-1"]["stayed"], told["ams-1"]["file"]) == (2, 1, str(path))
    assert (told["ams-2"]["stayed"], told["ams-2"]["file"]) == (1, None) and "MiB" in told["ams-2"]["why"]
    assert told["nyc-1"] == {"cores": 0, "stayed": 0, "file": None, "why": "did not crash"}
    assert told["nyc-2"]["why"] == "nyc-2: no cores" and outcome.verdict is Verdict.PASS
    assert "core dumps of ams-1, ams-2, 2 of them left on the hosts" in outcome.summary


def test_a_host_whose_log_was_missed_is_not_done(step: Step) -> None:
    step.hosts.silent.add("ams-2")
    collect, ctx = named("logs.collect"), step.ctx({"release": "candidate"})
    collect.apply(ctx, collect.probe(ctx))
    assert found(collect.probe(ctx)) == {**dict.fromkeys(AGENTS, Found.DONE), "ams-2": Found.ABSENT}


def test_logs_of_an_unknown_fleet_do_not_stop_the_way_back(step: Step) -> None:
    todo = {"environment": Finding(Found.UNKNOWN, "the fleet cannot be read")}
    assert named("logs.collect").apply(step.ctx({"release": "candidate"}), todo).verdict is not Verdict.FAIL


# -- the trace of a play ----------------------------------------------------------------------------------------------------------


def _traced(step: Step, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Hosts that keep traces as ``dwcp-host play`` does, by host; what a test puts there is what the probe sees."""
    monkeypatch.setattr(ansible_play, "variables", lambda env: {"of": env.name})
    monkeypatch.setattr(ansible_play, "issued", lambda env, host: step.workdir.with_name(f"{host}.issued").exists() and {"agent.crt": "1"})
    kept: dict[str, Any] = {}

    def said(call: Any) -> Any:
        words = [word for word in call.words if word != "dwcp-host"]
        if words[0] == "status":
            return answer({"releases": [], "load": [], "plays": {"base": kept[call.host]} if call.host in kept else {}})
        if words[0] == "play":
            state = {"begin": "begun", "done": "done"}[words[1]]
            kept[call.host] = {"state": state, "digest": words[4], "step": words[6], "run": words[10], "token": int(words[8]), "at": "now"}
            return answer({"changed": True})
        return None

    step.hosts.special = said
    return kept


def _playing(monkeypatch: pytest.MonkeyPatch, end: Any = None) -> list[tuple[list[str], Any]]:
    plays: list[tuple[list[str], Any]] = []

    def play_step(ctx: object, playbook: str, *, extravars: Any, limit: list[str]) -> PlayResult:
        plays.append((sorted(limit), extravars.get("dwcp_unfinished")))
        if end is not None:
            end()
        return PlayResult(playbook, 0, dict.fromkeys(limit, 0))

    monkeypatch.setattr(_waves, "play_step", play_step)
    return plays


EVERY = (*AGENTS, OPS)


def test_a_play_cut_off_in_a_wave_is_partial_there_done_before_and_absent_after(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    step.env = step.env.model_copy(update={"policy": {"gates": {}, "waves": {"sizes": [1, "100 %"]}}})
    traces, play, ctx = _traced(step, monkeypatch), named("ansible.play"), step.ctx({"playbook": "base.yml"})
    assert found(play.probe(ctx)) == dict.fromkeys(EVERY, Found.ABSENT)

    def second_wave_dies() -> None:
        if len(plays) == 2:
            raise Unreachable("the play was ended before it had a result")

    plays = _playing(monkeypatch, second_wave_dies)
    with pytest.raises(Unreachable):
        play.apply(ctx, play.probe(ctx))
    (first, _), (cut, _) = plays
    there = play.probe(ctx)
    assert {name for name, finding in there.items() if finding.found is Found.DONE} == set(first)
    assert {name for name, finding in there.items() if finding.found is Found.PARTIAL} == set(cut)
    todo = {name: finding for name, finding in there.items() if finding.found is not Found.DONE}
    plays = _playing(monkeypatch)
    again = step.ctx({"playbook": "base.yml"}, attempt=2)
    assert play.apply(again, todo).verdict is Verdict.PASS
    assert sorted(name for names, _ in plays for name in names) == sorted(set(EVERY) - set(first))
    assert all(unfinished == sorted(todo) for _, unfinished in plays)  # what it wrote before it was cut off is told its handlers
    assert set(found(play.probe(again)).values()) == {Found.DONE} and set(traces) == set(EVERY)


def test_a_new_run_another_step_and_another_digest_play_again(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    _traced(step, monkeypatch)
    _playing(monkeypatch)
    play, params = named("ansible.play"), {"playbook": "base.yml"}
    play.apply(step.ctx(params), play.probe(step.ctx(params)))
    assert set(found(play.probe(step.ctx(params))).values()) == {Found.DONE}
    assert set(found(play.probe(step.ctx(params, run="run-2"))).values()) == {Found.ABSENT}
    assert set(found(play.probe(step.ctx(params, step="other"))).values()) == {Found.ABSENT}
    monkeypatch.setattr(ansible_play, "variables", lambda env: {"of": "another world"})
    assert set(found(play.probe(step.ctx(params))).values()) == {Found.ABSENT}


def test_a_host_that_refuses_the_trace_is_not_played(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    _traced(step, monkeypatch)
    plays, answered = _playing(monkeypatch), step.hosts.special
    stale = answer(rc=4, stderr="Token 7 of run run-1 is stale")
    step.hosts.special = lambda call: stale if call.host == "nyc-2" and call.says("play", "begin") else answered(call)  # type: ignore[misc]
    outcome = named("ansible.play").apply(step.ctx({"playbook": "base.yml"}), dict.fromkeys(EVERY, Finding(Found.ABSENT)))
    assert outcome.verdict is Verdict.FAIL and "is stale" in outcome.summary
    assert plays == [(["ams-1", "ams-2", "nyc-1"], None)]


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (answer(rc=127, stderr="sh: dwcp-host: not found"), Found.ABSENT),
        (answer(rc=1, stderr="sudo: dwcp-host: command not found"), Found.ABSENT),
        (answer({"releases": [], "load": []}), Found.ABSENT),
        (answer({"releases": [], "load": [], "plays": {"base": None}}), Found.PARTIAL),
        (answer(rc=1, stderr="fence.json cannot be read"), Found.UNKNOWN),
        (answer(), Found.UNKNOWN),
    ],
)
def test_a_bare_host_is_absent_and_one_that_does_not_say_is_unknown(
    step: Step, monkeypatch: pytest.MonkeyPatch, said: Any, wanted: Found
) -> None:
    monkeypatch.setattr(ansible_play, "variables", lambda env: {})
    step.hosts.special = lambda call: said
    assert set(found(named("ansible.play").probe(step.ctx({"playbook": "base.yml"}))).values()) == {wanted}


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        ({"agent.crt": {"sha256": "1", "fits": True}}, Found.DONE),
        ({"agent.crt": {"sha256": "1", "fits": False}}, Found.PARTIAL),
        ({"agent.crt": {"sha256": "2", "fits": True}}, Found.PARTIAL),
        ({}, Found.PARTIAL),
    ],
)
def test_a_certificate_change_that_was_cut_off_is_told_from_a_done_one(
    step: Step, monkeypatch: pytest.MonkeyPatch, there: dict[str, Any], wanted: Found
) -> None:
    _traced(step, monkeypatch)
    _playing(monkeypatch)
    play, ctx = named("ansible.play"), step.ctx({"playbook": "base.yml"})
    play.apply(ctx, play.probe(ctx))
    monkeypatch.setattr(ansible_play, "issued", lambda env, host: {"agent.crt": "1"} if host == "ams-1" else {})
    answered = step.hosts.special
    step.hosts.special = lambda call: answer({"certificates": there}) if call.says("certificates") else answered(call)  # type: ignore[misc]
    assert found(play.probe(ctx)) == {**dict.fromkeys(EVERY, Found.DONE), "ams-1": wanted}


# -- what the other probes tell apart ---------------------------------------------------------------------------------------------


def test_the_targets_are_done_only_where_exactly_they_are_scraped(step: Step) -> None:
    step.slots()
    targets, ctx = named("monitoring.targets"), step.ctx({"releases": ["incumbent"]})
    groups = [
        {"targets": [f"{host}:7400"], "labels": {"host": host, "site": host[:3], "slot": "a", "release": OLD}} for host in reversed(AGENTS)
    ]
    said: dict[str, Any] = {"groups": groups}
    step.hosts.special = lambda call: answer(said)
    assert found(targets.probe(ctx)) == {OPS: Found.DONE}
    said["groups"] = groups[1:]
    assert found(targets.probe(ctx)) == {OPS: Found.ABSENT}
    said["groups"] = None
    assert found(targets.probe(ctx)) == {OPS: Found.PARTIAL}
    step.hosts.special = None
    step.hosts.silent.add(OPS)
    assert found(targets.probe(ctx)) == {OPS: Found.UNKNOWN}


def test_a_log_that_a_kill_cut_off_is_not_collected(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    collect, ctx = named("logs.collect"), step.ctx({"release": "candidate"})
    step.hosts.special = lambda call: answer({"log of": call.host})

    def torn(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:3])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", torn)
    with pytest.raises(KeyboardInterrupt):
        collect.apply(ctx, collect.probe(ctx))
    assert set(found(collect.probe(ctx)).values()) == {Found.ABSENT}
