"""``dwcp`` as it is run: commands, exit codes, one sentence for bad input, the drain after SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dwcp_agent.commands.http import parse_url, request
from dwcp_agent.config import AgentConfig, ports_of
from dwcp_agent.encoding.manifest import manifest_of
from dwcp_agent.transport.frame import MAX_CHUNK, MIN_CHUNK, Kind, control, encode, parse_control
from dwcp_agent.transport.sender import Link
from dwcp_agent.transport.source import BytesSource
from fixtures import Done, Process, Program, agent_settings, context_of, free_ports, one_sentence, sha256, wait_for, write_yaml
from pki import Files

CHUNK = MIN_CHUNK


@pytest.fixture
def address() -> str:
    """A loopback address of this test's own, so that the fixed ports of the slots are free on it."""
    number = os.getpid()
    return f"127.{77 + number % 100}.{number // 100 % 250}.{1 + number // 25000 % 250}"


@pytest.fixture
def config(tmp_path: Path, people: dict[str, Files], address: str) -> Path:
    return write_yaml(tmp_path / "agent.yaml", agent_settings(tmp_path / "store", people["agent"], listen=address, advertise="127.0.0.1"))


@pytest.fixture
def serve(tmp_path: Path, processes: list[Process]) -> Callable[..., Process]:
    def start(config: Path, **environment: str) -> Process:
        process = Process(["serve", "--config", str(config)], tmp_path / f"log-{len(processes)}", {"DWCP_SLOT": "a", **environment})
        processes.append(process)
        return process

    return start


def patched(config: Path, **changes: Any) -> Path:
    import yaml

    content = yaml.safe_load(config.read_text()) | changes
    return write_yaml(config.with_name("changed.yaml"), content)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "1: not valid YAML"),
        ("- a", "expected a mapping"),
        ("schema: 2", "schema"),
        ("schema: 1", "host: Field required"),
        (None, "No such file"),
    ],
)
def test_unusable_configuration_is_one_sentence(dwcp: Callable[..., Done], tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "agent.yaml"
    if text is not None:
        path.write_text(text)
    done = dwcp("serve", "--config", str(path))
    assert done.returncode == 2 and says in done.stderr and str(path) in done.stderr and one_sentence(done.stderr), done.stderr


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"listen": "somewhere"}, "listen: 'somewhere' is not an IP address"),
        ({"listen": "192.0.2.1"}, "Cannot listen on 192.0.2.1"),
        ({"cpus": {"net": "3-1"}}, "cpus.net: '3-1' is not a CPU list"),
        ({"features": {"disable": ["warp"]}}, "features.disable.0"),
        ({"limits": {"max_streams": 1}}, "streams must not exceed"),
        ({"streams": 0}, "streams: "),
        ({"surprise": 1}, "surprise: Extra inputs"),
        ({"store": "/nowhere/at/all"}, "store: /nowhere/at/all: No such file"),
        ({"tls": {"ca": "/nowhere", "cert": "/nowhere", "key": "/nowhere"}}, "tls.ca: there is no file /nowhere"),
    ],
)
def test_each_bad_value_is_one_sentence_that_names_it(dwcp: Callable[..., Done], config: Path, changes: dict[str, Any], says: str) -> None:
    done = dwcp("serve", "--config", str(patched(config, **changes)))
    assert done.returncode == 2 and says in done.stderr and one_sentence(done.stderr), done.stderr


def test_key_that_does_not_fit_is_one_sentence(dwcp: Callable[..., Done], config: Path, people: dict[str, Files]) -> None:
    tls = people["agent"].as_config() | {"key": str(people["load"].key)}
    done = dwcp("serve", "--config", str(patched(config, tls=tls)))
    assert done.returncode == 2 and "cannot be used as certificate and key" in done.stderr and one_sentence(done.stderr), done.stderr


@pytest.mark.parametrize("environment", [{"DWCP_SLOT": "c"}, {"DWCP_DISABLE": "everything"}])
def test_bad_environment_is_one_sentence(dwcp: Callable[..., Done], config: Path, environment: dict[str, str]) -> None:
    done = dwcp("serve", "--config", str(config), **environment)
    assert done.returncode == 2 and next(iter(environment)) in done.stderr and one_sentence(done.stderr), done.stderr


