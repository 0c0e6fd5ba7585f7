"""A site's cache: gives a bundle to hosts of the fleet and to nobody else, and what it gives wrong is never installed."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from golive import environment
from golive.fleet import pki
from golive.fleet.caches import cache_of
from golive.fleet.model import Fleet, Host
from golive.onhost.cache import fetch, server
from golive.onhost.failures import Refused
from golive.onhost.places import Places

CONTENT = b"a bundle " * 200_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    lab = environment.load("lab")
    hosts = [
        Host(name="localhost", site="s", address="127.0.0.1", role="agent", host_key="k"),
        Host(name="ops", site="s", address="127.0.0.2", role="ops", host_key="k"),
    ]
    pki.ensure(lab, Fleet(env="lab", hosts=tuple(hosts)), {"localhost": ["127.0.0.1"]})
    return lab.state / "pki"


def host(root: Path, certificates: Path, name: str, given: str) -> Places:
    """A host's directory, with the certificate ``given`` as its agent's."""
    places = Places(root / name)
    places.tls.mkdir(parents=True)
    (places.tls / "ca.crt").write_bytes((certificates / "ca.crt").read_bytes())
    for end in ("crt", "key"):
        (places.tls / f"agent.{end}").write_bytes((certificates / f"{given}.{end}").read_bytes())
    return places


@pytest.fixture
def cache(tmp_path: Path, certificates: Path) -> Iterator[tuple[str, Path]]:
    directory = tmp_path / "kept"
    directory.mkdir()
    (directory / f"{DIGEST}.tar").write_bytes(CONTENT)
    serving = server(host(tmp_path, certificates, "cache", "localhost/agent"), "0.0.0.0", 0, directory)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"localhost:{serving.server_address[1]}", directory
    serving.shutdown()
    serving.server_close()


def test_a_host_fetches_the_bundle_by_its_digest(tmp_path: Path, certificates: Path, cache: tuple[str, Path]) -> None:
    me = host(tmp_path, certificates, "me", "localhost/agent")
    fetch(me, cache[0], DIGEST, tmp_path / "b.tar")
    assert (tmp_path / "b.tar").read_bytes() == CONTENT


@pytest.mark.parametrize("wrong", [CONTENT[:-1] + b"x", CONTENT + b"x", CONTENT[: 1 << 20], b""])
def test_anything_else_than_that_bundle_is_refused_and_not_left(
    tmp_path: Path, certificates: Path, cache: tuple[str, Path], wrong: bytes
) -> None:
    (cache[1] / f"{DIGEST}.tar").write_bytes(wrong)
    me = host(tmp_path, certificates, "me", "localhost/agent")
    with pytest.raises(Refused, match="is not the bundle that the controller named; nothing was installed"):
        fetch(me, cache[0], DIGEST, tmp_path / "b.tar")
    assert [path for path in tmp_path.iterdir() if path.name.startswith("b.tar")] == []


def test_who_is_no_host_of_the_fleet_gets_nothing(tmp_path: Path, certificates: Path, cache: tuple[str, Path]) -> None:
    with pytest.raises(Refused, match="403 only hosts of the fleet"):
        fetch(host(tmp_path, certificates, "operator", "operator"), cache[0], DIGEST, tmp_path / "b.tar")
    with pytest.raises(Refused, match="404 no such bundle"):
        fetch(host(tmp_path, certificates, "me", "localhost/agent"), cache[0], "0" * 64, tmp_path / "b.tar")


def test_a_cache_that_is_another_host_is_refused(tmp_path: Path, certificates: Path, cache: tuple[str, Path]) -> None:
    """By address 127.0.0.1 it may be; 127.0.0.2 is no name of its certificate."""
    port = int(cache[0].rpartition(":")[2])
    me = host(tmp_path, certificates, "me", "localhost/agent")
    with pytest.raises(Refused, match=r"cache 127\.0\.0\.2:\d+: .*IP address mismatch"):
        fetch(me, f"127.0.0.2:{port}", DIGEST, tmp_path / "b.tar")


def test_a_client_that_never_finishes_its_handshake_holds_up_nobody(tmp_path: Path, certificates: Path, cache: tuple[str, Path]) -> None:
    port = int(cache[0].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)):
        began = time.monotonic()
        fetch(host(tmp_path, certificates, "me", "localhost/agent"), cache[0], DIGEST, tmp_path / "b.tar")
        assert time.monotonic() - began < 10


def test_a_site_s_cache_is_the_one_marked_else_its_gateway_else_its_first() -> None:
    one, two, three = (Host(name=name, site="s", address="1", role="agent", host_key="k") for name in ("a", "b", "c"))
    assert cache_of([three, two, one], "s").name == "a"
    gateway = two.model_copy(update={"gateway": True})
    assert cache_of([three, gateway, one], "s").name == "b"
    assert cache_of([three.model_copy(update={"cache": True}), gateway, one], "s").name == "c"
