"""Samples in, verdict out.

``spec`` what a runbook's gate says · ``judge`` the verdict on a ``window`` · ``collect`` gathers windows through the ports of ``metrics``,
whose adapters are in ``adapters`` · ``binomial``, ``sequential``, ``shift`` the statistics · ``simulate`` how good they are.

Names are imported when first used: reading a runbook must not wait for numerics.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from golive.gates.adapters import LoadClient, Prometheus, operator_tls
    from golive.gates.collect import Collector
    from golive.gates.judge import Judge
    from golive.gates.lines import Decision, Line, Look
    from golive.gates.metrics import FakeMetrics, FakeRequests, Metrics, Requests
    from golive.gates.samples import CANDIDATE, INCUMBENT, NOBODY, OTHER, Samples
    from golive.gates.spec import GatePolicy, GateSpec, Threshold, parse_policy, parse_spec
    from golive.gates.verdict import Verdict
    from golive.gates.window import NoData, Reason, Window

__all__ = [
    "CANDIDATE",
    "INCUMBENT",
    "NOBODY",
    "OTHER",
    "Collector",
    "Decision",
    "FakeMetrics",
    "FakeRequests",
    "GatePolicy",
    "GateSpec",
    "Judge",
    "Line",
    "LoadClient",
    "Look",
    "Metrics",
    "NoData",
    "Prometheus",
    "Reason",
    "Requests",
    "Samples",
    "Threshold",
    "Verdict",
    "Window",
    "operator_tls",
    "parse_policy",
    "parse_spec",
]

_HOME = {
    "adapters": ("LoadClient", "Prometheus", "operator_tls"),
    "collect": ("Collector",),
    "judge": ("Judge",),
    "lines": ("Decision", "Line", "Look"),
    "metrics": ("FakeMetrics", "FakeRequests", "Metrics", "Requests"),
    "samples": ("CANDIDATE", "INCUMBENT", "NOBODY", "OTHER", "Samples"),
    "spec": ("GatePolicy", "GateSpec", "Threshold", "parse_policy", "parse_spec"),
    "verdict": ("Verdict",),
    "window": ("NoData", "Reason", "Window"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
