"""``dwcp put``, and puts to an agent that is killed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dwcp_agent.commands.http import parse_url, request
from dwcp_agent.commands.session import Session
from dwcp_agent.security.identity import Identity
from dwcp_agent.store.state import StateStore
from dwcp_agent.transport.puts import Puts
from dwcp_agent.transport.sender import Link
from fixtures import Done, Process, Program, context_of, free_ports, one_sentence, wait_for
from pki import Files

OPERATOR = Identity("operator", "operator")


@pytest.fixture
def running(
    local: Callable[..., tuple[Path, int]],
    tmp_path: Path,
    processes: list[Process],
) -> tuple[Path, int]:
    program, port = local()
    processes.append(Program(program, tmp_path / "log"))
    processes[-1].wait_for_event("ready")
    return program, port


def test_what_a_killed_agent_acknowledged_is_there_and_nothing_is_applied_twice(
    running: tuple[Path, int], tmp_path: Path, people: dict[str, Files], processes: list[Process]
) -> None:
    program, port = running
    session = Session(parse_url(f"https://127.0.0.1:{port}"), context_of(people["operator"]), "s-1")

    def connect() -> tuple[Link, str]:
        session.open()
        return session.link(), session.ticket()

    puts, total = Puts(connect, patience_s=30, most=16), 0
    for kill in range(3):
        before = puts.acknowledged
        for number in range(total, total + 1500):
            puts.put(f"{number % 997}", b"%d" % number)
        wait_for("puts", lambda before=before: puts.acknowledged > before)
        processes[-1].popen.kill()
        processes[-1].popen.wait()
        known = puts.acknowledged
        store = StateStore(tmp_path / "store", 1000, 1 << 20)
        for number in range(max(0, known - 997), known):
            found = store.get(OPERATOR, f"{number % 997}")
            assert found is not None and int(found.value) >= number, "an acknowledged put is gone"
        store.close()
        total += 1500
        processes.append(Program(program, tmp_path / f"log-{kill}"))
        processes[-1].wait_for_event("ready")
    puts.close()
    store = StateStore(tmp_path / "store", 1000, 1 << 20)
    for number in range(total - 997, total):
        found = store.get(OPERATOR, f"{number % 997}")
        assert found is not None and (int(found.value), found.version) == (number, number + 1)
    store.close()
    assert puts.broken_streams >= 3 and puts.acknowledged == total


def test_put_says_what_became_durable(
    dwcp: Callable[..., Done],
    running: tuple[Path, int],
    tmp_path: Path,
    people: dict[str, Files],
) -> None:
    arguments = ["put", f"https://127.0.0.1:{running[1]}", *people["operator"].as_arguments()]
    lines = [{"key": f"k{number}", "value": "x" * number} for number in range(500)]
    (tmp_path / "lines").write_text(
        "\n".join(map(json.dumps, [*lines, {"key": "b", "value_b64": "AP8="}, {"key": "j", "value": [1, {"a": None}]}]))
    )
    for disabled, batching in (("", "count-and-delay"), ("batch", "disabled")):
        done = dwcp(*arguments, "--from", str(tmp_path / "lines"), "--json", DWCP_DISABLE=disabled)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert (report["puts"], report["bytes"], report["batching"]) == (502, sum(range(500)) + 2 + 14, batching)
        assert 0 < report["latency_p50_ms"] <= report["latency_p99_ms"] and report["release"] == "dev"
        assert report["batches"] == 502 if disabled else report["batches"] < 502
    store = StateStore(tmp_path / "store", 1000, 1 << 20)
    found = [store.get(OPERATOR, key) for key in ("k499", "b", "j")]
    store.close()
    assert [value and value.value for value in found] == [b"x" * 499, b"\0\xff", b'[1,{"a":null}]']
    human = dwcp(*arguments, "--from", str(tmp_path / "lines"), "--rate", "5000")
    assert human.returncode == 0 and human.stdout.startswith("502 puts") and "durable at release dev" in human.stdout


def test_a_line_that_cannot_be_put_is_named_and_what_came_before_is_durable(
    dwcp: Callable[..., Done],
    running: tuple[Path, int],
    tmp_path: Path,
    people: dict[str, Files],
) -> None:
    for attempt, (line, says) in enumerate(
        (
            ("{", "not valid JSON"),
            ("[]", "not an object"),
            ('{"key": 1, "value": ""}', "not an object"),
            ('{"key": "k"}', "not an object"),
            ('{"key": "k", "value": "", "value_b64": ""}', "not an object"),
            ('{"key": "k", "value_b64": "?"}', "not Base64"),
            ('{"key": "k", "value": "\\ud800"}', "not Unicode"),
            ('{"key": "", "value": ""}', "A key has 1 to 512 bytes"),
            (json.dumps({"key": "k", "value": "x" * 65537}), "more than 65536"),
        )
    ):
        (tmp_path / "lines").write_text(f'{{"key": "one", "value": ""}}\n{{"key": "two", "value": "{attempt}"}}\n{line}\n')
        done = dwcp("put", f"https://127.0.0.1:{running[1]}", *people["operator"].as_arguments(), "--from", str(tmp_path / "lines"))
        assert done.returncode == 2 and one_sentence(done.stderr) and not done.stdout, done
        assert "Line 3: " in done.stderr and says in done.stderr and "the 2 puts before it are durable" in done.stderr
        store = StateStore(tmp_path / "store", 1000, 1 << 20)
        found = store.get(OPERATOR, "two")
        store.close()
        assert found is not None and found.value == b"%d" % attempt


def test_refusals_of_put(
    dwcp: Callable[..., Done],
    running: tuple[Path, int],
    tmp_path: Path,
    people: dict[str, Files],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines, tls, port = tmp_path / "lines", people["operator"].as_arguments(), running[1]
    lines.write_text('{"key": "one", "value": "1"}\n')
    here, nowhere = f"https://127.0.0.1:{port}", f"https://127.0.0.1:{free_ports(1)[0]}"
    for arguments, code in (
        ([here, "--from", str(tmp_path / "missing"), *tls], 2),
        ([here, "--from", str(tmp_path), *tls], 2),
        ([f"{here}/name", "--from", str(lines), *tls], 2),
        ([here, "--from", str(lines), *tls, "--rate", "0"], 2),
        ([here, "--from", str(lines), *tls, "--session", "a b"], 2),
        ([here, *tls], 2),
        ([nowhere, "--from", str(lines), *tls], 4),
        ([here, "--from", str(lines), *people["monitor"].as_arguments()], 4),
    ):
        done = dwcp("put", *arguments)
        assert done.returncode == code and one_sentence(done.stderr) and not done.stdout, (arguments, done)
    # An agent of before: its answer has no such member.
    real = Session.open

    def old(session: Session) -> None:
        real(session)
        del session.answer["state"]

    monkeypatch.setattr(Session, "open", old)
    done = dwcp("put", here, "--from", str(lines), *tls)
    assert done.returncode == 4 and one_sentence(done.stderr) and "takes no puts" in done.stderr
    assert not (tmp_path / "store/.state").exists()
    assert request(parse_url(here), context_of(people["operator"]), "GET", "/ready")["ready"] is True