@pytest.mark.parametrize("port", [7400, 7401, 7402])
def test_taken_port_is_one_sentence_and_leaves_others_content(
    dwcp: Callable[..., Done], config: Path, address: str, tmp_path: Path, port: int
) -> None:
    partial = tmp_path / "store" / ".partial-a"
    partial.mkdir(parents=True)
    (partial / "of-the-one-that-runs").write_bytes(b"x")
    with socket.socket() as taken:
        taken.bind((address, port))
        taken.listen()
        done = dwcp("serve", "--config", str(config))
    assert done.returncode == 2 and f"Port {port} on {address} is taken" in done.stderr and done.stderr.count("\n") == 1
    assert (partial / "of-the-one-that-runs").exists()


def test_agent_names_the_release_it_runs_from_and_sends_notify(
    config: Path, serve: Callable[..., Process], tmp_path: Path, people: dict[str, Files], address: str
) -> None:
    import hashlib

    from dwcp_agent._build import VERSION

    manifest = json.dumps({"schema": 1, "name": "dwcp-agent", "version": VERSION}).encode()
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "manifest.json").write_bytes(manifest)
    digest = hashlib.sha256(manifest).hexdigest()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service_manager:
        service_manager.bind(str(tmp_path / "notify"))
        service_manager.settimeout(15)
        process = Process(
            ["serve", "--config", str(config), "--release-dir", str(tmp_path / "release")],
            tmp_path / "log",
            {"DWCP_SLOT": "b", "NOTIFY_SOCKET": str(tmp_path / "notify")},
        )
        try:
            assert service_manager.recv(100) == b"READY=1"
            # Ready means ready: no retries from here on.
            health = json.load(urllib.request.urlopen(f"http://{address}:{ports_of('b').health}/health", timeout=5))
            assert health["status"] == "ok"
            process.popen.send_signal(signal.SIGTERM)
            assert service_manager.recv(100) == b"STOPPING=1"
            assert process.popen.wait(10) == 0
        finally:
            process.end()
    assert process.events("ready")[0]["release"] == f"{VERSION.replace('+', '_')}-{digest[:12]}"


def test_manifest_of_another_release_is_refused(dwcp: Callable[..., Done], config: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"version": "1.0.0"}')
    done = dwcp("serve", "--config", str(config), "--release-dir", str(tmp_path))
    assert done.returncode == 2 and "1.0.0" in done.stderr and one_sentence(done.stderr)


def test_sigterm_lets_a_running_transfer_finish_and_takes_no_new_sessions(
    local: Callable[..., tuple[Path, int]], tmp_path: Path, people: dict[str, Files], processes: list[Process]
) -> None:
    program, port = local(limits={"drain_timeout_s": 20, "drain_grace_s": 0.0})
    process = Program(program, tmp_path / "log")
    processes.append(process)
    process.wait_for_event("ready")
    endpoint, context = parse_url(f"https://127.0.0.1:{port}"), context_of(people["load"])
    opened = request(endpoint, context, "POST", "/v1/sessions", {"X-DWCP-Session": "s-1"})
    link = Link("127.0.0.1", opened["data"]["port"], context)
    wire = link.take()
    content = os.urandom(2 * CHUNK)
    wire.write(control(Kind.HELLO, 7, {"ticket": opened["ticket"], "name": "x", "size": len(content), "chunk": CHUNK}))
    wire.write(encode(Kind.DATA, 7, content[:CHUNK], raw_length=CHUNK), content[:CHUNK])
    wait_for("the transfer", lambda: list((tmp_path / "store" / ".partial-a").iterdir()))

    process.popen.send_signal(signal.SIGTERM)
    process.wait_for_event("draining")
    from dwcp_agent.errors import Refused

    with pytest.raises(Refused) as caught:
        request(endpoint, context, "POST", "/v1/sessions", {"X-DWCP-Session": "s-2"})
    assert (caught.value.status, caught.value.code) == (503, "draining")
    with pytest.raises(Refused) as caught:
        request(endpoint, context, "GET", "/ready")
    assert caught.value.status == 503

    wire.write(encode(Kind.DATA, 7, content[CHUNK:], offset=CHUNK, raw_length=CHUNK), content[CHUNK:])
    wire.write(control(Kind.END, 7, {"sha256": sha256(content)}))
    assert parse_control(wire.answer().payload)["sha256"] == sha256(content)
    assert process.popen.wait(10) == 0
    assert (tmp_path / "store/load.load.host-2/x").read_bytes() == content
    assert process.events("stopped")[0]["cut"] == 0


