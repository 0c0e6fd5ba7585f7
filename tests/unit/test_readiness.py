"""`inv readiness`: one byte changed anywhere, and GO is NO-GO. With real releases, real signatures and real people's keys."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from golive import engine, environment
from golive.errors import BadInput, GoliveError, Refused, Unprepared
from golive.evidence import checklist, record, release_subject, store_here
from golive.evidence.checklist import Checklist, Item
from golive.evidence.sealing import key_made
from golive.releases import Release, signing
from golive.releases.model import MANIFEST, SIGNATURE, canonical, id_of, read_release
from golive.verbs import preflight
from golive.verbs.attest import attest
from golive.verbs.evidence_export import evidence_export
from golive.verbs.evidence_take import evidence_take
from golive.verbs.evidence_verify import evidence_verify
from golive.verbs.explain import explain
from golive.verbs.readiness import readiness
from releases_standin import lab, ssh_key

ITEMS = [
    {"id": "AMST-001", "group": "AMST", "section": "core", "says": "Rows are there", "proofs": [{"regress": ["throughput"]}]},
    {"id": "OPS-003", "group": "ops", "section": "operations", "says": "Somebody is called", "attest": {"role": "operations-manager"}},
]


class World:
    """The lab with a signed release, three people, a checklist of two items and evidence for both: GO."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GOLIVE_STATE", str(root / "state"))
        told = lab()
        policy = {"critical": "all", "waivers": {"most": 1, "longest": "14d", "never": ["OPS-*"]}}
        self.env = told.model_copy(update={"policy": {**told.policy, "readiness": policy}})
        monkeypatch.setattr(environment, "ROOT", root)
        items = [Item.model_validate(item) for item in ITEMS]
        monkeypatch.setattr(checklist, "read", lambda: Checklist(items=items, digest="0" * 64))
        self.people = {name: root / "people" / name for name in ("olga", "otto", "mallory")}
        (root / "people").mkdir()
        lines = {name: ssh_key(path, name) for name, path in self.people.items()}
        roles = {"olga": ["operations-manager"], "otto": ["technical-lead"]}
        listed = [{"person": name, "roles": held, "keys": [lines[name]]} for name, held in roles.items()]
        inventory = root / "inventories" / "lab"
        inventory.mkdir(parents=True)
        (inventory / "approvers.yaml").write_text(yaml.safe_dump({"approvers": listed}))
        self.release = self._release(root)

    def _release(self, root: Path) -> Release:
        wheel = b"a wheel"
        manifest = canonical(
            {
                "schema": 1,
                "name": "dwcp-agent",
                "version": "3.0.0",
                "kind": "agent",
                "phase4": True,
                "defect": None,
                "source": {"commit": None, "tree": None, "digest": "5" * 64},
                "python": "3.11",
                "platform": "linux",
                "files": {"dwcp.whl": hashlib.sha256(wheel).hexdigest()},
            }
        )
        path = root / "state" / "releases" / id_of("3.0.0", hashlib.sha256(manifest).hexdigest())
        (path / "files").mkdir(parents=True)
        (path / "files" / "dwcp.whl").write_bytes(wheel)
        (path / MANIFEST).write_bytes(manifest)
        (path / SIGNATURE).write_bytes(signing.sign(manifest, signing.signer(self.env, None), signing.LAB_NAMESPACE))
        return read_release(path)

    def measured(self, ok: bool | None = True, **fields: Any) -> None:
        told: dict[str, Any] = {"subjects": [release_subject(self.release)], "env": "lab", "valid_for": timedelta(days=1)}
        told |= {"command": "./inv regress", "result": "PASS", "summary": "fine", "output": b"a table", "started": datetime.now(UTC)}
        record(check="regress", facts={"rows": [{"id": "throughput", "ok": ok}]}, **told | fields)

    def signed(self, person: str = "olga", role: str = "operations-manager", item: str = "OPS-003", **options: Any) -> Any:
        return attest(self.env, item, role=role, key=str(self.people[person]), comment="I saw it", **options)

    def decided(self) -> tuple[str, int, dict[str, str]]:
        result = readiness(self.env, collect=False)
        return result.data["decision"], result.exit_code, {item["id"]: item["state"] for item in result.data["items"]}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    yield World(tmp_path, monkeypatch)


