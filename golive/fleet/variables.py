"""What every play is told about its environment."""

from __future__ import annotations

from typing import Any

from golive.environment import Environment
from golive.onhost.build import build
from golive.releases.signing import trust

__all__ = ["variables"]


def variables(env: Environment) -> dict[str, Any]:
    """Variables that come from settings, from trust and from the toolkit itself. Raises what ``golive.releases.signing.trust`` raises."""
    trusted = trust(env)
    settings = env.settings
    return {
        "dwcp_allowed_signers": str(trusted.allowed_signers.resolve()),
        "dwcp_signature_namespace": trusted.namespace,
        "dwcp_host_zipapp": str(build().resolve()),
        "dwcp_tls_lab": env.is_lab,
        "dwcp_agent_cpus": settings.agent_cpus,
        "dwcp_agent_memory_max": settings.agent_memory_max,
        "dwcp_agent_load_rate_per_s": settings.load_rate_per_s,
        # The lab's stages are seconds long: a watch has to see several scrapes, and no alert may outlive its cause by half a stage.
        "dwcp_monitoring_interval_s": 3 if env.is_lab else 5,
        "dwcp_monitoring_window_s": 30 if env.is_lab else 60,
    }
