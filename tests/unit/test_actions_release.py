"""``release.*``: a release is installed, runs, and is retired only where hosts say so."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from golive import actions, releases
from golive.actions import _waves
from golive.actions.port import Finding, Found, Reach, StepContext
from golive.errors import Refused, Unreachable
from golive.fleet.ansible import PlayResult
from golive.gates.verdict import Verdict
from tests.support import action_step
from tests.support.action_step import AGENTS, GATEWAYS, LOAD, LOADS, NEW, OLD, RUN, TOKEN, Step, found, named, release_entry

actions.load_all()
step = action_step.step
_TODO = {"ams-2": Finding(Found.ABSENT), "nyc-1": Finding(Found.PARTIAL)}


# -- release.verify ---------------------------------------------------------------------------------------------------------------


def test_verify_passes_only_what_was_verified(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def verified(env: object, release_id: str) -> Any:
        asked.append(release_id)
        if release_id == LOAD:
            raise Refused("the signature is of no pinned signer")
        return SimpleNamespace(id=release_id, files={"a": "1"}, digest="d" * 64)

    monkeypatch.setattr(releases, "verified", verified)
    verify = named("release.verify")
    outcome = verify.apply(step.ctx({"release": "candidate"}), {})
    assert outcome.verdict is Verdict.PASS and outcome.data == {"digest": "d" * 64}
    with pytest.raises(Refused, match="signature"):
        verify.apply(step.ctx({"release": "load"}), {})
    assert asked == [NEW, LOAD]


# -- release.install --------------------------------------------------------------------------------------------------------------


def _install(step: Step, **change: Any) -> StepContext:
    return step.ctx({"release": "candidate", **change})


def test_install_is_done_only_where_the_release_lies_in_its_slot(step: Step) -> None:
    step.slots()
    step.hosts.releases["ams-1"] = [release_entry(NEW, "b", active=False, enabled=False)]
    step.hosts.releases["ams-2"] = [release_entry(NEW, "a")]
    step.hosts.releases["nyc-1"] = [release_entry(OLD, "b")]
    step.hosts.silent.add("nyc-2")
    wanted = dict(zip(AGENTS, (Found.DONE, Found.PARTIAL, Found.ABSENT, Found.UNKNOWN), strict=True))
    assert found(named("release.install").probe(_install(step))) == wanted


def test_install_looks_for_the_load_client_where_load_clients_run(step: Step) -> None:
    step.hosts.load["ams-2"] = [release_entry(LOAD, None)]
    step.hosts.releases["nyc-2"] = [release_entry(LOAD)]
    ctx = _install(step, release="load")
    assert found(named("release.install").probe(ctx)) == {"ams-2": Found.DONE, "nyc-2": Found.ABSENT}


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        (PlayResult("install.yml", 0, {"ams-2": 1, "nyc-1": 1}), Verdict.PASS),
        (PlayResult("install.yml", 2, {"nyc-1": 1}, failed={"ams-2": "the signature does not hold"}), Verdict.FAIL),
        (PlayResult("install.yml", 4, {"nyc-1": 1}, unreachable={"ams-2": "no route"}), Verdict.ERROR),
        (PlayResult("install.yml", 0, {"nyc-1": 1}), Verdict.ERROR),
        (PlayResult("install.yml", 250, {}), Verdict.ERROR),
    ],
)
def test_install_plays_on_the_hosts_to_do_alone(step: Step, monkeypatch: pytest.MonkeyPatch, result: PlayResult, verdict: Verdict) -> None:
    step.slots()
    plays: list[tuple[str, dict[str, Any]]] = []

    def play_step(ctx: StepContext, playbook: str, **given: Any) -> PlayResult:
        plays.append((playbook, given))
        return result

    monkeypatch.setattr(_waves, "play_step", play_step)
    monkeypatch.setattr(releases, "find_id", lambda release_id: SimpleNamespace(id=release_id))
    monkeypatch.setattr(releases, "bundle", lambda release: Path(f"/bundles/{release.id}.tar"))
    outcome = named("release.install").apply(_install(step), _TODO)
    [(playbook, given)] = plays
    assert (playbook, sorted(given["limit"])) == ("install.yml", ["ams-2", "nyc-1"])
    told = given["extravars"]
    assert (told["dwcp_release_id"], told["dwcp_release_slot"], told["dwcp_release_kind"]) == (NEW, "b", "agent")
    assert (told["dwcp_token"], told["dwcp_run"], told["dwcp_release_bundle"]) == (TOKEN, RUN, f"/bundles/{NEW}.tar")
    assert outcome.verdict is verdict and (outcome.verdict is Verdict.PASS or outcome.summary)


# -- release.activate, release.deactivate -----------------------------------------------------------------------------------------


def test_units_are_in_a_state_only_when_their_host_says_so(step: Step) -> None:
    step.hosts.releases["ams-1"] = [release_entry(NEW), release_entry(OLD, active=False, enabled=False)]
    step.hosts.releases["ams-2"] = [release_entry(NEW, active=False)]
    step.hosts.releases["nyc-1"] = [release_entry(NEW, enabled=False)]
    step.hosts.silent.add("nyc-2")
    ctx = step.ctx({"release": "candidate"})
    partial = {"ams-2": Found.PARTIAL, "nyc-1": Found.PARTIAL, "nyc-2": Found.UNKNOWN}
    assert found(named("release.activate").probe(ctx)) == {"ams-1": Found.DONE, **partial}
    assert found(named("release.deactivate").probe(ctx)) == {"ams-1": Found.ABSENT, **partial}
    step.hosts.releases["ams-1"] = []
    assert found(named("release.activate").probe(ctx))["ams-1"] is Found.ABSENT
    assert found(named("release.deactivate").probe(ctx))["ams-1"] is Found.DONE


@pytest.mark.parametrize(("name", "verb"), [("release.activate", "activate"), ("release.deactivate", "deactivate")])
def test_units_are_touched_on_the_hosts_to_do_alone_with_the_token(step: Step, name: str, verb: str) -> None:
    ctx = step.ctx({"release": "candidate"})
    outcome = named(name).apply(ctx, _TODO)
    assert (outcome.verdict, outcome.changed) == (Verdict.PASS, 2)
    assert sorted((call.host, call.words) for call in step.hosts.calls) == [
        (host, ("dwcp-host", verb, NEW, "--token", str(TOKEN), "--run", RUN)) for host in ("ams-2", "nyc-1")
    ]
    step.hosts.refusing["nyc-1", verb] = "token 7 is older than 9"
    assert named(name).apply(ctx, _TODO).verdict is Verdict.FAIL
    step.hosts.refusing.clear()
    step.hosts.silent.add("nyc-1")
    assert named(name).apply(ctx, _TODO).verdict is Verdict.ERROR


def test_undoing_an_activation_stops_the_release_everywhere(step: Step) -> None:
    for host in AGENTS:
        step.hosts.releases[host] = [release_entry(NEW, "b")]
    ctx = step.ctx({"release": "candidate"})
    assert named("release.activate").undo(ctx).verdict is Verdict.PASS
    assert set(found(named("release.deactivate").probe(ctx)).values()) == {Found.DONE}


def test_only_the_candidate_is_brought_nearer_to_users() -> None:
    for name in ("release.install", "release.activate", "traffic.attach"):
        assert named(name).reach({"release": "candidate"}) is Reach.CANDIDATE
        assert named(name).reach({"release": "incumbent"}) is Reach.NONE
    assert named("release.retire").reach({"release": "incumbent"}) is Reach.FINAL
    assert named("traffic.shift").reach({"candidate": 0}) is Reach.TRAFFIC


# -- release.retire ---------------------------------------------------------------------------------------------------------------


def _retired(step: Step) -> list[tuple[str, str]]:
    return [(call.words[1], call.host) for call in step.hosts.calls]


def _live_at_100(step: Step) -> None:
    step.serving(share=100)
    for host in AGENTS:
        step.hosts.releases[host] = [release_entry(OLD, "a")]


def test_retiring_closes_the_slot_then_stops_then_prunes(step: Step) -> None:
    _live_at_100(step)
    retire, ctx = named("release.retire"), step.ctx({"release": "incumbent"})
    todo = retire.probe(ctx)
    assert set(found(todo).values()) == {Found.ABSENT}
    step.hosts.calls.clear()
    assert retire.apply(ctx, todo).verdict is Verdict.PASS
    assert not any(point.slots["a"].is_in for point in step.points.values())
    assert all(point.slots["b"].is_in for point in step.points.values())
    assert _retired(step) == [*(("deactivate", h) for h in AGENTS), *(("prune", h) for h in AGENTS)]
    assert all(call.says("--keep", "3") for call in step.hosts.calls[-len(AGENTS) :])
    assert set(found(retire.probe(ctx)).values()) == {Found.DONE}


def test_a_release_that_still_has_a_share_is_not_retired_and_nothing_is_stopped(step: Step) -> None:
    _live_at_100(step)
    step.points[GATEWAYS[1]].slot_b = 90
    with pytest.raises(Refused, match=GATEWAYS[1]):
        named("release.retire").apply(step.ctx({"release": "incumbent"}), dict.fromkeys(AGENTS, Finding(Found.ABSENT)))
    assert not step.hosts.calls and not step.noted("releases.pruned")


def test_a_silent_gateway_keeps_the_incumbent_running(step: Step) -> None:
    _live_at_100(step)
    step.points[GATEWAYS[1]].silent = True
    with pytest.raises(Unreachable, match=GATEWAYS[1]):
        named("release.retire").apply(step.ctx({"release": "incumbent"}), dict.fromkeys(AGENTS, Finding(Found.ABSENT)))
    assert not step.hosts.calls


@pytest.mark.parametrize("verb", ["deactivate", "prune"])
@pytest.mark.parametrize("how", ["refuses", "is silent"])
def test_a_release_whose_retiring_was_cut_short_is_not_retired(step: Step, verb: str, how: str) -> None:
    _live_at_100(step)
    retire, ctx = named("release.retire"), step.ctx({"release": "incumbent"})
    todo = retire.probe(ctx)
    step.hosts.calls.clear()
    if how == "refuses":
        step.hosts.refusing["nyc-1", verb] = "not now"
    else:
        step.hosts.special = lambda call: Unreachable("nyc-1: no answer") if call.host == "nyc-1" and call.says(verb) else None
    outcome = retire.apply(ctx, todo)
    assert outcome.verdict is (Verdict.FAIL if how == "refuses" else Verdict.ERROR) and "nyc-1" in outcome.summary
    assert {call.words[1] for call in step.hosts.calls} == ({"deactivate"} if verb == "deactivate" else {"deactivate", "prune"})
    assert not step.noted("releases.pruned")
    assert set(found(retire.probe(ctx)).values()) != {Found.DONE}


def test_what_is_stopped_but_not_pruned_is_partly_retired_and_nothing_brings_it_back(step: Step) -> None:
    retire, ctx = named("release.retire"), step.ctx({"release": "incumbent"})
    assert set(found(retire.probe(ctx)).values()) == {Found.PARTIAL}
    step.hosts.silent.add("nyc-2")
    assert found(retire.probe(ctx))["nyc-2"] is Found.UNKNOWN
    assert retire.undo(ctx).verdict is Verdict.FAIL


# -- release.selftest -------------------------------------------------------------------------------------------------------------

_UV = """#!/bin/sh
set -eu
env > "$(dirname "$0")/../environment"
if [ "$1" = venv ]; then
    for place; do :; done
    mkdir -p "$place/bin"
    printf '#!/bin/sh\\nexit %s\\n' "{vector}" > "$place/bin/python"
    printf '#!/bin/sh\\nif [ "$1" = version ]; then echo "dwcp {version}"; else echo "{features}"; fi\\n' > "$place/bin/dwcp"
    chmod +x "$place/bin/python" "$place/bin/dwcp"
