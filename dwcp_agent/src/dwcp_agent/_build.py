"""What this build is. These are the values of the source tree; ``setup.py`` writes a release's own into the wheel."""

from __future__ import annotations

VERSION: str = "3.0.0"
PHASE4: bool = True
DEFECT: dict[str, float | bool] | None = None
