"""The cuts that rounds make, in a network namespace of the test's own: the kernel takes them, and they are found and lifted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from golive.chaos.lab_faults import _ALL, _CONTROLLER, _ROUTER
from golive.chaos.lab_mending import TABLE, rules_gone

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a network namespace")

NET = "192.0.2.0/24"


@pytest.fixture
def inside() -> Iterator[list[str]]:
    """A namespace with loopback, and another address of it."""
    name = f"chaos-test-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        words = ["ip", "netns", "exec", name]
        subprocess.run([*words, "ip", "link", "set", "lo", "up"], check=True)
        subprocess.run([*words, "ip", "link", "add", "there", "type", "veth", "peer", "name", "other"], check=True)
        subprocess.run([*words, "ip", "address", "add", "192.0.2.1/24", "dev", "there"], check=True)
        for end in ("there", "other"):
            subprocess.run([*words, "ip", "link", "set", end, "up"], check=True)
        yield words
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def sent(inside: list[str], address: str) -> bool:
    """Whether the kernel lets a packet to ``address`` leave."""
    program = "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', (sys.argv[1], 9))"
    return subprocess.run([*inside, "python3", "-c", program, address], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(("table", "cuts"), [(_ALL, True), (_CONTROLLER, True), (_ROUTER, False)])
def test_a_cut_is_taken_by_the_kernel_found_again_and_lifted(inside: list[str], table: str, cuts: bool) -> None:
    assert not rules_gone(inside)
    assert sent(inside, "192.0.2.9")
    rules = table.format(table=TABLE, net=NET)
    subprocess.run([*inside, "nft", "-f", "-"], input=rules, text=True, check=True)
    assert sent(inside, "192.0.2.9") is not cuts  # a router's cut drops what it forwards, not what it sends itself
    assert sent(inside, "127.0.0.1")
    assert rules_gone(inside)
    assert sent(inside, "192.0.2.9")
    assert not rules_gone(inside)
