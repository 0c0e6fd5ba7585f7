"""What the lab asks of the machine, and whose things it touches."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from golive import environment
from golive.environment import Environment
from golive.errors import Occupied, Refused, Unprepared, Unreachable
from golive.lab import commands, image, podman, preflight


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    return environment.load("lab")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory on PATH."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", str(place))
    return place


def program(place: Path, name: str, script: str) -> None:
    (place / name).write_text(f"#!/bin/sh\n{script}\n")
    (place / name).chmod(0o755)


def test_without_root_nothing_begins(lab: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unprepared, match="run it as root or with sudo"):
        preflight.check(lab)


def test_all_that_is_missing_is_named_at_once(lab: Environment, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(preflight.shutil, "which", lambda name: None)
    with pytest.raises(Unprepared, match=r"apt-get install iproute2 mmdebstrap nftables openssh-client podman util-linux runc"):
        preflight.check(lab)


def test_a_full_disk_is_found_before_anything_is_built(
    lab: Environment, programs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program(programs, "podman", f'case "$1" in image) exit 1;; info) echo {tmp_path};; *) exit 9;; esac')
    program(programs, "mmdebstrap", f"touch {tmp_path}/built")
    monkeypatch.setattr(os, "statvfs", lambda place: SimpleNamespace(f_bavail=1000, f_frsize=4096))
    with pytest.raises(Unprepared, match=r"GiB free .* takes 3 GiB; nothing was changed"):
        image.ensure(lambda line: None)
    assert not (tmp_path / "built").exists()


def test_a_failed_build_says_why_and_leaves_no_rest(lab: Environment, programs: Path, tmp_path: Path) -> None:
    program(programs, "podman", f'case "$1" in image) exit 1;; info) echo {tmp_path};; *) exit 9;; esac')
    program(programs, "mmdebstrap", "echo 'I: trying' >&2; echo 'E: cannot resolve the mirror' >&2; exit 1")
    program(programs, "env", 'shift; exec "$@"')
    with pytest.raises(Unprepared, match="E: cannot resolve the mirror"):
        image.ensure(lambda line: None)
    assert list(image.cache_dir().glob("image-*")) == []


def test_the_images_name_follows_its_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = image.reference()
    assert before.startswith("localhost/dwcp-lab-host:") and len(before.split(":")[1]) == 12
    monkeypatch.setattr(image, "PACKAGES", (*image.PACKAGES, "another"))
    assert image.reference() != before


def test_the_runtime_that_boots_is_found_and_remembered(programs: Path, tmp_path: Path) -> None:
    log = tmp_path / "tried"
    info = json.dumps({"host": {"ociRuntime": {"name": "crun"}}})
    runs = f"""echo "$@" >> {log}; case "$*" in *"--runtime runc"*) exit 0;; *) echo "Error: crun refuses" >&2; exit 126;; esac"""
    program(programs, "podman", f"case \"$1\" in info) echo '{info}';; run) {runs};; esac")
    assert podman.bootable_runtime("image:1", tmp_path) == "runc"
    assert len(log.read_text().splitlines()) == 2
    assert podman.bootable_runtime("image:1", tmp_path) == "runc"
    assert len(log.read_text().splitlines()) == 2, "asked once a boot"


def test_no_runtime_at_all_is_said_with_the_last_complaint(programs: Path, tmp_path: Path) -> None:
    info = json.dumps({"host": {"ociRuntime": {"name": "crun"}}})
    program(programs, "podman", f"case \"$1\" in info) echo '{info}';; run) echo 'Error: no cgroups' >&2; exit 126;; esac")
    with pytest.raises(Unprepared, match=r"tried crun, runc\); the last said: Error: no cgroups"):
        podman.bootable_runtime("image:1", tmp_path)


def test_only_our_own_things_are_touched(tmp_path: Path) -> None:
    ours = {podman.ENV_LABEL: "lab", podman.OWNER_LABEL: str(tmp_path)}
    podman.check_ours("Container x", ours, "lab", str(tmp_path))
    podman.check_ours("Container x", {**ours, podman.OWNER_LABEL: str(tmp_path / "gone")}, "lab", str(tmp_path))
    for labels in ({}, {podman.ENV_LABEL: "other"}, {podman.OWNER_LABEL: str(tmp_path)}):
        with pytest.raises(Unprepared, match="Container x exists on this machine but was not made by environment lab"):
            podman.check_ours("Container x", labels, "lab", str(tmp_path))
    (tmp_path / "other").mkdir()
    with pytest.raises(Occupied, match=f"whose state is {tmp_path / 'other'}"):
        podman.check_ours("Container x", {**ours, podman.OWNER_LABEL: str(tmp_path / "other")}, "lab", str(tmp_path))


def test_a_program_that_is_missing_fails_or_hangs_is_a_sentence(programs: Path) -> None:
    with pytest.raises(Unprepared, match="apt-get install nftables"):
        commands.run(["nft", "list"])
    program(programs, "nft", "echo 'Error: no such table' >&2; exit 1")
    with pytest.raises(Refused, match=r"`nft list` failed: Error: no such table"):
        commands.must(["nft", "list"])
    program(programs, "slow", "while :; do :; done")
    with pytest.raises(Unreachable, match="did not end within 1 s"):
        commands.run(["slow"], timeout_s=1)
