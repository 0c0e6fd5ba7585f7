"""Simulated hosts: the real engine, actions, runbooks and ``dwcp-host`` over a directory for each host, in one process.

What a machine is besides its files (systemd, HAProxy, pip, a network, a clock) is replaced by the smallest fake that keeps its contract and
can fail: unreachable, hanging, slow, rebooted, replaced, full. Hosts are on disk: a controller that is killed finds them as they were.
"""

from golive.sim.hosts import SimHosts, hosts_of

__all__ = ["SimHosts", "hosts_of"]
