"""Waves: canaries first, one site at a time, an order that no run and no new host changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golive.errors import BadInput
from golive.fleet.model import Host
from golive.fleet.waves import FailureBudget, WavePolicy, budget_of, order, policy_of, remaining, waves

SALT = "prod"


def host(name: str, site: str, canary: bool = False, **change: Any) -> Host:
    labels = {"canary": "true"} if canary else {}
    given = {"name": name, "site": site, "address": "192.0.2.1", "role": "agent", "host_key": "ssh-ed25519 AAAA", "labels": labels}
    return Host(**{**given, **change})


def site_of(count: int, site: str = "fra", **change: Any) -> list[Host]:
    return [host(f"{site}-{number}", site, **change) for number in range(count)]


@st.composite
def fleets(draw: st.DrawFn) -> list[Host]:
    counts = draw(st.lists(st.integers(0, 12), min_size=1, max_size=5))
    listed = [
        host(f"s{site}-{n}", f"s{site}", canary=draw(st.booleans()) and draw(st.booleans()))
        for site, k in enumerate(counts)
        for n in range(k)
    ]
    return draw(st.permutations(listed))


@st.composite
def policies(draw: st.DrawFn) -> WavePolicy:
    size = st.one_of(st.integers(1, 20), st.integers(1, 100).map(lambda part: f"{part} %"))
    sizes = draw(st.lists(size, min_size=1, max_size=5))
    at_once = draw(st.one_of(st.none(), st.integers(1, 7)))
    return WavePolicy(sizes=sizes, hosts_at_once=at_once, one_site_at_a_time=draw(st.booleans()))  # type: ignore[arg-type]


def flat(hosts: list[Host], policy: WavePolicy) -> list[str]:
    return [name for wave in waves(hosts, policy, salt=SALT) for name in wave.hosts]


def test_a_site_is_done_in_the_sizes_of_the_policy_and_larger_ones_hold_the_smaller() -> None:
    found = waves(site_of(100), WavePolicy(), salt=SALT)
    assert [len(wave.hosts) for wave in found] == [1, 9, 40, 50]
    names = [name for wave in found for name in wave.hosts]
    half = waves(site_of(100), policy_of({"waves": {"sizes": ["50 %"]}}), salt=SALT)[0]
    assert set(names[:10]) < set(half.hosts) and [str(w.number) for w in found] == ["1", "2", "3", "4"]


def test_labelled_canaries_come_before_everything_and_no_wave_crosses_sites() -> None:
    fleet = [*site_of(3, "ams"), *site_of(3, "nyc"), host("nyc-9", "nyc", canary=True), host("ops", "ams", role="ops")]
    found = waves(fleet, WavePolicy(), salt=SALT)
    assert found[0].hosts == ("nyc-9",) and found[0].canary and not any(wave.canary for wave in found[1:])
    assert found[-1].hosts == ("ops",) and all(wave.site in ("ams", "nyc") for wave in found)
    sites = [wave.site for wave in found[1:-1]]
    assert sites == sorted(sites, key=sites.index) and len(set(sites)) == 2
    assert len(found[1].hosts) == 1  # without a label, the first of a site by hash goes alone


def test_the_order_is_the_environments_own_and_differs_between_environments() -> None:
    one, same, other = (order(site_of(30), salt) for salt in ("prod", "prod", "staging"))
    assert one == same and one != other
    assert [h.name for h in one[0]] != sorted(h.name for h in one[0])


@given(fleets(), policies())
def test_every_host_is_in_exactly_one_wave(fleet: list[Host], policy: WavePolicy) -> None:
    names = flat(fleet, policy)
    assert sorted(names) == sorted(h.name for h in fleet)
    found = waves(fleet, policy, salt=SALT)
    assert [wave.number for wave in found] == list(range(1, len(found) + 1)) and all(wave.hosts for wave in found)
    if policy.hosts_at_once:
        assert all(len(wave.hosts) <= policy.hosts_at_once for wave in found)
    if policy.one_site_at_a_time:
        of = {h.name: h.site for h in fleet}
        assert all(len({of[name] for name in wave.hosts}) == 1 for wave in found)


@given(fleets(), policies(), st.integers(0, 5), st.booleans(), st.randoms(use_true_random=False))
def test_a_host_that_is_added_moves_no_other(fleet: list[Host], policy: WavePolicy, site: int, canary: bool, rng: Any) -> None:
    before = flat(fleet, policy)
    grown = [*fleet, host("new-1", f"s{site}", canary=canary)]
    rng.shuffle(grown)
    after = flat(grown, policy)
    assert [name for name in after if name != "new-1"] == before


@given(fleets(), policies(), st.data())
def test_a_process_that_goes_on_has_the_waves_of_the_one_before_without_what_is_done(
    fleet: list[Host], policy: WavePolicy, data: st.DataObject
) -> None:
    todo = data.draw(st.sets(st.sampled_from(sorted(h.name for h in fleet)))) if fleet else set()
    whole = waves(fleet, policy, salt=SALT)
    left = remaining(whole, todo)
    assert [name for wave in left for name in wave.hosts] == [name for wave in whole for name in wave.hosts if name in todo]
    assert all(set(wave.hosts) <= set(whole[wave.number - 1].hosts) and wave.of == len(whole) for wave in left)


@pytest.mark.parametrize("size", ["0", "0 %", "101 %", "ten", "-1", "1.5", "", None, True])
def test_a_size_that_is_none_is_refused_with_its_place(size: object) -> None:
    with pytest.raises(BadInput, match=r"policies/x\.yaml: waves\.sizes\.0: "):
        policy_of({"waves": {"sizes": [size]}}, "policies/x.yaml")


def test_nothing_may_fail_where_the_policy_says_nothing() -> None:
    assert budget_of({}) == FailureBudget(failed=0, unreachable=0)
    assert budget_of({"failure_budget": {"unreachable": 2}}).unreachable == 2
    with pytest.raises(BadInput, match=r"failure_budget\.failed"):
        budget_of({"failure_budget": {"failed": -1}})
    with pytest.raises(BadInput, match=r"failure_budget\.fialed"):
        budget_of({"failure_budget": {"fialed": 1}})
