"""What steps can do: one action a file, registered by the name that runbooks use."""

from importlib import import_module
from pathlib import Path

from golive.actions.port import Action, Finding, Findings, Found, Outcome, StepContext, action, registered

__all__ = ["Action", "Finding", "Findings", "Found", "Outcome", "StepContext", "action", "load_all", "registered"]


def load_all() -> None:
    """Imports every action module of this package, so that each registers itself."""
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        if path.stem != "port":
            import_module(f"{__name__}.{path.stem}")
