"""The controller itself, packed for a site without registries."""

from golive.airgap.bundle import Bundled, bundle

__all__ = ["Bundled", "bundle"]
