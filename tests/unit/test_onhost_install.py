"""What a host takes, what it refuses, and what lies there afterwards. Real uv and ssh-keygen; only systemd's answers are given."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from golive import releases
from golive.onhost import install, installed, units
from golive.onhost.failures import Refused
from golive.onhost.fits import misfit
from golive.onhost.main import main
from golive.onhost.places import Places
from golive.onhost.units import Unit
from golive.releases import Release
from golive.releases.model import canonical
from releases_standin import checkout, lab, ssh_key


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Release]:
    root = checkout(tmp_path_factory.mktemp("checkout"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOLIVE_STATE", str(tmp_path_factory.mktemp("state")))
        env = lab()

        def build(version: str, defect: str | None = None) -> Release:
            made = releases.build(env, version, defect=defect, root=root, catalogue=root / "releases.yaml")
            releases.bundle(made)
            return made

        made = {"old": build("2.9.0"), "new": build("3.0.0"), "load": build("1.0.0"), "bad": build("3.0.1", "errors=2%")}
        yield made  # type: ignore[misc]


def bundle(release: Release) -> Path:
    (path,) = (release.path.parents[1] / "cache" / "bundles").glob(f"{release.id}.*.tar")
    return path


class Systemd:
    """What systemctl would say: everything is idle unless told otherwise."""

    def __init__(self) -> None:
        self.told: dict[str, Unit] = {}

    def tell(self, name: str, *, state: str = "inactive", enabled: bool = False) -> None:
        self.told[name] = Unit(name, state, enabled, "0" * 32, 1 if state == "active" else 0)

    def show(self, names: Iterable[str]) -> dict[str, Unit]:
        return {name: self.told.get(name) or Unit(name, "inactive", False, "", 0) for name in names}


@pytest.fixture
def systemd(monkeypatch: pytest.MonkeyPatch) -> Systemd:
    fake = Systemd()
    monkeypatch.setattr(units, "show", fake.show)
    return fake


@pytest.fixture
def places(tmp_path: Path, built: dict[str, Release], systemd: Systemd) -> Places:
    places = Places(tmp_path / "host")
    places.etc.mkdir(parents=True)
    shutil.copy(built["old"].path.parents[1] / "lab" / "keys" / "allowed_signers", places.allowed_signers)
    places.signature_namespace.write_text("dwcp-release-lab\n")
    return places


@pytest.fixture
def put(places: Places) -> Callable[..., int]:
    def run(path: Path, slot: str = "a", kind: str = "agent", token: int = 1, *more: str) -> int:
        return main(
            ["--root", str(places.root), "install", str(path), f"--kind={kind}", f"--slot={slot}", f"--token={token}", "--run=r", *more]
        )

    return run


def lying_about(places: Places) -> list[str]:
    return sorted(p.name for kind in ("agent", "load") for p in places.releases(kind).glob("*"))


def test_a_release_is_installed_whole_and_the_second_time_nothing_changes(
    places: Places, built: dict[str, Release], put: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert put(bundle(built["old"])) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"changed": True, "id": built["old"].id, "kind": "agent", "slot": "a"}
    home = places.releases("agent") / built["old"].id
    assert subprocess.run([home / "bin/dwcp"], capture_output=True, text=True, check=True).stdout == "2.9.0 core\n"
    assert places.slot_file(built["old"].id).read_text() == "DWCP_SLOT=a\n"
    writable = [p for p in home.rglob("*") if not p.is_symlink() and p.stat().st_mode & 0o022]
    assert writable == []
    assert list(home.rglob("*.pyc")), "bytecode is compiled at installation: the agent cannot write it"
    before = {p: p.lstat().st_mtime_ns for p in home.rglob("*")}
    assert put(bundle(built["old"])) == 0
    assert json.loads(capsys.readouterr().out)["changed"] is False
    assert {p: p.lstat().st_mtime_ns for p in home.rglob("*")} == before
    assert lying_about(places) == [built["old"].id]


def test_a_load_client_is_installed_in_its_own_place(places: Places, built: dict[str, Release], put: Callable[..., int]) -> None:
    assert put(bundle(built["load"]), kind="load") == 0
    assert (places.releases("load") / built["load"].id / "bin/dwcp").exists()
    assert put(bundle(built["load"]), kind="agent") == 4
    assert put(bundle(built["old"]), kind="load") == 4


def test_an_installed_bundle_is_removed_only_when_asked_and_only_after_success(
    built: dict[str, Release], put: Callable[..., int], tmp_path: Path, places: Places
) -> None:
    copy = Path(shutil.copy(bundle(built["old"]), tmp_path / "b.tar"))
    places.signature_namespace.write_text("dwcp-release\n")
    assert put(copy, "a", "agent", 1, "--remove-bundle") == 4
    assert copy.exists()
    places.signature_namespace.write_text("dwcp-release-lab\n")
    assert put(copy, "a", "agent", 1, "--remove-bundle") == 0
    assert not copy.exists()


def rewritten(source: Path, target: Path, change: Callable[[tarfile.TarInfo, bytes], list[tuple[tarfile.TarInfo, bytes]]]) -> Path:
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old:
            content = old.extractfile(member).read()  # type: ignore[union-attr]
            for entry, data in change(member, content):
                entry.size = len(data) if entry.isreg() else 0
                new.addfile(entry, io.BytesIO(data))
    return target


def named(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    return entry


def flipped(data: bytes) -> bytes:
    return data[:100] + bytes([data[100] ^ 1]) + data[101:]


EVIL: dict[str, Callable[[tarfile.TarInfo, bytes], list[tuple[tarfile.TarInfo, bytes]]]] = {
    "a byte of the wheel": lambda m, d: [(m, flipped(d) if m.name.endswith(".whl") else d)],
    "a byte of uv": lambda m, d: [(m, flipped(d) if m.name == "files/uv" else d)],
    "a byte of the pins": lambda m, d: [(m, d + b" " if m.name == "files/requirements.txt" else d)],
    "a byte of the manifest": lambda m, d: [(m, flipped(d) if m.name == "manifest.json" else d)],
    "no signature": lambda m, d: [] if m.name == "manifest.json.sig" else [(m, d)],
    "a file missing": lambda m, d: [] if m.name.endswith(".whl") else [(m, d)],
    "a file too many": lambda m, d: [(m, d), (named("files/extra.whl"), b"x")] if m.name == "files/uv" else [(m, d)],
    "a file twice": lambda m, d: [(m, d), (m, d)] if m.name == "files/requirements.txt" else [(m, d)],
    "two manifests": lambda m, d: [(m, d), (named("manifest.json"), b"{}")] if m.name == "manifest.json" else [(m, d)],
    "an absolute path": lambda m, d: [(m, d), (named("/etc/cron.d/evil"), b"x")] if m.name == "files/uv" else [(m, d)],
    "a way up": lambda m, d: [(m, d), (named("files/../../../evil"), b"x")] if m.name == "files/uv" else [(m, d)],
    "a symlink": lambda m, d: [(named(m.name, tarfile.SYMTYPE, "/etc/passwd"), b"")] if m.name == "files/uv" else [(m, d)],
    "a hard link": lambda m, d: [(m, d), (named("files/x", tarfile.LNKTYPE, "manifest.json"), b"")] if m.name == "files/uv" else [(m, d)],
    "a device": lambda m, d: [(named(m.name, tarfile.CHRTYPE), b"")] if m.name == "files/uv" else [(m, d)],
}


@pytest.mark.parametrize("what", EVIL)
def test_a_bundle_with_anything_changed_is_refused_and_leaves_nothing(
    what: str, places: Places, built: dict[str, Release], put: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = rewritten(bundle(built["old"]), tmp_path / "evil.tar", EVIL[what])
    assert put(evil) == 4
    assert capsys.readouterr().err.count("\n") == 1
    assert lying_about(places) == []
    assert put(bundle(built["old"])) == 0


def test_what_is_no_bundle_is_bad_input(built: dict[str, Release], put: Callable[..., int], tmp_path: Path, places: Places) -> None:
    half = tmp_path / "half.tar"
    half.write_bytes(bundle(built["old"]).read_bytes()[: 20 << 20])
    (tmp_path / "text.tar").write_text("hello")
    assert put(tmp_path / "missing.tar") == 2
    assert put(tmp_path / "text.tar") == 2
    assert put(half) in (2, 4)
    assert lying_about(places) == []


def test_a_stranger_s_signature_and_another_namespace_are_refused(
    places: Places, built: dict[str, Release], put: Callable[..., int], tmp_path: Path
) -> None:
    places.allowed_signers.write_text(f"me@example.invalid {ssh_key(tmp_path / 'other')}\n")
    assert put(bundle(built["old"])) == 4
    places.allowed_signers.unlink()
    assert put(bundle(built["old"])) == 4
    assert lying_about(places) == []


def test_a_host_outside_the_lab_refuses_a_planted_defect_even_if_signed(
    places: Places, built: dict[str, Release], put: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "mine"
    places.allowed_signers.write_text(f"me@example.invalid {ssh_key(key)}\n")
    places.signature_namespace.write_text("dwcp-release\n")
    manifest = (built["bad"].path / "manifest.json").read_bytes()
    signature = releases.signing.sign(manifest, key, "dwcp-release")
    signed = rewritten(bundle(built["bad"]), tmp_path / "x.tar", lambda m, d: [(m, signature if m.name.endswith(".sig") else d)])
    assert put(signed) == 4
    assert "planted defect" in capsys.readouterr().err
    hidden = canonical(json.loads(manifest) | {"defect": None})
    signature = releases.signing.sign(hidden, key, "dwcp-release")
    swap = {"manifest.json": hidden, "manifest.json.sig": signature}
    assert put(rewritten(bundle(built["bad"]), tmp_path / "y.tar", lambda m, d: [(m, swap.get(m.name, d))])) == 4, "the version says it too"
    assert lying_about(places) == []


def test_the_lab_takes_a_planted_defect(places: Places, built: dict[str, Release], put: Callable[..., int]) -> None:
    assert put(bundle(built["bad"]), slot="b") == 0
    assert (places.releases("agent") / built["bad"].id).is_dir()
    assert "+" not in built["bad"].id


def test_a_slot_that_another_release_holds_is_refused_until_it_is_idle(
    places: Places, built: dict[str, Release], put: Callable[..., int], systemd: Systemd, capsys: pytest.CaptureFixture[str]
) -> None:
    assert put(bundle(built["old"]), slot="a") == 0
    unit = units.named("agent", built["old"].id)
    for state, enabled in (("active", True), ("deactivating", False), ("inactive", True)):
        systemd.tell(unit, state=state, enabled=enabled)
        assert put(bundle(built["new"]), slot="a") == 4
        assert "Slot a is taken" in capsys.readouterr().err
        assert not places.slot_file(built["new"].id).exists()
    assert put(bundle(built["new"]), slot="b") == 0
    systemd.tell(unit)
    assert put(bundle(built["new"]), slot="a") == 0, "an idle release gives up its slot, and an idle one may change to it"
    assert places.slot_file(built["new"].id).read_text() == "DWCP_SLOT=a\n"


def test_a_running_release_keeps_its_slot(places: Places, built: dict[str, Release], put: Callable[..., int], systemd: Systemd) -> None:
    assert put(bundle(built["old"]), slot="a") == 0
    systemd.tell(units.named("agent", built["old"].id), state="active", enabled=True)
    assert put(bundle(built["old"]), slot="b") == 4
    assert put(bundle(built["old"]), slot="a") == 0
    assert places.slot_file(built["old"].id).read_text() == "DWCP_SLOT=a\n"


def test_a_full_disk_is_refused_before_anything_is_written(
    places: Places, built: dict[str, Release], put: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = os.statvfs
    monkeypatch.setattr(install.os, "statvfs", lambda path: _nearly_full(real(path)))
    assert put(bundle(built["old"])) == 4
    assert "MiB free" in capsys.readouterr().err
    assert lying_about(places) == []


def _nearly_full(real: os.statvfs_result) -> os.statvfs_result:
    fields = list(real[:10])
    fields[4] = 10  # f_bavail
    return os.statvfs_result(fields)


def test_a_disk_that_fills_up_on_the_way_leaves_nothing_and_is_no_bug_of_ours(
    places: Places, built: dict[str, Release], put: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(install, "_on_disk", full)
    assert put(bundle(built["old"])) == 4
    assert "No space left" in capsys.readouterr().err
    assert lying_about(places) == []


def test_a_release_altered_on_the_host_is_no_release_and_is_installed_again(
    places: Places, built: dict[str, Release], put: Callable[..., int]
) -> None:
    assert put(bundle(built["old"])) == 0
    manifest = places.releases("agent") / built["old"].id / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"phase4":false', b'"phase4":true'))
    assert installed.complete(places, "agent", built["old"].id) is None
    with pytest.raises(Refused, match="not installed completely"):
        installed.require(places, "agent", built["old"].id)
    assert put(bundle(built["old"])) == 0
    assert installed.require(places, "agent", built["old"].id).digest == built["old"].digest
    assert lying_about(places) == [built["old"].id]


def test_prune_keeps_the_newest_and_whatever_is_in_use(
    places: Places, built: dict[str, Release], put: Callable[..., int], systemd: Systemd, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, slot in (("old", "a"), ("bad", "b"), ("new", "b")):
        assert put(bundle(built[name]), slot=slot) == 0
    assert put(bundle(built["load"]), kind="load") == 0
    systemd.tell(units.named("agent", built["old"].id), enabled=True)
    capsys.readouterr()
    assert main(["--root", str(places.root), "prune", "--keep", "1", "--token", "1", "--run", "r"]) == 0
    assert json.loads(capsys.readouterr().out) == {"changed": True, "removed": [built["bad"].id]}
    assert lying_about(places) == sorted([built["old"].id, built["new"].id, built["load"].id])
    assert not places.slot_file(built["bad"].id).exists()
    assert main(["--root", str(places.root), "prune", "--keep", "0", "--token", "1", "--run", "r"]) == 2


def test_status_tells_what_is_installed_and_what_is_only_half_there(
    places: Places, built: dict[str, Release], put: Callable[..., int], systemd: Systemd, capsys: pytest.CaptureFixture[str]
) -> None:
    assert put(bundle(built["old"])) == 0
    (places.releases("agent") / "3.0.0-0123456789ab.partial").mkdir()
    (places.releases("agent") / "3.0.0-0123456789ab").mkdir()
    systemd.tell(units.named("agent", built["old"].id), state="active", enabled=True)
    capsys.readouterr()
    assert main(["--root", str(places.root), "status"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["fence"] == {"token": 1, "owner": "r"}
    assert [(r["id"], r["slot"], r["active"], r["enabled"], r["digest"]) for r in said["releases"]] == [
        (built["old"].id, "a", True, True, built["old"].digest)
    ]
    assert said["incomplete"] == ["3.0.0-0123456789ab", "3.0.0-0123456789ab.partial"]


def test_a_stale_token_installs_nothing(places: Places, built: dict[str, Release], put: Callable[..., int]) -> None:
    assert main(["--root", str(places.root), "fence", "--token", "9", "--run", "other"]) == 0
    assert put(bundle(built["old"]), "a", "agent", 8) == 4
    assert lying_about(places) == []


def test_a_systemd_that_does_not_answer_is_unknown_not_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(units, "_environment", lambda: {"PATH": str(tmp_path)})
    with pytest.raises(Refused, match="unknown what runs"):
        units.show(["dwcp-agent@x.service"])
    script = tmp_path / "systemctl"
    script.write_text("#!/bin/sh\necho Id=dwcp-agent@x.service\n")
    script.chmod(0o755)
    monkeypatch.setattr(units, "_environment", lambda: {"PATH": f"{tmp_path}:/bin"})
    with pytest.raises(Refused, match="says nothing of dwcp-agent@x"):
        units.show(["dwcp-agent@x.service"])


GOOD = {"platform": f"linux-{os.uname().machine}", "python": "3.11", "files": {"a-1-py3-none-any.whl": "", "uv": ""}}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"platform": "linux-riscv128"}, "built for riscv128"),
        ({"python": "3.2"}, "needs python3.2, which is not here"),
        ({"files": {"b-1-cp311-cp311-manylinux_2_999_x86_64.whl": ""}}, r"needs glibc 2\.999 and this host has glibc"),
        ({"files": {"b-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl": ""}}, ""),
        ({"files": {"b-1-cp311-cp311-manylinux_2_999_x86_64.manylinux_2_5_x86_64.whl": ""}}, ""),
        ({}, ""),
    ],
)
def test_a_release_for_another_kind_of_host_is_known_for_one(tmp_path: Path, change: dict[str, object], says: str) -> None:
    (tmp_path / "python3.11").symlink_to("/bin/true")
    assert re.search(says, misfit({**GOOD, **change}, path=str(tmp_path))) and bool(misfit({**GOOD, **change}, path=str(tmp_path))) == bool(
        says
    )


def test_a_release_for_another_kind_of_host_is_refused_before_anything_changes(
    places: Places, built: dict[str, Release], put: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(install, "misfit", lambda manifest: "it needs python3.99, which is not here")
    assert put(bundle(built["old"])) == 4
    assert "cannot run on this host: it needs python3.99, which is not here; nothing was changed" in capsys.readouterr().err
    assert lying_about(places) == [] and not places.slot_file(built["old"].id).exists()