def go(world: World) -> World:
    world.measured()
    world.signed()
    assert world.decided() == ("GO", 0, {"AMST-001": "PASS", "OPS-003": "PASS"})
    return world


KINDS: dict[str, Callable[[World], list[Path]]] = {
    "statement": lambda world: sorted((store_here().root / "statements").iterdir()),
    "output": lambda world: sorted((store_here().root / "outputs").iterdir()),
    "head": lambda world: sorted((store_here().root / "heads").iterdir()),
    "release file": lambda world: [world.release.path / "files" / "dwcp.whl"],
    "release manifest": lambda world: [world.release.path / MANIFEST],
    "release signature": lambda world: [world.release.path / SIGNATURE],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", ["one byte", "removed"])
def test_one_byte_changed_or_a_file_removed_of_every_kind_makes_go_no_go(world: World, kind: str, change: str) -> None:
    go(world)
    for path in KINDS[kind](world):
        content = path.read_bytes()
        if change == "removed":
            path.unlink()
        else:
            middle = len(content) // 2
            path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        try:
            word = world.decided()[0]
        except GoliveError as error:
            word = f"refused with {error.exit_code}"
        assert word in ("NO-GO", "refused with 4"), f"{path.name}: {word}"
        path.write_bytes(content)
    assert world.decided()[0] == "GO"


def test_a_release_that_is_not_built_is_known_nothing_of(world: World) -> None:
    go(world)
    world.release.path.rename(world.release.path.parent.parent / "elsewhere")
    assert world.decided()[:2] == ("NO-GO", 4)


def test_only_who_holds_the_role_signs_an_item(world: World) -> None:
    with pytest.raises(BadInput, match="for role operations-manager"):
        world.signed("otto", role="technical-lead")
    with pytest.raises(Refused, match="does not hold the role"):
        world.signed("otto")
    with pytest.raises(Refused, match="nobody who may sign"):
        world.signed("mallory")
    assert list((store_here().root / "statements").glob("*")) == []


def test_what_a_person_denies_fails_and_what_they_sign_later_counts_again(world: World) -> None:
    go(world)
    world.signed(deny=True)
    assert world.decided()[2]["OPS-003"] == "FAIL"
    world.signed()
    assert world.decided()[0] == "GO"


def test_a_signature_by_somebody_who_left_counts_no_more(world: World) -> None:
    go(world)
    path = world.env.inventory_dir / "approvers.yaml"
    data = yaml.safe_load(path.read_text())
    data["approvers"] = [entry for entry in data["approvers"] if entry["person"] != "olga"]
    path.write_text(yaml.safe_dump(data))
    assert world.decided()[2]["OPS-003"] == "UNKNOWN"


def test_a_signature_about_another_sentence_is_not_about_this_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    go(world)
    items = [Item.model_validate(item) for item in (ITEMS[0], {**ITEMS[1], "says": "Two people are called"})]
    monkeypatch.setattr(checklist, "read", lambda: Checklist(items=items, digest="0" * 64))
    assert world.decided()[2]["OPS-003"] == "UNKNOWN"


def test_a_waiver_is_shown_as_one_and_never_go(world: World) -> None:
    go(world)
    world.measured(ok=False)
    assert world.decided()[0] == "NO-GO"
    world.signed("otto", role="technical-lead", item="AMST-001", waive=True, until="3d")
    word, code, states = world.decided()
    assert (code, states["AMST-001"]) == (4, "WAIVED") and word == "NO-GO"  # below what the policy asks of the 156
    said = explain(world.env, "amst-001").text
    assert "otto (technical-lead) waived it" in said and "FAIL without it" in said


def test_what_the_policy_never_lets_be_is_not_waived_and_not_for_longer_than_it_lets(world: World) -> None:
    with pytest.raises(BadInput, match="never"):
        world.signed(waive=True)
    with pytest.raises(BadInput, match="longer than this may hold"):
        world.signed("otto", role="technical-lead", item="AMST-001", waive=True, until="60d")
    with pytest.raises(BadInput, match="shown by machines"):
        world.signed(item="AMST-001")


def test_what_was_signed_for_another_release_counts_for_none_else(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    go(world)
    world.signed("otto", role="technical-lead", item="AMST-001", waive=True, until="3d")
    other = replace(world.release, digest="9" * 64)
    monkeypatch.setattr("golive.releases.newest", lambda version: other)
    monkeypatch.setattr("golive.releases.verify_for", lambda env, path: other)
    states = world.decided()[2]
    assert states == {"AMST-001": "STALE", "OPS-003": "UNKNOWN"}  # the waiver, too, was of the release that it names


def test_explain_names_the_evidence_and_how_to_repeat_it(world: World) -> None:
    go(world)
    found = explain(world.env, "AMST-001")
    (one,) = found.data["evidence"]
    assert (found.data["state"], one["command"], one["subjects"]) == ("PASS", "./inv regress", {"release:3.0.0": world.release.digest})
    assert Path(one["output"]).read_bytes() == b"a table"
    with pytest.raises(BadInput, match="no item 'AMST-999'"):
        explain(world.env, "AMST-999")


def test_evidence_verify_passes_and_fails_on_a_planted_change(world: World, tmp_path: Path) -> None:
    go(world)
    archive = tmp_path / "evidence.tar.gz"
    evidence_export(world.env, out=str(archive))
    assert evidence_verify(world.env).exit_code == 0 and evidence_verify(world.env, file=str(archive)).exit_code == 0
    path = next((store_here().root / "outputs").iterdir())
    path.write_bytes(b"planted")
    found = evidence_verify(world.env)
    assert found.exit_code == 4 and "was changed" in found.text
    with pytest.raises(Refused, match="not exported"):
        evidence_export(world.env, out=str(tmp_path / "other.tar.gz"))
    changed = archive.read_bytes()
    archive.write_bytes(changed[: len(changed) // 2])
    with pytest.raises(BadInput, match="cannot be read as evidence"):
        evidence_verify(world.env, file=str(archive))


def test_preflight_tells_before_a_run_that_nobodys_evidence_counts(world: World) -> None:
    env = world.env.model_copy(
        update={
            "settings": world.env.settings.model_copy(update={"kind": "static", "policy": "prod"}),
            "policy": {"readiness": {"golive": "require"}},
        }
    )
    with pytest.raises(Unprepared, match="pin there whose evidence counts"):
        preflight._evidence(env)
    preflight._evidence(env.model_copy(update={"policy": {"readiness": {"golive": "note"}}}))
    (env.inventory_dir / "evidence_keys.yaml").write_text(yaml.safe_dump({"keys": [{"key": "f" * 63, "whose": "short"}]}))
    with pytest.raises(BadInput, match="64 hex digits"):
        preflight._evidence(env)


def test_a_chain_put_back_to_an_earlier_end_is_known_by_what_a_run_saw(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    go(world)
    root = store_here().root
    head = next((root / "heads").iterdir())
    seen = head.read_text().strip()
    records = [SimpleNamespace(kind="readiness", run="r1", data={"heads": {head.name: seen}})]
    monkeypatch.setattr(engine, "has_journal", lambda env: True)
    monkeypatch.setattr(engine, "open_journal", lambda env: SimpleNamespace(read=lambda: records))
    assert evidence_verify(world.env).exit_code == 0
    last = root / "statements" / f"{seen}.json"
    before = json.loads(base64.b64decode(json.loads(last.read_bytes())["payload"]))["predicate"]["previous"]
    last.unlink()
    head.write_text(f"{before}\n")
    found = evidence_verify(world.env)
    assert found.exit_code == 4 and "run r1 saw statement" in found.text


def test_evidence_of_a_controller_that_is_not_pinned_is_not_taken(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(world)
    archive = tmp_path / "evidence.tar.gz"
    evidence_export(world.env, out=str(archive))
    public = key_made(store_here().key_path).public
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "elsewhere"))
    with pytest.raises(Refused, match="nothing by a key"):
        evidence_take(world.env, file=str(archive))
    pinned = world.env.inventory_dir / "evidence_keys.yaml"
    pinned.write_text(yaml.safe_dump({"keys": [{"key": public, "whose": "the other"}]}))
    assert evidence_take(world.env, file=str(archive)).data["taken"] == 2
    assert evidence_verify(world.env).exit_code == 0