else
    echo "$@" > "$(dirname "$0")/../install"
    [ {install} = 0 ] || {{ echo "no matching hash" >&2; exit {install}; }}
fi
"""


def _selftest(step: Step, monkeypatch: pytest.MonkeyPatch, **change: Any) -> Any:
    path = step.env.state / NEW
    (path / "files").mkdir(parents=True)
    uv = path / "files" / "uv"
    uv.write_text(_UV.format(**{"vector": 0, "version": "3.0.0", "features": '{\\\\"zstd\\\\": true}', "install": 0, **change}))
    uv.chmod(0o755)
    monkeypatch.setattr(releases, "verified", lambda env, release_id: SimpleNamespace(id=release_id, version="3.0.0", path=path))
    return named("release.selftest").apply(step.ctx({"release": "candidate"}), {})


def test_the_selftest_installs_offline_with_hashes_and_nothing_of_this_process(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "UV_INDEX_URL", "PIP_INDEX_URL", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "elsewhere")
    outcome = _selftest(step, monkeypatch)
    assert outcome.verdict is Verdict.PASS and outcome.data == {"features": {"zstd": True}}
    words = (step.env.state / NEW / "install").read_text().split()
    assert {"--offline", "--no-index", "--require-hashes", "--no-cache"} <= set(words)
    inherited = (step.env.state / NEW / "environment").read_text()
    assert "elsewhere" not in inherited and f"GOLIVE_MARK=unit/{RUN}/{TOKEN}" in inherited


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"install": 2}, "could not install offline with hashes: no matching hash"),
        ({"vector": 9}, "could not compute a published CRC-32C"),
        ({"version": "2.9.0"}, "calls itself 'dwcp 2.9.0'"),
    ],
)
def test_the_selftest_fails_a_release_that_does_not_keep_its_word(
    step: Step, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], why: str
) -> None:
    outcome = _selftest(step, monkeypatch, **change)
    assert outcome.verdict is Verdict.FAIL and why in outcome.summary


# -- load.start -------------------------------------------------------------------------------------------------------------------


def test_load_is_running_only_where_the_pinned_client_runs_and_stays(step: Step) -> None:
    start = named("load.start")
    step.hosts.load["ams-2"] = [release_entry(LOAD, None)]
    step.hosts.load["nyc-2"] = [release_entry(LOAD, None, enabled=False), release_entry("0.9.0-dddddddddddd", None)]
    assert found(start.probe(step.ctx())) == {"ams-2": Found.DONE, "nyc-2": Found.PARTIAL}
    step.hosts.silent.add("ams-2")
    assert found(start.probe(step.ctx()))["ams-2"] is Found.UNKNOWN


def test_another_load_client_makes_room_first_and_only_where_there_is_something_to_do(step: Step) -> None:
    other = "0.9.0-dddddddddddd"
    for host in LOADS:
        step.hosts.load[host] = [release_entry(other, None), release_entry(LOAD, None, active=False, enabled=False)]
    start = named("load.start")
    outcome = start.apply(step.ctx(), {"nyc-2": Finding(Found.ABSENT)})
    assert outcome.verdict is Verdict.PASS
    assert [(call.host, *call.words[1:3]) for call in step.hosts.calls if not call.says("status")] == [
        ("nyc-2", "load-stop", other),
        ("nyc-2", "load-start", LOAD),
    ]
    assert found(start.probe(step.ctx())) == {"ams-2": Found.PARTIAL, "nyc-2": Found.DONE}


def test_a_client_that_will_not_go_keeps_the_new_one_from_starting(step: Step) -> None:
    step.hosts.load["ams-2"] = [release_entry("0.9.0-dddddddddddd", None)]
    step.hosts.refusing["ams-2", "load-stop"] = "stale token"
    outcome = named("load.start").apply(step.ctx(), dict.fromkeys(LOADS, Finding(Found.ABSENT)))
    assert outcome.verdict is Verdict.FAIL and not step.hosts.told("load-start")


def test_a_silent_load_host_is_an_error(step: Step) -> None:
    step.hosts.silent.add("nyc-2")
    outcome = named("load.start").apply(step.ctx(), dict.fromkeys(LOADS, Finding(Found.UNKNOWN)))
    assert outcome.verdict is Verdict.ERROR and json.dumps(outcome.data)
