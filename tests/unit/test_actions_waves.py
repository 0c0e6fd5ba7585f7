"""Changes in waves: what a wave did is journaled before the next, and the failure budget is of the whole fleet and run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from golive import actions
from golive.actions._waves import Went, in_waves, spared
from golive.actions._world import aside, hosts_for, slot_of
from golive.actions.port import Finding, Found, Outcome, StepContext, StepStopped
from golive.errors import Occupied, Unreachable
from golive.fleet.model import Fleet, Host
from golive.fleet.waves import Wave, policy_of, waves
from golive.gates.verdict import Verdict
from tests.support import action_step
from tests.support.action_step import AGENTS, GATEWAYS, NEW, OLD, Hosts, Step, found, named, release_entry

actions.load_all()
step = action_step.step
SPARE = ("ams-2", "nyc-2")
"""Hosts that are no gateways."""


def budget(step: Step, failed: int = 0, unreachable: int = 0, **waves: Any) -> None:
    policy = {"gates": {}, "waves": waves, "failure_budget": {"failed": failed, "unreachable": unreachable}}
    step.env = step.env.model_copy(update={"policy": policy})


def todo(names: Sequence[str] = AGENTS) -> dict[str, Finding]:
    return dict.fromkeys(names, Finding(Found.ABSENT))


def activated(step: Step, ctx: StepContext) -> Outcome:
    return named("release.activate").apply(ctx, todo())


def test_each_wave_is_journaled_before_the_next_begins(step: Step) -> None:
    budget(step)
    outcome = activated(step, step.ctx({"release": "candidate"}))
    assert (outcome.verdict, outcome.changed) == (Verdict.PASS, 4) and "in 4 waves" in outcome.summary
    kinds = [kind for kind, _ in step.facts]
    assert kinds == ["wave.started", "wave.done"] * 4
    order = [name for wave in step.noted("wave.started") for name in wave["hosts"]]
    assert order == step.hosts.told("activate") and sorted(order) == sorted(AGENTS)
    assert [name[:3] for name in order] in (["ams", "ams", "nyc", "nyc"], ["nyc", "nyc", "ams", "ams"])
    assert [(w["wave"], w["of"]) for w in step.noted("wave.done")] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_failure_stops_before_the_next_wave_where_nothing_may_fail(step: Step) -> None:
    budget(step)
    first, second = [name for wave in _waves(step) for name in wave.hosts][:2]
    step.hosts.refusing[second, "activate"] = "no space left"
    outcome = activated(step, step.ctx({"release": "candidate"}))
    assert outcome.verdict is Verdict.FAIL and f"{second}: no space left" in outcome.summary and "2 hosts of later waves" in outcome.summary
    assert step.hosts.told("activate") == [first, second] and not step.noted("host.set-aside")


def test_within_the_budget_a_host_is_set_aside_and_the_verdict_says_so(step: Step) -> None:
    budget(step, unreachable=1)
    step.hosts.silent.add("nyc-2")
    ctx = step.ctx({"release": "candidate"})
    outcome = activated(step, ctx)
    assert outcome.verdict is Verdict.PASS and "NOT on nyc-2: set aside" in outcome.summary and "on 3 hosts" in outcome.summary
    [fact] = step.noted("host.set-aside")
    assert (fact["host"], fact["state"]) == ("nyc-2", "unreachable") and "no answer" in fact["reason"]
    assert "nyc-2" not in [host.name for host in hosts_for(ctx, "candidate")]
    assert "nyc-2" not in named("release.activate").probe(ctx)


def test_failed_and_unreachable_are_counted_apart(step: Step) -> None:
    budget(step, failed=2)
    step.hosts.silent.add("nyc-2")
    outcome = activated(step, step.ctx({"release": "candidate"}))
    assert outcome.verdict is Verdict.ERROR and "1 unreachable, the failure budget of the whole fleet is 0" in outcome.summary
    assert not step.noted("host.set-aside")


def test_the_budget_is_of_the_whole_run_and_not_of_a_step(step: Step) -> None:
    budget(step, unreachable=1)
    step.facts.append(("host.set-aside", {"host": "ams-2", "state": "unreachable", "reason": "no route", "by": "base"}))
    step.hosts.silent |= {"ams-2", "nyc-2"}
    outcome = activated(step, step.ctx({"release": "candidate"}))
    assert outcome.verdict is Verdict.ERROR and "2 unreachable, the failure budget of the whole fleet is 1" in outcome.summary
    assert "ams-2" not in step.hosts.told("activate")


@pytest.mark.parametrize("name", GATEWAYS)
def test_no_run_goes_on_without_a_gateway(step: Step, name: str) -> None:
    budget(step, failed=9, unreachable=9)
    step.hosts.silent.add(name)
    outcome = activated(step, step.ctx({"release": "candidate"}))
    assert outcome.verdict is Verdict.ERROR and f"{name} is a gateway" in outcome.summary and not step.noted("host.set-aside")


def test_nonsense_is_not_within_any_budget(step: Step) -> None:
    budget(step, failed=9, unreachable=9)
    step.hosts.special = lambda call: action_step.answer() if call.host == "nyc-2" and call.says("activate") else None
    outcome = activated(step, step.ctx({"release": "candidate"}))
    assert outcome.verdict is Verdict.ERROR and not step.noted("host.set-aside")


def test_a_refusal_because_another_controller_took_over_is_no_failed_host(step: Step) -> None:
    budget(step, failed=9)
    step.hosts.refusing["nyc-2", "activate"] = "Token 7 of run run-1 is stale"

    def ensure() -> None:
        if step.hosts.told("activate"):
            raise Occupied("another run holds the environment")

    with pytest.raises(Occupied):
        for _ in range(2):
            named("release.activate").apply(step.ctx({"release": "candidate"}, ensure=ensure), todo(["nyc-2"]))
    assert not step.noted("host.set-aside")


def test_a_stop_between_waves_leaves_the_rest_untouched(step: Step) -> None:
    budget(step)
    ctx = step.ctx({"release": "candidate"})

    def one(wave: Wave, hosts: Sequence[Host]) -> Went:
        ctx.stop.request("SIGTERM")
        return Went({host.name: 1 for host in hosts})

    with pytest.raises(StepStopped):
        in_waves(ctx, step.fleet.agents, todo(), "it holds", one)
    assert len(step.noted("wave.started")) == len(step.noted("wave.done")) == 1


def test_a_wave_that_raises_stays_open_in_the_journal(step: Step) -> None:
    budget(step)

    def one(wave: Wave, hosts: Sequence[Host]) -> Went:
        raise Unreachable("the play was ended before it had a result")

    with pytest.raises(Unreachable):
        in_waves(step.ctx(), step.fleet.agents, todo(), "it holds", one)
    assert [kind for kind, _ in step.facts] == ["wave.started"]


def test_a_silent_host_is_asked_again_before_it_is_set_aside(step: Step) -> None:
    budget(step, unreachable=1)
    step.hosts.silent.add("nyc-2")
    for name in AGENTS:
        step.hosts.releases[name] = [release_entry(NEW, "b")]
    activate, ctx = named("release.activate"), step.ctx({"release": "candidate"})
    assert found(activate.probe(ctx)) == dict.fromkeys(AGENTS[:3], Found.DONE)
    assert step.hosts.told("status").count("nyc-2") == 3 and [f["host"] for f in step.noted("host.set-aside")] == ["nyc-2"]


def test_a_host_with_another_key_is_unknown_and_never_set_aside(step: Step) -> None:
    budget(step, failed=9, unreachable=9)
    look = lambda hosts: {h.name: Finding(Found.UNKNOWN, "another host key than the pinned one") for h in hosts}  # noqa: E731
    assert set(found(spared(step.ctx(), step.fleet.agents, look)).values()) == {Found.UNKNOWN} and not step.noted("host.set-aside")


def test_on_the_way_back_nobody_is_left_out(step: Step) -> None:
    step.facts.append(("host.set-aside", {"host": "ams-2", "state": "failed", "reason": "no space", "by": "base"}))
    assert set(aside(step.ctx())) == {"ams-2"} and not aside(step.ctx(stage="rollback:candidate-out"))
    assert [h.name for h in hosts_for(step.ctx(stage="rollback:candidate-out"), "candidate")] == list(AGENTS)


def test_a_host_set_aside_gets_no_traffic_no_scrape_and_decides_no_slot(step: Step) -> None:
    step.facts.append(("host.set-aside", {"host": "ams-2", "state": "unreachable", "reason": "no route", "by": "base"}))
    step.hosts.silent.add("ams-2")
    for name in AGENTS:
        step.hosts.releases[name] = [release_entry(OLD, "a")]
    assert slot_of(step.ctx(), "candidate") == "b"
    step.serving(attached=False)
    attach, ctx = named("traffic.attach"), step.ctx({"release": "candidate"})
    assert attach.apply(ctx, attach.probe(ctx)).verdict is Verdict.PASS
    assert {point.slots["b"].without for point in step.points.values()} == {("ams-2",)}
    assert set(found(attach.probe(ctx)).values()) == {Found.DONE}
    step.points["ams-1"].slots["b"] = action_step.Slot(NEW, True)
    assert found(attach.probe(ctx))["ams-1"] is not Found.DONE


def _waves(step: Step) -> tuple[Wave, ...]:
    return waves(step.fleet.agents, policy_of(step.env.policy), salt=step.env.name)


@settings(deadline=None)
@given(st.data())
def test_never_more_hosts_fail_than_the_budget_and_one_more_wave_and_none_is_touched_after(data: st.DataObject) -> None:
    names = [f"{site}-{n}" for site in ("ams", "nyc", "sgp") for n in range(data.draw(st.integers(1, 6)))]
    hosts = [Host(name=n, site=n[:3], address="192.0.2.1", role="agent", host_key="ssh-ed25519 AAAA") for n in names]
    ops = Host(name="ops", site="ams", address="192.0.2.1", role="ops", host_key="ssh-ed25519 AAAA")
    made = Step(action_step.environment(), Hosts(), {}, Path("/nonexistent"), fleet=Fleet(env="unit", hosts=(*hosts, ops)))
    allowed = {"failed": data.draw(st.integers(0, 3)), "unreachable": data.draw(st.integers(0, 3))}
    budget(made, **allowed, sizes=[data.draw(st.integers(1, 4)), "100 %"], one_site_at_a_time=data.draw(st.booleans()))
    fate = {name: data.draw(st.sampled_from(["done", "done", "failed", "unreachable"])) for name in names}
    touched: list[str] = []

    def one(wave: Wave, members: Sequence[Host]) -> Went:
        lost = {kind: [h.name for h in members if fate[h.name] == kind] for kind in ("done", "failed", "unreachable")}
        touched.extend(h.name for h in members)
        told = {kind: dict.fromkeys(lost[kind], kind) for kind in allowed}
        return Went(dict.fromkeys(lost["done"], 1), told["failed"], told["unreachable"])

    outcome = in_waves(made.ctx(), hosts, names, "it holds", one)
    assert len(touched) == len(set(touched))
    done = [wave["hosts"] for wave in made.noted("wave.done")]
    lost_of = {kind: [sum(fate[n] == kind for w in done[: k + 1] for n in w) for k in range(len(done))] for kind in allowed}
    over = [k for k in range(len(done)) if any(lost_of[kind][k] > allowed[kind] for kind in allowed)]
    assert over in ([], [len(done) - 1])  # the wave in which the budget is exceeded is the last
    assert (outcome.verdict is Verdict.PASS) == (not over and "done" in [fate[n] for n in names])
    if not over:
        assert sorted(touched) == sorted(names)
    set_aside = [fact["host"] for fact in made.noted("host.set-aside")]
    assert all(fate[name] != "done" for name in set_aside) and len(set_aside) == len(set(set_aside))
    assert all(sum(fate[name] == kind for name in set_aside) <= allowed[kind] for kind in allowed)
