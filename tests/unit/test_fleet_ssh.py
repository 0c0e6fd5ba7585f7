"""Commands on hosts: pinned keys, no hanging, nothing sent twice, and a host that does not answer is never a result."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from golive import environment
from golive.errors import BadInput, Refused, Unprepared, Unreachable
from golive.fleet.connection import Completed, parse_host_key
from golive.fleet.model import Bastion, Fleet, Host
from golive.fleet.ssh import Shell
from golive.fleet.survey import survey
from tests.support.ssh_server import Manner, SshServer, new_key


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path / "state"))
    (tmp_path / "state" / "lab" / "keys").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def serve(state: Path) -> Iterator[Callable[..., SshServer]]:
    opened: list[SshServer] = []
    client = new_key(state / "state" / "lab" / "keys" / "operator")

    def make(manner: Manner = "serve") -> SshServer:
        directory = state / f"server{len(opened)}"
        directory.mkdir()
        opened.append(SshServer(directory, client, manner))
        return opened[-1]

    yield make
    for server in opened:
        server.close()


def host(server: SshServer, name: str = "h1", key: str | None = None) -> Host:
    return Host(name=name, site="s", address="127.0.0.1", role="agent", ssh_port=server.port, host_key=key or server.public)


def shell(*hosts: Host) -> Shell:
    ops = Host(name="ops", site="s", address="127.0.0.1", role="ops", host_key="ssh-ed25519 AAAA")
    return Shell(environment.load("lab"), Fleet(env="lab", hosts=(*hosts, ops)))


def test_exit_status_and_both_streams_come_back(serve: Callable[..., SshServer]) -> None:
    target = host(serve())
    with shell(target) as sut:
        done = sut.run(target, ["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.rc, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


def test_arguments_reach_the_command_as_they_are(serve: Callable[..., SshServer]) -> None:
    target = host(serve())
    nasty = ["a b", "$(id)", "`id`", "'; exit 9", "*", ""]
    with shell(target) as sut:
        assert sut.run(target, ["printf", "%s|", *nasty]).text == "".join(f"{word}|" for word in nasty)


def test_large_input_and_output_do_not_block_each_other(serve: Callable[..., SshServer]) -> None:
    target = host(serve())
    data = bytes(range(256)) * 16384
    with shell(target) as sut:
        done = sut.run(target, ["sh", "-c", "cat; head -c 300000 /dev/zero >&2"], input=data)
    assert done.stdout == data and len(done.stderr) == 300000


def test_connection_is_reused_and_remade_once_when_it_died(serve: Callable[..., SshServer]) -> None:
    server = serve()
    target = host(server)
    with shell(target) as sut:
        sut.run(target, ["true"])
        sut.run(target, ["true"])
        assert server.connections == 1
        server.drop()
        assert sut.run(target, ["echo", "again"]).text == "again\n"
    assert server.connections == 2
    assert [command for command in server.commands if "again" in command] == ["echo again"]


def test_a_command_that_was_sent_is_not_sent_again(serve: Callable[..., SshServer]) -> None:
    server = serve()
    target = host(server)
    with shell(target) as sut:
        sut.run(target, ["true"])
        cutter = threading.Thread(target=lambda: (_until(lambda: any("sleep" in c for c in server.commands)), server.drop()))
        cutter.start()
        with pytest.raises(Unreachable, match="not known"):
            sut.run(target, ["sleep", "20"], timeout_s=15)
        cutter.join()
    assert [command for command in server.commands if "sleep" in command] == ["sleep 20"]


@pytest.mark.parametrize("manner", ["silent", "trickle"])
def test_a_server_that_accepts_and_hangs_is_unreachable_in_time(serve: Callable[..., SshServer], manner: Manner) -> None:
    target = host(serve(manner))
    began = time.monotonic()
    with shell(target) as sut, pytest.raises(Unreachable, match=r"^h1: .*within 2 s"):
        sut.run(target, ["true"], timeout_s=2)
    assert time.monotonic() - began < 4


def test_a_command_that_never_answers_is_unreachable_in_time(serve: Callable[..., SshServer]) -> None:
    target = host(serve("mute-exec"))
    began = time.monotonic()
    with shell(target) as sut, pytest.raises(Unreachable, match="did not end within 2 s; whether it still runs is not known"):
        sut.run(target, ["true"], timeout_s=2)
    assert time.monotonic() - began < 4


def test_another_host_key_is_refused_and_nothing_sent(serve: Callable[..., SshServer], state: Path) -> None:
    server = serve()
    target = host(server, key=new_key(state / "other"))
    with shell(target) as sut, pytest.raises(Refused, match="another host key"):
        sut.run(target, ["true"])
    assert server.commands == []


def test_another_kind_of_host_key_is_refused(serve: Callable[..., SshServer]) -> None:
    import paramiko

    server = serve()
    key = paramiko.ECDSAKey.generate()
    target = host(server, key=f"{key.get_name()} {key.get_base64()}")
    with shell(target) as sut, pytest.raises((Refused, Unreachable)):
        sut.run(target, ["true"])
    assert server.commands == []


def test_a_key_the_host_does_not_take_is_refused(serve: Callable[..., SshServer], state: Path) -> None:
    server = serve()
    new_key(state / "state" / "lab" / "keys" / "operator")
    with shell(host(server)) as sut, pytest.raises(Refused, match="did not accept the key"):
        sut.run(host(server), ["true"])


def test_a_missing_operator_key_says_so(serve: Callable[..., SshServer], state: Path) -> None:
    target = host(serve())
    (state / "state" / "lab" / "keys" / "operator").unlink()
    with shell(target) as sut, pytest.raises(Unprepared, match="is missing"):
        sut.run(target, ["true"])


def test_each_keeps_answers_and_failures_apart(serve: Callable[..., SshServer]) -> None:
    good, mute = serve(), serve("silent")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    down = Host(name="down", site="s", address="127.0.0.1", role="agent", ssh_port=port, host_key=good.public)
    hosts = [host(good, "good"), host(mute, "mute"), down]
    with shell(*hosts) as sut:
        answers = sut.each(hosts, ["echo", "hi"], timeout_s=2)
    good = answers["good"]
    assert isinstance(good, Completed) and good.text == "hi\n"
    assert isinstance(answers["mute"], Unreachable) and isinstance(answers["down"], Unreachable)
    assert answers["down"].host == "down"


def test_each_takes_whatever_one_host_fails_with_for_that_hosts_answer(serve: Callable[..., SshServer]) -> None:
    server = serve()
    hosts = [host(server, "good"), host(server, "pinned-wrong", key="no key at all")]
    with shell(*hosts) as sut:
        answers = sut.each(hosts, ["echo", "hi"])
    assert answers["good"].text == "hi\n"  # type: ignore[union-attr]
    wrong = answers["pinned-wrong"]
    assert isinstance(wrong, BadInput) and wrong.host == "pinned-wrong" and wrong.message.startswith("pinned-wrong: 'no key at all'")


def test_paramikos_tracebacks_do_not_reach_stderr() -> None:
    script = "import logging; import golive.fleet.connection; logging.getLogger('paramiko.transport').error('Traceback')"
    done = subprocess.run([sys.executable, "-c", script], cwd=environment.ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_many_threads_share_one_connection(serve: Callable[..., SshServer]) -> None:
    server = serve()
    target = host(server)
    wrong: list[str] = []
    with shell(target) as sut:

        def ask(number: int) -> None:
            if sut.run(target, ["echo", str(number)]).text != f"{number}\n":
                wrong.append(str(number))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == [] and server.connections == 1


def test_a_survey_of_this_machine_finds_what_it_is(serve: Callable[..., SshServer], state: Path) -> None:
    import os

    server = serve()
    seen = survey("127.0.0.1", server.port, "root", server.public, state / "state" / "lab" / "keys" / "operator")
    assert seen.reachable and seen.reason == ""
    assert seen.kernel == os.uname().release and seen.cores == os.cpu_count()
    assert seen.numa_nodes and seen.cpu_features
    assert seen.fingerprint.startswith("SHA256:")


def test_a_survey_of_a_machine_that_hangs_is_a_fact(serve: Callable[..., SshServer], state: Path) -> None:
    server = serve("silent")
    seen = survey("127.0.0.1", server.port, "root", server.public, state / "state" / "lab" / "keys" / "operator", timeout_s=1)
    assert not seen.reachable and "within 1 s" in seen.reason and seen.kernel is None and seen.cores is None


@pytest.mark.parametrize("text", ["", "ssh-ed25519", "ssh-ed25519 !!!", "SHA256:abc def", "ssh-ed25519 AAAA"])
def test_what_is_no_host_key_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match="public host key"):
        parse_host_key(text)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def bastion(server: SshServer, key: str | None = None) -> Bastion:
    return Bastion(name="jump", address="127.0.0.1", ssh_user="hop", ssh_port=server.port, host_key=key or server.public)


def test_hosts_behind_a_bastion_share_its_one_connection(serve: Callable[..., SshServer]) -> None:
    jump, servers = serve(), [serve() for _ in range(4)]
    hosts = [host(server, f"h{n}").model_copy(update={"bastion": bastion(jump)}) for n, server in enumerate(servers)]
    with shell(*hosts) as sut:
        got = sut.each(hosts, ["echo", "in"])
        assert all(isinstance(done, Completed) and done.stdout == b"in\n" for done in got.values()), got
    assert jump.connections == 1 and len(jump.forwarded) == 4
    assert not jump.commands


def test_a_bastion_that_is_another_is_refused_by_name(serve: Callable[..., SshServer], tmp_path: Path) -> None:
    jump, server = serve(), serve()
    target = host(server).model_copy(update={"bastion": bastion(jump, new_key(tmp_path / "other"))})
    with shell(target) as sut, pytest.raises(Refused, match=r"h1: the bastion jump: .* another host key"):
        sut.run(target, ["true"])
    assert server.connections == 0


def test_a_bastions_trouble_is_not_the_hosts(serve: Callable[..., SshServer]) -> None:
    server = serve()
    hung = host(server).model_copy(update={"bastion": bastion(serve("silent"))})
    shut = host(server).model_copy(update={"bastion": bastion(serve("no-forwarding"))})
    gone = host(server).model_copy(update={"bastion": bastion(serve()), "ssh_port": 1})
    began = time.monotonic()
    with shell(hung) as sut, pytest.raises(Unreachable, match=r"the bastion jump: .* did not finish the SSH handshake within 1 s"):
        sut.run(hung, ["true"], timeout_s=1)
    with shell(shut) as sut, pytest.raises(Unreachable, match=r"the bastion jump cannot connect to 127\.0\.0\.1:\d+: .*rohibited"):
        sut.run(shut, ["true"], timeout_s=5)
    with shell(gone) as sut, pytest.raises(Unreachable, match=r"the bastion jump cannot connect to 127\.0\.0\.1:1"):
        sut.run(gone, ["true"], timeout_s=5)
    assert time.monotonic() - began < 12


def test_a_machine_behind_a_bastion_is_surveyed(serve: Callable[..., SshServer], state: Path) -> None:
    jump, server = serve(), serve()
    identity = state / "state" / "lab" / "keys" / "operator"
    seen = survey("127.0.0.1", server.port, "root", server.public, identity, bastion=bastion(jump))
    assert seen.reachable and seen.cores and jump.connections == 1
