"""Every port of ours speaks TLS 1.3 to holders of a certificate of this environment, and to no one else."""

from __future__ import annotations

import socket
import ssl

import pytest

from tests.verify.conftest import CONTROL, DATA


def connect(address, port, want, *, version=ssl.TLSVersion.TLSv1_3, certificate=True, says=b"GET / HTTP/1.0\r\n\r\n", patience_s=5):
    """Handshakes and reads: a server that wants a certificate says so only after a TLS 1.3 handshake."""
    pki = want.env.state / "pki"
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.check_hostname = False
    context.minimum_version = context.maximum_version = version
    if certificate:
        context.load_cert_chain(pki / "operator.crt", pki / "operator.key")
    with socket.create_connection((address, port), timeout=5) as raw, context.wrap_socket(raw) as tls:
        tls.settimeout(patience_s)
        tls.sendall(says)
        if not tls.recv(1):
            raise ConnectionResetError("closed without an answer")
        return tls.version()


def refused(address, port, want, **how):
    # A closed port would be "refused" too: the good connection right before shows that the port is open.
    with pytest.raises((ssl.SSLError, ConnectionResetError, BrokenPipeError)):
        connect(address, port, want, **how)


def check(host, port, want):
    assert connect(host.address, port, want) == "TLSv1.3"
    refused(host.address, port, want, version=ssl.TLSVersion.TLSv1_2)
    refused(host.address, port, want, certificate=False)


def test_agent_control_port(agent, want):
    check(agent, CONTROL[want.slot], want)


def test_agent_data_port(agent, want):
    port = DATA[want.slot]
    # Who shows a certificate is waited for; who shows none is closed on right after the handshake.
    with pytest.raises(TimeoutError):
        connect(agent.address, port, want, says=b"", patience_s=1)
    refused(agent.address, port, want, says=b"", version=ssl.TLSVersion.TLSv1_2)
    refused(agent.address, port, want, says=b"", certificate=False)


def test_gateway_port(gateway, want):
    check(gateway, 7443, want)


def test_gateway_metrics_port(gateway, want):
    check(gateway, 7480, want)


def test_load_port(loader, want):
    check(loader, 7450, want)


def test_node_exporter_port(anyhost, want):
    check(anyhost, 9100, want)


@pytest.mark.parametrize("port", [9090, 9093])
def test_monitoring_port(ops, want, port):
    check(ops, port, want)
