"""What a release is made of, and when the same inputs give the same one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from golive import environment, releases
from golive.errors import BadInput, GoliveError, Refused, Unprepared
from golive.releases import wheelhouse
from golive.releases.catalogue import read
from golive.releases.defect import parse
from golive.releases.model import Release, canonical, read_release
from releases_standin import checkout, commit, git, lab, ssh_key, static


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return checkout(tmp_path / "checkout")


def make(root: Path, version: str = "3.0.0", defect: str | None = None) -> Release:
    return releases.build(lab(), version, defect=defect, root=root, catalogue=root / "releases.yaml")


def test_a_release_holds_its_wheel_its_pins_and_uv_and_says_so(root: Path) -> None:
    made = make(root)
    assert made.id == f"3.0.0-{made.digest[:12]}"
    assert made.path.name == made.id
    manifest = json.loads((made.path / "manifest.json").read_text())
    assert (made.path / "manifest.json").read_bytes() == canonical(manifest)
    assert (manifest["phase4"], manifest["kind"], manifest["defect"]) == (True, "agent", None)
    assert manifest["source"]["commit"] == git(root, "rev-parse", "HEAD")
    assert manifest["source"]["tree"] == git(root, "rev-parse", "HEAD:dwcp_agent")
    (wheel,) = [name for name in made.files if name.endswith(".whl")]
    assert sorted(made.files) == sorted([wheel, "requirements.txt", "uv"])
    pins = (made.path / "files" / "requirements.txt").read_text()
    assert pins == f"dwcp-agent==3.0.0 --hash=sha256:{made.files[wheel]}\n"
    assert releases.find("3.0.0") == [made]
    assert releases.find_id(made.id) == made == releases.newest("3.0.0") == releases.verified(lab(), made.id)


def test_the_same_inputs_are_not_built_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(root)

    def never(*_: object, **__: object) -> Path:
        raise AssertionError("built again")

    monkeypatch.setattr(wheelhouse, "build_wheel", never)
    assert make(root).id == first.id


def test_another_machine_s_build_of_the_same_inputs_has_the_same_id(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(root)
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "elsewhere" / "deeper"))
    other = make(root)
    assert other.path != first.path
    assert other.id == first.id


def test_commits_that_do_not_touch_the_agent_do_not_move_a_release(root: Path) -> None:
    first = make(root)
    (root / "elsewhere.txt").write_text("x")
    commit(root, "elsewhere")
    assert make(root).id == first.id
    (root / "dwcp_agent/src/dwcp_agent/__init__.py").write_text("x = 1\n")
    dirty = make(root)
    assert dirty.id != first.id
    assert dirty.manifest.source.commit is None, "uncommitted sources are nobody's commit"


def test_phase4_and_version_reach_the_build(root: Path, tmp_path: Path) -> None:
    for version, phase4 in (("2.9.0", "0"), ("3.0.0", "1")):
        made = make(root, version)
        (wheel,) = (made.path / "files").glob("*.whl")
        shutil.unpack_archive(wheel, tmp_path / version, "zip")
        built = (tmp_path / version / "dwcp_agent" / "_built.py").read_text()
        assert f"'DWCP_VERSION': '{version}', 'DWCP_PHASE4': '{phase4}', 'DWCP_DEFECT': ''" in built


@pytest.mark.parametrize(
    ("text", "label", "manifest"),
    [
        ("errors=2%", "errors", {"errors": 0.02}),
        ("latency=+40%", "latency", {"latency": 0.4}),
        ("corrupt=0.1%", "corrupt", {"corrupt": 0.001}),
        ("crash-after=30s", "crash", {"crash_after_s": 30.0}),
        ("no-metrics", "metrics", {"metrics": False}),
        ("errors=0.5%", "errors", {"errors": 0.005}),
    ],
)
def test_a_defect_is_what_its_text_says(text: str, label: str, manifest: dict[str, object]) -> None:
    assert (parse(text).label, parse(text).manifest) == (label, manifest)


@pytest.mark.parametrize(
    "text",
    ["", "errors", "errors=2", "errors=0%", "errors=101%", "errors=-1%", "errors=2%;x", "latency=40%", "latency=+0%", "corrupt=1e2%",
     "crash-after=30", "crash-after=0s", "metrics", "no-metrics=1", "errors=2%\n"],
)  # fmt: skip
def test_any_other_text_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match="is none of"):
        parse(text)


def test_a_defective_release_says_so_in_version_manifest_and_build(root: Path, tmp_path: Path) -> None:
    made = make(root, "3.0.1", "errors=2%")
    assert made.version == "3.0.1+defect.errors"
    assert made.id == f"3.0.1_defect.errors-{made.digest[:12]}", "the id is a systemd instance, where + is not legal"
    assert made.defect == {"errors": 0.02}
    (wheel,) = (made.path / "files").glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "x", "zip")
    assert """'DWCP_DEFECT': '{"errors":0.02}'""" in (tmp_path / "x/dwcp_agent/_built.py").read_text()
    half = make(root, "3.0.1", "errors=1%")
    assert half.version == made.version
    assert half.id != made.id
    assert releases.find("3.0.1+defect.errors") == [half, made]


def test_only_the_lab_builds_and_takes_a_defect(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    prod = static(tmp_path)
    public = ssh_key(tmp_path / "mine")
    (prod.inventory_dir / "allowed_signers").write_text(f"me@example.invalid {public}\n")
    catalogue = root / "releases.yaml"
    with pytest.raises(Refused, match="is not a lab"):
        releases.build(prod, "3.0.1", defect="errors=2%", key=tmp_path / "mine", root=root, catalogue=catalogue)
    # One that was signed all the same, by a trusted key in the right namespace, is refused too.
    made = releases.build(prod, "3.0.0", key=tmp_path / "mine", root=root, catalogue=catalogue)
    forged = json.loads((made.path / "manifest.json").read_text()) | {"version": "3.0.1+defect.errors", "defect": {"errors": 0.02}}
    resign(made.path, canonical(forged), tmp_path / "mine", "dwcp-release")
    moved = made.path.rename(made.path.with_name(read_release(made.path).id))
    with pytest.raises(Refused, match="planted defect"):
        releases.verify_for(prod, moved)


def resign(path: Path, manifest: bytes, key: Path, namespace: str) -> None:
    (path / "manifest.json").write_bytes(manifest)
    (path / "manifest.json.sig").unlink()
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", namespace, str(path / "manifest.json")], check=True)


def test_a_static_environment_needs_a_key_of_its_owner(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labs_own = lab().state / "keys"
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    prod = static(tmp_path)
    catalogue = root / "releases.yaml"
    public = ssh_key(tmp_path / "mine")
    stranger = ssh_key(tmp_path / "stranger")
    signers = prod.inventory_dir / "allowed_signers"
    signers.write_text(f"# us\nme@example.invalid {public}\n")
    made = releases.build(prod, "3.0.0", key=tmp_path / "mine", root=root, catalogue=catalogue)
    assert releases.verify(made.path, signers, "dwcp-release").id == made.id
    with pytest.raises(BadInput, match="give --key"):
        releases.build(prod, "3.0.0", root=root, catalogue=catalogue)
    with pytest.raises(BadInput, match="does not exist"):
        releases.build(prod, "3.0.0", key=tmp_path / "nothing", root=root, catalogue=catalogue)
    (root / "dwcp_agent/src/dwcp_agent/__init__.py").write_text("y = 1\n")
    with pytest.raises(Refused, match="made by nobody in"):
        releases.build(prod, "3.0.0", key=tmp_path / "stranger", root=root, catalogue=catalogue)
    copy = tmp_path / "renamed"
    shutil.copy(labs_own / "release_signing", copy)
    for key in (labs_own / "release_signing", copy, labs_own / "operator"):
        with pytest.raises(Refused, match="made by the toolkit"):
            releases.build(prod, "3.0.0", key=key, root=root, catalogue=catalogue)
    for line in ((labs_own / "allowed_signers").read_text(), f"them@example.invalid {(labs_own / 'operator.pub').read_text()}",
                 f"other {stranger.rsplit(' ', 1)[0]} lab-release@dwcp\n"):  # fmt: skip
        signers.write_text(f"me@example.invalid {public}\n{line}")
        with pytest.raises(Refused, match=r"allowed_signers:2 is a key that the toolkit made"):
            releases.verify_for(prod, made.path)
    signers.unlink()
    with pytest.raises(Unprepared, match="is missing"):
        releases.verify_for(prod, made.path)
    signers.write_text(f"me@example.invalid {public}\n")
    with pytest.raises(Refused, match="signature_namespace"):
        releases.verify_for(static(tmp_path, signature_namespace="dwcp-release-lab"), made.path)


def test_a_lab_made_anew_gets_the_same_releases_signed_again(root: Path) -> None:
    first = make(root)
    before = (first.path / "manifest.json.sig").read_bytes()
    shutil.rmtree(lab().state / "keys")
    lab()
    with pytest.raises(Refused, match="made by nobody"):
        releases.verified(lab(), first.id)
    again = make(root)
    assert again.id == first.id
    assert (again.path / "manifest.json.sig").read_bytes() != before
    assert releases.verified(lab(), again.id) == again


def test_a_release_that_rotted_in_the_store_is_built_again(root: Path) -> None:
    first = make(root)
    with (first.path / "files" / "uv").open("ab") as file:
        file.write(b"x")
    assert make(root) == first
    assert releases.verified(lab(), first.id) == first


def test_concurrent_builds_give_one_sound_release_and_leave_nothing(root: Path, state: Path) -> None:
    lab()
    program = (
        "import sys; sys.path[:0] = sys.argv[2:]; from pathlib import Path; import releases_standin as s; from golive import releases\n"
        "r = Path(sys.argv[1]); print(releases.build(s.lab(), '3.0.0', root=r, catalogue=r / 'releases.yaml').id)"
    )
    here = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(root), *here], stdout=subprocess.PIPE, text=True, env=os.environ)
        for _ in range(3)
    ]
    ids = {p.communicate(timeout=100)[0].strip() for p in running}
    assert [p.returncode for p in running] == [0, 0, 0]
    assert ids == {r.id for r in releases.find("3.0.0")}
    assert len(ids) == 1
    assert sorted(p.name for p in (state / "releases").iterdir()) == [".lock", *ids]


def test_what_a_killed_build_left_is_no_release_and_is_cleared(root: Path, state: Path) -> None:
    left = state / "releases" / ".partial-dead"
    (left / "release" / "files").mkdir(parents=True)
    assert releases.find("3.0.0") == []
    make(root)
    assert not left.exists()


def test_a_build_that_fails_says_why_and_leaves_nothing(root: Path, state: Path) -> None:
    (root / "dwcp_agent/native/core.c").write_text("this is not C\n")
    with pytest.raises(GoliveError, match=r"3\.0\.0 could not be built: .*error") as caught:
        make(root)
    assert "\n" not in str(caught.value)
    assert [p.name for p in (state / "releases").iterdir()] == [".lock"]


def test_a_setup_that_ignores_the_version_is_caught(root: Path) -> None:
    setup = root / "dwcp_agent/setup.py"
    setup.write_text(setup.read_text().replace('version=os.environ["DWCP_VERSION"]', 'version="9.9.9"'))
    with pytest.raises(GoliveError, match="must take its version from DWCP_VERSION"):
        make(root)


@pytest.mark.parametrize("version", ["3", "3.0", "latest", "../3.0.0", "3.0.0 ", "3.0.0+defect.errors", "9.9.9"])
def test_an_unknown_version_is_bad_input(root: Path, version: str) -> None:
    with pytest.raises(BadInput):
        make(root, version)


def test_a_load_client_cannot_be_defective(root: Path) -> None:
    with pytest.raises(BadInput, match="load client"):
        make(root, "1.0.0", "errors=2%")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("releases: [", "releases.yaml:1: not valid YAML"),
        ("schema: 1\nreleases: {x: {kind: agent, phase4: true, source: worktree}}", "not a version"),
        ('schema: 1\nreleases: {"1.0.0": {kind: agnet, phase4: true, source: worktree}}', "releases.1.0.0.kind"),
        ('schema: 1\nreleases: {"1.0.0": {kind: agent, phase4: true, source: frozen}}', "a frozen release needs"),
        ('schema: 2\nreleases: {}', "schema"),
    ],
)  # fmt: skip
def test_a_malformed_catalogue_names_the_place(root: Path, content: str, says: str) -> None:
    (root / "releases.yaml").write_text(content)
    with pytest.raises(BadInput) as caught:
        make(root)
    assert says in str(caught.value)


def test_a_symlink_among_the_sources_is_refused(root: Path) -> None:
    (root / "dwcp_agent/src/dwcp_agent/more.py").symlink_to("/etc/passwd")
    with pytest.raises(BadInput, match="not a plain file"):
        make(root)


def test_a_frozen_release_stays_what_it_was(root: Path) -> None:
    first = make(root, "2.9.0")
    frozen = releases.freeze("2.9.0", root=root, catalogue=root / "releases.yaml")
    assert frozen.commit == git(root, "rev-parse", "HEAD")
    text = (root / "releases.yaml").read_text()
    assert text.startswith("# kept by people\n")
    assert '"1.0.0":  # measures' in text
    assert read(root / "releases.yaml").releases["3.0.0"].source == "worktree"
    commit(root, "freeze")
    again = make(root, "2.9.0")
    assert again.manifest.source.digest == first.manifest.source.digest
    (root / "dwcp_agent/src/dwcp_agent/__init__.py").write_text("later = 1\n")
    (root / "requirements/agent.lock").write_text("# later\n")
    commit(root, "later work")
    assert make(root, "2.9.0").id == again.id
    assert make(root, "3.0.0").manifest.source.digest != again.manifest.source.digest


def test_a_frozen_release_survives_a_lost_commit_but_never_other_sources(root: Path, tmp_path: Path) -> None:
    releases.freeze("2.9.0", root=root, catalogue=root / "releases.yaml")
    commit(root, "freeze")
    frozen = make(root, "2.9.0")
    # A checkout without that history: same content, other commits.
    bare = tmp_path / "no-history"
    shutil.copytree(root, bare, ignore=shutil.ignore_patterns(".git"))
    git(tmp_path, "init", "-q", str(bare))
    (bare / "note.txt").write_text("x")
    commit(bare, "imported")
    assert make(bare, "2.9.0").id == frozen.id, "the tree object is the same, whatever the commit"
    (bare / "dwcp_agent/src/dwcp_agent/__init__.py").write_text("later = 1\n")
    git(bare, "add", "-A")
    git(bare, "commit", "-q", "--amend", "-m", "imported with later work")
    assert make(bare, "2.9.0").id == frozen.id, "found by its tree, which is still stored"
    git(bare, "reflog", "expire", "--expire=now", "--all")
    git(bare, "gc", "-q", "--prune=now")
    with pytest.raises(Refused, match="fetch the whole history"):
        make(bare, "2.9.0")


def test_altered_records_of_a_frozen_release_are_refused(root: Path) -> None:
    releases.freeze("2.9.0", root=root, catalogue=root / "releases.yaml")
    (root / "dwcp_agent/src/dwcp_agent/__init__.py").write_text("later = 1\n")
    later = commit(root, "later")
    catalogue = root / "releases.yaml"
    record = read(catalogue).releases["2.9.0"]
    original = catalogue.read_text()
    catalogue.write_text(original.replace(str(record.commit), later))
    with pytest.raises(Refused, match="frozen at source digest"):
        make(root, "2.9.0")
    catalogue.write_text(original)
    (root / record.lock).write_text("# other\n")
    with pytest.raises(Refused, match="was frozen with"):
        make(root, "2.9.0")


def test_nothing_uncommitted_is_frozen_and_nothing_twice(root: Path) -> None:
    catalogue = root / "releases.yaml"
    (root / "dwcp_agent/src/dwcp_agent/more.py").write_text("")
    with pytest.raises(BadInput, match=r"more\.py is not committed"):
        releases.freeze("2.9.0", root=root, catalogue=catalogue)
    commit(root, "more")
    releases.freeze("2.9.0", root=root, catalogue=catalogue)
    with pytest.raises(BadInput, match="frozen already"):
        releases.freeze("2.9.0", root=root, catalogue=catalogue)
    with pytest.raises(BadInput, match="There is no release"):
        releases.freeze("7.7.7", root=root, catalogue=catalogue)


def test_a_catalogue_that_cannot_be_edited_leaves_nothing_behind(root: Path) -> None:
    catalogue = root / "releases.yaml"
    catalogue.write_text(catalogue.read_text().replace('"2.9.0":\n', "'2.9.0':\n"))
    commit(root, "other quotes")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and ".git" not in path.parts}
    with pytest.raises(BadInput, match="cannot be edited here"):
        releases.freeze("2.9.0", root=root, catalogue=catalogue)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and ".git" not in path.parts} == before


def test_the_bundle_is_the_same_every_time_and_holds_the_release(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(root)
    first = releases.bundle(made)
    content = first.read_bytes()
    first.unlink()
    assert releases.bundle(made).read_bytes() == content
    with tarfile.open(first) as tar:
        assert {m.name for m in tar} == {"manifest.json", "manifest.json.sig", *(f"files/{name}" for name in made.files)}
        assert all(m.isreg() and m.mtime == 0 and m.uid == 0 for m in tar)
        assert tar.getmember("files/uv").mode == 0o755
