"""What stands in for restic: a repository is a directory on the ops host, a snapshot one below it, there whole or not at all.

A snapshot is made under another name and renamed: a controller that is killed leaves it whole or not at all. What was saved can be spoilt
by whoever writes into the directory: restoring copies what lies there and says nothing, so that the real comparison finds it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from golive.sim.world import World

__all__ = ["ran", "repository"]


def repository(world: World, ops: str, host: str) -> Path:
    """Where the snapshots of ``host`` are, on ``ops``."""
    return world.host(ops).root / "var/lib/dwcp/backups" / host


def ran(world: World, words: Sequence[str], options: dict[str, Any], now: float) -> subprocess.CompletedProcess[str]:
    """``restic WORDS`` as `golive.onhost.restic` calls it: what it says goes into the files that it was given."""
    url = Path(options["env"]["RESTIC_REPOSITORY_FILE"]).read_text(encoding="utf-8").strip()
    password = Path(options["env"]["RESTIC_PASSWORD_FILE"]).read_text(encoding="utf-8").strip()
    parts = urlsplit(url.partition(":")[2])
    ops, host = parts.hostname or "", parts.path.strip("/")
    code, said = _did(world, ops, host, password, list(words), options, now)
    (options["stderr"] if code else options["stdout"]).write(said.encode())
    return subprocess.CompletedProcess(list(words), code, "", "")


def _did(world: World, ops: str, host: str, password: str, words: list[str], options: dict[str, Any], now: float) -> tuple[int, str]:
    home, verb = repository(world, ops, host), next(word for word in words if word in _VERBS)
    there = world.host(ops).condition
    if there.cut or there.hangs:
        return 1, "Fatal: unable to open config file: connect: connection timed out\n"
    if verb in ("init", "backup") and there.full:
        return 1, "Fatal: unable to save: server response unexpected: 507 Insufficient Storage (507)\n"
    config, key = home / "config", hashlib.sha256(password.encode()).hexdigest()
    if verb == "init":
        home.mkdir(parents=True, exist_ok=True)
        config.write_text(key, encoding="ascii")
        return 0, "created restic repository\n"
    if not config.exists():
        return 1, "Fatal: unable to open config file: <config/> does not exist\n"
    if config.read_text(encoding="ascii") != key:
        return 1, "Fatal: wrong password or no key found\n"
    if verb == "unlock":
        return 0, "successfully removed locks\n"
    if verb == "snapshots":
        wanted = set(words[words.index("--tag") + 1].split(","))
        every = [json.loads(path.read_text(encoding="utf-8")) for path in home.glob("*/snapshot.json")]
        return 0, json.dumps([one for one in every if wanted <= set(one["tags"])])
    if verb == "backup":
        return 0, _saved(home, Path(options["cwd"]), [words[n + 1] for n, word in enumerate(words) if word == "--tag"], now)
    kept = home / words[words.index("restore") + 1] / "files"
    if not kept.is_dir():
        return 1, "Fatal: failed to find snapshot: no matching ID found\n"
    shutil.copytree(kept, Path(words[words.index("--target") + 1]), dirs_exist_ok=True)
    return 0, "restored\n"


_VERBS = ("init", "snapshots", "unlock", "backup", "restore")


def _saved(home: Path, source: Path, tags: list[str], now: float) -> str:
    made = hashlib.sha256(uuid.uuid4().bytes).hexdigest()
    partial = home / f".{made}"
    shutil.copytree(source, partial / "files")
    about = {"id": made, "time": datetime.fromtimestamp(now, UTC).isoformat(), "tags": tags}
    (partial / "snapshot.json").write_text(json.dumps(about), encoding="utf-8")
    partial.rename(home / made)
    size = sum(path.stat().st_size for path in (home / made / "files").rglob("*") if path.is_file())
    return json.dumps({"message_type": "summary", "snapshot_id": made, "data_added": size}) + "\n"