def test_drain_ends_in_time_and_a_cut_transfer_leaves_nothing(
    local: Callable[..., tuple[Path, int]], tmp_path: Path, people: dict[str, Files], processes: list[Process]
) -> None:
    program, port = local(limits={"drain_timeout_s": 0.5, "drain_grace_s": 0.0})
    process = Program(program, tmp_path / "log")
    processes.append(process)
    process.wait_for_event("ready")
    context = context_of(people["load"])
    opened = request(parse_url(f"https://127.0.0.1:{port}"), context, "POST", "/v1/sessions", {"X-DWCP-Session": "s-1"})
    wire = Link("127.0.0.1", opened["data"]["port"], context).take()
    wire.write(control(Kind.HELLO, 7, {"ticket": opened["ticket"], "name": "x", "size": MAX_CHUNK, "chunk": CHUNK}))
    wait_for("the transfer", lambda: list((tmp_path / "store" / ".partial-a").iterdir()))
    process.popen.send_signal(signal.SIGTERM)
    assert process.popen.wait(10) == 0
    assert process.events("stopped")[0]["cut"] == 1
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []
    wire.close()


def test_killed_agent_clears_its_leftovers_when_it_starts_again(
    local: Callable[..., tuple[Path, int]], tmp_path: Path, processes: list[Process]
) -> None:
    program, _ = local()
    partial = tmp_path / "store" / ".partial-a"
    partial.mkdir(parents=True)
    (partial / "leftover").write_bytes(b"half")
    (tmp_path / "store" / ".partial-b").mkdir()
    (tmp_path / "store" / ".partial-b" / "of-the-other-slot").write_bytes(b"half")
    processes.append(Program(program, tmp_path / "log"))
    processes[-1].wait_for_event("ready")
    assert list(partial.iterdir()) == []
    assert (tmp_path / "store" / ".partial-b" / "of-the-other-slot").exists()


def test_send_and_status_work_and_say_what_was_verified(
    dwcp: Callable[..., Done], local: Callable[..., tuple[Path, int]], tmp_path: Path, people: dict[str, Files], processes: list[Process]
) -> None:
    program, port = local()
    processes.append(Program(program, tmp_path / "log"))
    processes[-1].wait_for_event("ready")
    content = b"disk image " * 300_000
    (tmp_path / "image").write_bytes(content)
    arguments = ["send", str(tmp_path / "image"), f"https://127.0.0.1:{port}/images/vm-1", *people["operator"].as_arguments()]
    done = dwcp(*arguments, "--json", "--streams", "3", "--session", "s-9")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    expected = manifest_of(BytesSource(content)).id
    assert (report["protocol"], report["id"], report["bytes"], report["session"]) == (2, expected, len(content), "s-9")
    assert report["verified"] is True and report["ratio"] > 50 and report["release"] == "dev" and report["baseline"] == "none"
    assert (tmp_path / "store/operator.operator/images/vm-1").read_bytes() == content
    human = dwcp(*arguments)
    assert human.returncode == 0 and f"id {expected} verified" in human.stdout and "nothing had to be sent" in human.stdout


def test_send_tells_only_the_changes_of_a_version_that_is_there(
    dwcp: Callable[..., Done], local: Callable[..., tuple[Path, int]], tmp_path: Path, people: dict[str, Files], processes: list[Process]
) -> None:
    program, port = local()
    processes.append(Program(program, tmp_path / "log"))
    processes[-1].wait_for_event("ready")
    old = os.urandom(3_000_000)
    new = old[:1_000_000] + b"changed" + old[1_000_007:]
    (tmp_path / "old").write_bytes(old)
    (tmp_path / "new").write_bytes(new)
    there = [f"https://127.0.0.1:{port}/images/vm-1", *people["operator"].as_arguments(), "--json"]
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}

    def sent(file: str, *more: str) -> dict[str, Any]:
        done = dwcp("send", str(tmp_path / file), *there, *more, **cache)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    assert sent("old")["sent_bytes"] == len(old)
    alone = sent("new")
    assert (alone["baseline"], alone["sent_bytes"]) == ("receiver", 4096)
    assert sent("old")["sent_bytes"] == 4096
    beside = sent("new", "--baseline", str(tmp_path / "old"))
    assert (beside["baseline"], beside["sent_bytes"]) == ("both sides", 4096) and beside["wire_bytes"] < 1000
    # A file that is not what the receiver has is no baseline, and does no harm.
    wrong = sent("old", "--baseline", str(tmp_path / "old"))
    assert (wrong["baseline"], wrong["sent_bytes"]) == ("receiver", 4096)
    assert (tmp_path / "store/operator.operator/images/vm-1").read_bytes() == old


