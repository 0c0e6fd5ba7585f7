"""Sites without a gateway: two agents of a host divide the sessions as a gateway would."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dwcp_agent.errors import Refused
from dwcp_agent.sessions.admission import Admission, Elsewhere
from fixtures import sha256

PORTS = {"a": 7400, "b": 7410}
SESSIONS = [f"session-{number}" for number in range(1000)]


def tell(path: Path, weight: object, **slots: str) -> None:
    """As dwcp-host does: a new file in the old one's place."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"weights": {"slot_b": weight}, "slots": {f"slot_{slot}": state for slot, state in slots.items()}}))
    fresh.replace(path)


def taken(admission: Admission) -> set[str]:
    found = set()
    for session in SESSIONS:
        try:
            admission.check(session)
            found.add(session)
        except Elsewhere as error:
            assert error.port in PORTS.values()
    return found


def test_slots_divide_sessions_without_gap_or_overlap_and_more_contains_less(tmp_path: Path) -> None:
    path = tmp_path / "admission.json"
    a, b = Admission(path, "a", PORTS), Admission(path, "b", PORTS)
    assert a.weight() is None and taken(a) == taken(b) == set(SESSIONS)  # nobody has said: nothing to decide
    before: set[str] = set()
    for weight in ("0", "10", "50", "100"):
        tell(path, weight)
        assert a.weight() == b.weight() == int(weight)
        assert taken(a) | taken(b) == set(SESSIONS) and not taken(a) & taken(b)
        assert taken(b) == {session for session in SESSIONS if zlib.crc32(session.encode()) % 100 < int(weight)}
        assert taken(b) >= before
        before = taken(b)


def test_slot_that_is_out_takes_none_and_hands_none_over(tmp_path: Path) -> None:
    path = tmp_path / "admission.json"
    tell(path, "100", a="in", b="out")
    for slot in PORTS:
        with pytest.raises(Refused) as caught:
            Admission(path, slot, PORTS).check("s")
        assert caught.value.status == 503


@pytest.mark.parametrize("damage", ["{", "[]", '{"weights": {"slot_b": "many"}}', '{"weights": {"slot_b": 101}}', '{"weights": []}'])
def test_damaged_file_leaves_the_last_weight_in_force(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "admission.json"
    admission = Admission(path, "b", PORTS)
    tell(path, 50)
    before = taken(admission)
    path.write_text(damage)
    os.utime(path, ns=(1, 1))
    assert admission.weight() == 50 and taken(admission) == before


async def test_agent_sends_others_sessions_to_the_other_slot_and_says_its_weight(start_agent: Any, tmp_path: Path) -> None:
    path = tmp_path / "admission.json"
    async with start_agent(admission=str(path)) as agent:
        tell(path, 100)
        async with aiohttp.ClientSession(agent.health) as client, client.get("/health") as response:
            assert (await response.json())["admission"] == {"decides": True, "slot_b": 100}
        headers = {"X-DWCP-Session": "s", "X-DWCP-SHA256": sha256(b"x")}
        async with agent.as_("load").put("/v1/objects/x", data=b"x", headers=headers) as response:
            assert (response.status, (await response.json())["control"]) == (421, {"port": 7410})
        forwarded = headers | {"X-DWCP-Client": "OU=load,CN=load.host-2"}
        async with agent.as_("gateway").put("/v1/objects/x", data=b"x", headers=forwarded) as response:
            assert response.status == 201
        tell(path, 0)
        async with agent.as_("load").put("/v1/objects/x", data=b"x", headers=headers) as response:
            assert response.status == 201


async def test_load_client_follows_to_the_slot_that_takes_the_session(
    start_agent: Any, people: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dwcp_agent import service
    from test_load import RELEASE, results, running, settings, total, until

    path = tmp_path / "admission.json"
    tell(path, 100)
    async with start_agent(admission=str(tmp_path / "absent")) as other:
        monkeypatch.setattr(service, "CONTROL_PORTS", {"a": 1, "b": other.service.ports.control})
        async with start_agent(admission=str(path)) as agent, running(settings(people, agent.control, rate_per_s=30)) as client:
            await until(lambda: total(client) >= 20)
        assert set(results(client)) == {(RELEASE.id, "ok")}
        assert other.service.context.metrics._requests.labels("put", "201")._value.get() >= 15
