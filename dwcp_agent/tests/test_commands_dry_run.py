"""``dwcp send --dry-run``: what it foretells is what is sent then, and until then the receiver has nothing new."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from fixtures import Done, Host, one_sentence

BLOCK = 65536


def stored(host: Host) -> set[Path]:
    return {path for path in (host.place / "store").rglob("*") if ".manifests" not in path.parts}


def sessions(dwcp: Callable[..., Done], host: Host) -> int:
    status = dwcp("status", f"https://127.0.0.1:{host.port}", *host.identity.as_arguments(), "--json")
    return int(json.loads(status.stdout)["status"]["sessions"])


def test_what_is_foretold_is_what_is_sent(dwcp: Callable[..., Done], host: Host, tmp_path: Path) -> None:
    image = tmp_path / "image"
    # A last, shorter block of zeros is sent as content is.
    image.write_bytes(os.urandom(20 * BLOCK) + bytes(10 * BLOCK) + os.urandom(BLOCK) + bytes(100))
    size = image.stat().st_size
    arguments = ["send", str(image), *host.to("dry/image")]
    before, opened = stored(host), sessions(dwcp, host)

    def foretold(*more: str) -> dict[str, object]:
        done = dwcp(*arguments, "--dry-run", *more)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    first = foretold()
    assert stored(host) == before and sessions(dwcp, host) <= opened  # those of others may have expired
    assert first | {"id": "", "session": ""} == {
        "schema": 1, "dry_run": True, "name": "dry/image", "session": "", "baseline": "none", "identical": False, "id": "",
        "bytes": size, "blocks": 32, "same_blocks": 0, "zero_blocks": 10, "send_blocks": 22,
        "same_bytes": 0, "zero_bytes": 10 * BLOCK, "send_bytes": 21 * BLOCK + 100, "source": "mmap", "source_stable": True,
    }  # fmt: skip

    def sent() -> dict[str, object]:
        done = dwcp(*arguments)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def agree(told: dict[str, object], report: dict[str, object]) -> bool:
        names = ("same_bytes", "zero_bytes", "id", "session", "baseline")
        return told["send_bytes"] == report["sent_bytes"] and all(told[name] == report[name] for name in names)

    assert agree(first, sent())
    with image.open("r+b") as file:
        file.seek(5 * BLOCK)
        file.write(b"changed")
        file.seek(7 * BLOCK)
        file.write(bytes(BLOCK))
    second = foretold()
    assert (second["baseline"], second["same_blocks"], second["zero_blocks"], second["send_blocks"]) == ("receiver", 30, 1, 1)
    # Of blocks that differ only the pages that do are sent, so that what is foretold of them is the most.
    report = sent()
    assert (report["id"], report["baseline"]) == (second["id"], "receiver")
    assert report["sent_bytes"] == BLOCK + 4096 and report["same_bytes"] == size - report["sent_bytes"]
    assert second["send_bytes"] + second["zero_bytes"] == 2 * BLOCK
    third = foretold("--baseline", str(image))
    assert (third["baseline"], third["identical"], third["send_bytes"]) == ("both sides", True, 0)


def test_a_directory_is_foretold_file_by_file(dwcp: Callable[..., Done], host: Host, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / name).write_bytes(os.urandom(BLOCK))
    before = stored(host)
    done = dwcp("send", str(tmp_path / "images"), *host.to("dry/tree"), "--dry-run")
    assert done.returncode == 0, done.stderr
    *files, summary = (json.loads(line) for line in done.stdout.splitlines())
    assert sorted((file["name"], file["send_bytes"]) for file in files) == [("dry/tree/a", BLOCK), ("dry/tree/b", BLOCK)]
    assert (summary["files"], summary["sent"], summary["dry_run"]) == (2, 0, True)
    assert stored(host) == before


def test_a_dry_run_that_gets_no_answer_fails(dwcp: Callable[..., Done], host: Host, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"x")
    done = dwcp("send", str(tmp_path / "image"), "https://127.0.0.1:9/x", *host.identity.as_arguments(), "--dry-run")
    assert done.returncode == 4 and one_sentence(done.stderr)