def test_a_killed_receiver_and_a_killed_sender_go_on_where_they_were(
    local: Callable[..., tuple[Path, int]], tmp_path: Path, people: dict[str, Files], processes: list[Process]
) -> None:
    program, port = local()
    processes.append(Program(program, tmp_path / "log"))
    processes[-1].wait_for_event("ready")
    content = os.urandom(300 << 20)
    (tmp_path / "image").write_bytes(content)
    command = ["send", str(tmp_path / "image"), f"https://127.0.0.1:{port}/vm", *people["operator"].as_arguments(), "--json"]
    partial = tmp_path / "store" / ".partial-a"

    def arrived() -> int:
        return sum(path.stat().st_blocks * 512 for path in partial.glob("*.content")) >> 20

    sender = Process(command, tmp_path / "sender")
    processes.append(sender)
    wait_for("100 MiB", lambda: arrived() > 100)
    processes[0].popen.kill()
    processes[0].popen.wait()
    kept = arrived()
    sender.popen.kill()
    sender.popen.wait()
    processes.append(Program(program, tmp_path / "log-again"))
    processes[-1].wait_for_event("ready")
    again = Process(command, tmp_path / "again")
    processes.append(again)
    assert again.popen.wait(60) == 0, again.lines()
    report = json.loads(again.lines()[-1])
    assert (tmp_path / "store/operator.operator/vm").read_bytes() == content
    assert report["resumed_bytes"] >> 20 >= kept - 12  # what four streams had under way, and not a byte of what was noted
    assert report["sent_bytes"] == len(content) - report["resumed_bytes"]
    assert list(partial.iterdir()) == []


def test_a_sender_waits_for_a_receiver_that_was_killed_and_came_back(
    local: Callable[..., tuple[Path, int]], tmp_path: Path, people: dict[str, Files], processes: list[Process]
) -> None:
    program, port = local()
    processes.append(Program(program, tmp_path / "log"))
    processes[-1].wait_for_event("ready")
    content = os.urandom(300 << 20)
    (tmp_path / "image").write_bytes(content)
    command = ["send", str(tmp_path / "image"), f"https://127.0.0.1:{port}/vm", *people["operator"].as_arguments(), "--json"]
    sender = Process(command, tmp_path / "sender")
    processes.append(sender)
    partial = tmp_path / "store" / ".partial-a"
    wait_for("100 MiB", lambda: sum(path.stat().st_blocks * 512 for path in partial.glob("*.content")) > 100 << 20)
    processes[0].popen.kill()
    processes[0].popen.wait()
    processes.append(Program(program, tmp_path / "log-again"))
    assert sender.popen.wait(60) == 0, sender.lines()
    report = json.loads(sender.lines()[-1])
    assert (tmp_path / "store/operator.operator/vm").read_bytes() == content
    # Only what was under way went again: of four streams, a receiver's socket holds up to 6 MiB each and a sender's half a MiB.
    assert report["again_bytes"] < 32 << 20
    assert report["sent_bytes"] < len(content) + (32 << 20)


def test_status_and_refusals_of_send(
    dwcp: Callable[..., Done], local: Callable[..., tuple[Path, int]], tmp_path: Path, people: dict[str, Files], processes: list[Process]
) -> None:
    program, port = local()
    processes.append(Program(program, tmp_path / "log"))
    processes[-1].wait_for_event("ready")
    (tmp_path / "image").write_bytes(b"content")

    status = dwcp("status", f"https://127.0.0.1:{port}", *people["operator"].as_arguments(), "--json")
    answer = json.loads(status.stdout)
    assert status.returncode == 0 and answer["ready"]["ready"] is True and answer["status"]["host"] == "host-1"

    monitor = dwcp("send", str(tmp_path / "image"), f"https://127.0.0.1:{port}/x", *people["monitor"].as_arguments())
    assert monitor.returncode == 4 and "forbidden" in monitor.stderr and monitor.stderr.count("\n") == 1
    link = dwcp("send", str(tmp_path / "image"), f"https://127.0.0.1:{port}/../x", *people["operator"].as_arguments())
    assert link.returncode == 2 and one_sentence(link.stderr)


