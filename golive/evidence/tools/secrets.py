"""Whether a private key or a token is among the tracked files. ``python -m golive.evidence.tools secrets ROOT`` prints what it found.

It knows the shapes below and no others. A password in a sentence, a key in an odd encoding, or what stands in the history alone is not
found: it is a net against accidents and no audit.
"""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from golive.evidence.tools.model import Command, Judged, Place, Said, Tool, python

__all__ = ["SECRETS", "Finding", "scan", "search"]

_SHAPES: Mapping[str, re.Pattern[bytes]] = {
    name: re.compile(shape)
    for name, shape in {
        # With at least a line of content: a mere mention of the header, as in a test, is none.
        "private key": rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----[\s\\nr\"']+[A-Za-z0-9+/=]{32}",
        "AWS access key": rb"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b",
        "GitHub token": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60})",
        "GitLab token": rb"\bglpat-[A-Za-z0-9_-]{20}",
        "Slack token": rb"\bxox[abposr]-[A-Za-z0-9-]{20}",
        "PyPI token": rb"\bpypi-AgEIcHlwaS[A-Za-z0-9_-]{40}",
        "npm token": rb"\bnpm_[A-Za-z0-9]{36}\b",
        "Google key": rb"\bAIza[A-Za-z0-9_-]{35}\b",
        "JSON web token": rb"\beyJ[A-Za-z0-9_-]{12,}\.eyJ[A-Za-z0-9_-]{12,}\.[A-Za-z0-9_-]{20,}",
        "password in a URL": rb"\b[a-z][a-z+]{2,20}://[A-Za-z0-9._-]{1,64}:[^\s:/?@\"'`{}<>$*]{5,64}@[A-Za-z0-9.-]{2,}",
    }.items()
}
_NAMES = (
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    ".env",
    "*.tfstate",
    ".netrc",
    ".pgpass",
)
"""Names of files that hold secrets and nothing else, or are usually made with some in them."""
_CONTROL = b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + b"b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAA\n"
_NOBODY = re.compile(rb"EXAMPLE\b|@(?:[a-z0-9-]+\.)*(?:example(?:\.(?:com|net|org))?|test|invalid|localhost)$|@127\.[0-9.]+$")
"""What is nobody's: keys that their makers publish as examples, and hosts of reserved names (RFC 2606)."""
_EXAMPLE = re.compile(rb"secret-scan: example")
"""On the line itself, or on the one above: this is none, it only looks like one. Each of them is counted."""


@dataclass(frozen=True)
class Finding:
    """Where something looks like a secret, and like which; the secret itself is not repeated."""

    file: str
    line: int
    kind: str


def search(name: str, content: bytes) -> tuple[list[Finding], int]:
    """What looks like a secret in a file, and how much of that is marked as an example."""
    found, examples = [], 0
    if any(fnmatch.fnmatch(name.rsplit("/", 1)[-1], pattern) for pattern in _NAMES):
        found.append(Finding(name, 0, "name of a file with secrets"))
    for kind, shape in _SHAPES.items():
        for match in shape.finditer(content):
            line = content.count(b"\n", 0, match.start()) + 1
            near = content.splitlines()[max(0, line - 2) : line]
            if _NOBODY.search(match[0]):
                continue
            if any(_EXAMPLE.search(each) for each in near):
                examples += 1
            else:
                found.append(Finding(name, line, kind))
    return found, examples


def scan(root: Path) -> dict[str, object]:
    """All tracked files of the checkout ``root``. Raises OSError or CalledProcessError when git does not say which."""
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, check=True).stdout
    names = [name for name in listed.decode().split("\0") if name]
    found: list[Finding] = []
    files = size = examples = 0
    for name in names:
        path = root / name
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        files, size = files + 1, size + len(content)
        here, marked = search(name, content)
        found += here
        examples += marked
    return {
        "files": files,
        "bytes": size,
        "shapes": sorted(_SHAPES),
        "control": bool(search("control", _CONTROL)[0]),
        "examples": examples,
        "found": [asdict(each) for each in found],
    }


def _commands(place: Place) -> list[Command]:
    return [Command(python("-m", "golive.evidence.tools", "secrets", str(place.root)), place.root)]


def _judge(_: Place, said: Sequence[Said]) -> Judged:
    (only,) = said
    if only.rc != 0:
        return Judged("UNKNOWN", f"The scan ended with {only.rc}; outside of a git checkout there are no tracked files.")
    told = json.loads(only.output)
    facts = {name: told[name] for name in ("files", "bytes", "shapes", "examples")} | {"found": told["found"][:50]}
    if told["control"] is not True:
        return Judged("UNKNOWN", "The scan did not find the key that it finds for a trial.", facts)
    if told["files"] == 0:
        return Judged("UNKNOWN", "The scan looked at no file.", facts)
    if told["found"]:
        first = told["found"][0]
        return Judged(
            "FAIL", f"{first['file']}:{first['line']} holds what looks like a secret ({first['kind']}); {len(told['found'])} in all.", facts
        )
    return Judged(
        "PASS",
        f"No tracked file of {told['files']} holds a key or token of {len(told['shapes'])} known shapes; others are not looked for.",
        facts,
    )


SECRETS = Tool(
    "secrets",
    "No tracked file holds a private key or a token of a known shape. Shapes of its own, a dozen: weak, and blind for the history.",
    ("source", "toolkit"),
    timedelta(days=1),
    _commands,
    _judge,
)
