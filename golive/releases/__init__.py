"""Releases: built from pinned sources, listed in a manifest, signed, verified to the byte, bundled for the hosts."""

from __future__ import annotations

from golive.releases.build import build
from golive.releases.freeze import freeze
from golive.releases.model import Manifest, Release
from golive.releases.store import bundle, find, find_id, newest, verified
from golive.releases.verify import verify, verify_for

__all__ = ["Manifest", "Release", "build", "bundle", "find", "find_id", "freeze", "newest", "verified", "verify", "verify_for"]
