"""Where things stand on a host. Everything hangs off one root, so that tests can use a directory of their own."""

from __future__ import annotations

from pathlib import Path

__all__ = ["Places"]


class Places:
    """The paths of docs/architecture.md ("A host")."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def lock(self) -> Path:
        return self.root / "run/dwcp-host.lock"

    @property
    def state(self) -> Path:
        return self.root / "var/lib/dwcp/host"

    @property
    def fence(self) -> Path:
        return self.state / "fence.json"

    @property
    def effects(self) -> Path:
        return self.state / "effects.jsonl"

    @property
    def anchors(self) -> Path:
        return self.state / "anchors.jsonl"

    @property
    def journal_keys(self) -> Path:
        return self.state / "journal-keys.json"

    @property
    def plays(self) -> Path:
        """One file a playbook: how far which of its runs came on this host."""
        return self.state / "plays"

    @property
    def gateway(self) -> Path:
        return self.root / "var/lib/dwcp/gateway"

    @property
    def etc(self) -> Path:
        return self.root / "etc/dwcp"

    @property
    def tls(self) -> Path:
        return self.etc / "tls"

    @property
    def allowed_signers(self) -> Path:
        return self.etc / "allowed_signers"

    @property
    def signature_namespace(self) -> Path:
        return self.etc / "signature_namespace"

    def releases(self, kind: str) -> Path:
        """Directory of installed releases of a kind, ``agent`` or ``load``."""
        return self.root / ("opt/dwcp/releases" if kind == "agent" else "opt/dwcp/load")

    def slot_file(self, release: str) -> Path:
        """Environment file of one agent unit: says its slot."""
        return self.etc / "agent" / f"{release}.env"