def test_commands_answer_bad_input_with_one_sentence(dwcp: Callable[..., Done], tmp_path: Path, people: dict[str, Files]) -> None:
    tls = people["operator"].as_arguments()
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    (port,) = free_ports(1)
    there = f"https://127.0.0.1:{port}/x"
    for arguments, code in (
        (["send", str(tmp_path / "missing"), there, *tls], 2),
        (["send", str(tmp_path), there, *tls], 4),
        (["send", str(tmp_path / "empty"), there, *tls], 2),
        (["send", "/dev/null", there, *tls], 2),
        (["send", str(tmp_path), there, *tls, "--sessions", "0"], 2),
        (["send", str(tmp_path), there, *tls, "--baseline", str(tmp_path / "f")], 2),
        (["send", str(tmp_path / "f"), "http://127.0.0.1:1/x", *tls], 2),
        (["send", str(tmp_path / "f"), "https://127.0.0.1:x/x", *tls], 2),
        (["send", str(tmp_path / "f"), there, *tls, "--streams", "0"], 2),
        (["send", str(tmp_path / "f"), there, *tls, "--session", "a b"], 2),
        (["send", str(tmp_path / "f"), there, *tls, "--limit", "fast"], 2),
        (["send", str(tmp_path / "f"), there, *tls, "--limit", "0mbit"], 2),
        (["send", str(tmp_path / "f"), there, *tls, "--baseline", str(tmp_path / "missing")], 2),
        (["send", str(tmp_path / "f"), there], 2),
        (["send", str(tmp_path / "f"), there, "--ca", "/nowhere", "--cert", "/nowhere", "--key", "/nowhere"], 2),
        (["send", str(tmp_path / "f"), there, *tls], 4),
        (["status", f"https://127.0.0.1:{port}", *tls], 4),
        (["recv"], 2),
        (["recv", "--verify", "x", "--config", str(tmp_path / "missing")], 2),
        (["recv", "--verify", "../x"], 2),
        (["recv", "--verify", "x", "--id", "abc"], 2),
        (["explain", "xyz"], 2),
        (["fly"], 2),
        ([], 2),
    ):
        done = dwcp(*arguments)
        assert done.returncode == code and one_sentence(done.stderr) and not done.stdout, (arguments, done)


def test_features_version_and_schema_are_machine_readable(dwcp: Callable[..., Done], config: Path) -> None:
    import yaml

    from dwcp_agent._build import VERSION

    report = json.loads(dwcp("features", DWCP_DISABLE="pool").stdout)
    assert report["pool"] == "disabled" and report["affinity"] == "per-thread" and report["kernels"]["crc32c"]["vector"] == "compiled-in"
    assert dwcp("version").stdout == VERSION + "\n"
    schema = json.loads(dwcp("schema", "agent").stdout)
    assert set(schema["required"]) == {"host", "site", "listen", "tls", "store"}
    assert set(schema["properties"]) >= set(yaml.safe_load(config.read_text()))
    assert "rate_per_s" in json.loads(dwcp("schema", "load").stdout)["required"]


def test_readme_names_every_key_and_its_example_is_valid(people: dict[str, Files]) -> None:
    import yaml

    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    example = yaml.safe_load(readme.split("```yaml\n")[1].split("```")[0])
    assert AgentConfig.model_validate(example).limits.drain_timeout_s == 30
    from dwcp_agent.config import LoadConfig

    for model in (AgentConfig, LoadConfig):
        for name, field in model.model_fields.items():
            assert f"`{field.alias or name}" in readme or f"{name}." in readme, name
            if hasattr(field.annotation, "model_fields"):
                for inner in field.annotation.model_fields:  # type: ignore[union-attr]
                    assert f"{name}.{inner}`" in readme, f"{name}.{inner}"
