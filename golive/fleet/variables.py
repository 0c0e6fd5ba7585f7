"""What every play is told about its environment."""

from __future__ import annotations

from typing import Any

from golive.environment import Environment
from golive.gates.spec import parse_policy
from golive.onhost.build import build
from golive.releases.signing import trust

__all__ = ["variables"]


def variables(env: Environment) -> dict[str, Any]:
    """Variables that come from settings, from trust and from the toolkit itself. Raises BadInput for a policy that cannot be
    read, and what ``golive.releases.signing.trust`` raises.
    """
    trusted = trust(env)
    settings = env.settings
    looser = parse_policy(env.policy, f"policies/{env.name}.yaml").looser
    # An alert about latency keeps every gate from passing, so it asks no more than they do. Else the role's own limit stands: production's.
    latency = {"dwcp_monitoring_latency_p99_s": looser.latency_p99.value} if looser and looser.latency_p99 else {}
    return {
        **latency,
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
