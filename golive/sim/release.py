"""Releases that simulated hosts can run: signed like any other, with a ``uv`` that installs nothing but two little programs."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

from golive.environment import Environment
from golive.errors import BadInput
from golive.releases import catalogue, signing
from golive.releases.model import MANIFEST, SIGNATURE, Release, canonical, digest_of, id_of
from golive.releases.store import find, store
from golive.releases.verify import FILES, verify_for

__all__ = ["made"]

_UV = """#!/bin/sh
# Stands in for uv: an "environment" is a directory with the programs that are asked for.
for last; do :; done
here=$(dirname "$0")
if [ "$1" = venv ]; then
  mkdir -p "$last/bin" && printf '#!/bin/sh\\nexit 0\\n' > "$last/bin/python" && chmod 755 "$last/bin/python"
else
  while [ "$1" != --python ]; do shift; done
  cp "$here/dwcp" "$(dirname "$2")/dwcp" && chmod 755 "$(dirname "$2")/dwcp"
fi
"""
_DWCP = """#!/bin/sh
case "$1" in
  version) echo "dwcp {version}" ;;
  features) echo '{{"simulated": true}}' ;;
esac
"""
_PLANTED = {
    "errors": "errors=2%",
    "latency": "latency=+40%",
    "corrupt": "corrupt=0.5%",
    "crash": "crash-after=30s",
    "metrics": "no-metrics",
}
"""What ``VERSION+defect.LABEL`` means here."""


def made(env: Environment, version: str) -> Release:
    """The simulated release of ``version``, which may end in ``+defect.errors`` and the like; made once. Raises BadInput."""
    known = find(version)
    if known:
        return known[0]
    plain, _, label = version.partition("+defect.")
    if label and label not in _PLANTED:
        raise BadInput(f"A simulated release has one of the defects {', '.join(_PLANTED)}, not {label!r}.")
    wanted = catalogue.recipe(plain, _PLANTED[label] if label else None)
    store().mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".partial-", dir=store()))
    try:
        files = scratch / FILES
        files.mkdir()
        (files / "uv").write_text(_UV, encoding="utf-8")
        (files / "uv").chmod(0o755)
        (files / "requirements.txt").write_text("# nothing\n", encoding="utf-8")
        (files / "dwcp").write_text(_DWCP.format(version=version), encoding="utf-8")
        manifest = {
            "schema": 1,
            "name": "dwcp-agent",
            "version": version,
            "kind": wanted.entry.kind,
            "phase4": wanted.entry.phase4,
            "defect": wanted.defect.manifest if wanted.defect else None,
            "source": {"commit": None, "tree": None, "digest": "0" * 64},
            "python": "3.11",
            "platform": "simulated",
            "files": {path.name: digest_of(path) for path in sorted(files.iterdir())},
        }
        content = canonical(manifest)
        (scratch / MANIFEST).write_bytes(content)
        trusted = signing.trust(env)
        (scratch / SIGNATURE).write_bytes(signing.sign(content, signing.signer(env, None), trusted.namespace))
        target = store() / id_of(version, digest_of(scratch / MANIFEST))
        with contextlib.suppress(OSError):  # another process made it meanwhile, to the byte
            scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return verify_for(env, target)
