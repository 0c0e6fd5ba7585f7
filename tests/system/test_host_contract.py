"""A machine keeps the contract that simulated hosts keep (tests/unit): the same body over a container booted from the lab's image."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from golive import environment
from golive.fleet.model import Fleet, Host
from golive.fleet.ssh import Shell
from golive.lab import image, keys, podman
from golive.lab.provider.host import _banner
from golive.onhost.build import build
from tests.support.host_contract import HostContract, Subject

pytestmark = pytest.mark.timeout(300)

NAME, NETWORK, SUBNET, ADDRESS = "dwcp-sim-contract", "dwcp-sim-contract", "10.97.250.0/28", "10.97.250.5"


def must(*argv: str) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def gone() -> None:
    subprocess.run(["podman", "rm", "--force", "--time", "0", NAME], capture_output=True, check=False)
    subprocess.run(["podman", "network", "rm", "--force", NETWORK], capture_output=True, check=False)


def up() -> None:
    end = time.monotonic() + 120
    while not _banner(ADDRESS):
        assert time.monotonic() < end, "the container did not boot"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOLIVE_STATE", str(tmp_path_factory.mktemp("state")))
        env = environment.load("lab")
        directory = keys.ensure(env)
        host_key = keys.host_key(directory, NAME)
        (keys.host_directory(directory, NAME) / "routes").write_text("", encoding="utf-8")
        name = image.ensure(print)
        runtime = podman.bootable_runtime(name, image.cache_dir())
        gone()
        try:
            must("podman", "network", "create", "--internal", "--disable-dns", "--subnet", SUBNET, "--gateway", "10.97.250.1", NETWORK)
            must(
                *("podman", "run", "--detach", "--name", NAME, "--hostname", NAME, "--runtime", runtime),
                *(f"--network={NETWORK}:ip={ADDRESS}", "--no-hosts", "--dns", "none"),
                *("--volume", f"{keys.host_directory(directory, NAME)}:/etc/dwcp-lab:ro"),
                *podman.resource_limits(),
                *podman.privileges(),
                *(name, "/sbin/init"),
            )
            up()
            host = Host(name=NAME, site="x", address=ADDRESS, role="ops", host_key=host_key)
            with Shell(env, Fleet(env="lab", hosts=(host,))) as shell:
                install = ["sh", "-c", "cat > /usr/local/sbin/dwcp-host && chmod 755 /usr/local/sbin/dwcp-host && mkdir -p /etc/dwcp"]
                assert shell.run(host, install, input=build().read_bytes()).rc == 0

                @contextmanager
                def cut() -> Iterator[Host]:
                    yield host.model_copy(update={"name": f"{NAME}-cut", "ssh_port": 9})  # nothing listens there

                @contextmanager
                def hangs() -> Iterator[Host]:
                    with socket.create_server(("127.0.0.1", 0)) as server:
                        accepted: list[socket.socket] = []
                        threading.Thread(target=lambda: accepted.append(server.accept()[0]), daemon=True).start()
                        port = server.getsockname()[1]
                        yield host.model_copy(update={"name": f"{NAME}-hangs", "address": "127.0.0.1", "ssh_port": port})
                        for connection in accepted:
                            connection.close()

                def reboot() -> None:
                    must("podman", "restart", "--time", "10", NAME)
                    up()

                yield Subject(shell, host, cut, hangs, reboot)
        finally:
            gone()


class TestMachine(HostContract):
    """The contract, over SSH and systemd."""
