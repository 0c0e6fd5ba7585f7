"""The board's application: what it shows of a journal, what it sends when that grows, and whom it lets read."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from golive import environment
from golive.environment import Environment
from golive.errors import BadInput
from golive.verbs.board import sources
from golive.views.board import Board, Doors, Feed, served, token_in
from golive.views.board import app as application
from tests.support.board_world import START, BoardWorld

TOKEN = "a-token-of-forty-characters-or-something"


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Environment:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    return environment.load("lab")


@pytest.fixture
def world(env: Environment) -> Iterator[BoardWorld]:
    made = BoardWorld(env)
    yield made
    made.close()


def _client(env: Environment, token: str | None = None, *, loopback: bool = True, names: tuple[str, ...] = ("localhost",)) -> TestClient:
    board = Board(Feed(sources(env)), Doors(token), loopback=loopback, names=names)
    return TestClient(board.app, base_url="http://127.0.0.1:8650", follow_redirects=False)


def _picture(env: Environment) -> dict[str, Any]:
    feed = Feed(sources(env))
    feed.refresh()
    return feed.whole()["sections"]


# ------------------------------------------------------------------ what it shows


def test_an_environment_without_a_journal_is_shown_as_that_and_nothing_is_made(env: Environment) -> None:
    found = _picture(env)
    assert found["journal"] == {**found["journal"], "there": False, "trouble": "", "total": 0}
    assert found["run"]["outcome"] == "none" and found["run"]["run"] is None and found["hosts"] == {}
    assert [row["status"] for row in found["stages"].values()] == ["ahead"] * len(found["stages"]) and found["stages"]
    assert not (env.state / "journal.db").exists()


def test_a_run_says_what_runs_and_what_is_next(world: BoardWorld, env: Environment) -> None:
    world.start()
    world.stage("canary")
    world.step("canary", "shift-10", "traffic.shift", reach="traffic")
    world.shift("canary", 10)
    world.say("step.intent", {"uses": "gate.metrics", "attempt": 1}, "canary", "watch-10")
    found = _picture(env)
    assert (found["run"]["stage"], found["run"]["step"], found["run"]["uses"]) == ("canary", "watch-10", "gate.metrics")
    assert found["run"]["next"]["stage"] == "half" and found["run"]["next"]["at"] == "T+1h15m"
    assert found["stages"]["canary"]["here"] and [step["verdict"] for step in found["stages"]["canary"]["steps"]] == ["PASS", None]
    assert found["traffic"]["ams-1"] == {"shares": {"3.0.0": 10, "2.9.0": 90}, "candidate": 10} and found["run"]["share"] == 10
    assert found["run"]["holder"] is not None and found["run"]["asks"] == []
    assert found["rollback"]["state"] == "open" and found["rollback"]["command"].startswith("./inv rollback --env lab")


def test_a_process_that_died_is_asked_for_and_never_shown_as_running_well(world: BoardWorld, env: Environment) -> None:
    world.start()
    world.stage("canary")
    world.lease.release()
    asks = _picture(env)["run"]["asks"]
    assert asks == [{"of": "operator", "what": "no process works on the run: `./inv golive --env lab` continues it"}]


def test_looks_are_drawn_in_their_watch_with_the_limits_that_decide_here(world: BoardWorld, env: Environment) -> None:
    world.start()
    world.stage("canary")
    world.say("step.intent", {"uses": "gate.metrics", "attempt": 1}, "canary", "watch-10")
    for seconds in (3, 6, 15):
        world.look("watch-10", START, START + seconds)
    found = _picture(env)
    assert found["latest"]["live"] and found["latest"]["left_s"] == 15 and found["latest"]["gate"] == "watch-10"
    assert [point["x"] for point in found["points"]] == [0.1, 0.2, 0.5]
    assert found["points"][-1]["c"] == [0.00105, 0.018, 63.2, 0.0034] and found["points"][-1]["i"][2] == 640.0
    assert found["watches"]["0"]["limits"]["error_rate"] == {"value": 0.01, "text": "< 1 % here, < 0.1 % in production"}
    world.gate("canary", "watch-10", START, START + 30)
    world.look("watch-50", START + 100, START + 115)
    found = _picture(env)
    assert [(row["gate"], row["verdict"]) for row in found["watches"].values()] == [("watch-10", "PASS"), ("watch-50", "")]
    assert [point["x"] for point in found["points"]] == [0.1, 0.2, 0.5, 1.0, 1.5]


def test_a_board_that_comes_late_draws_the_same_watches_as_one_that_looked_on(world: BoardWorld, env: Environment) -> None:
    early = Feed(sources(env))
    world.start()
    for number, gate in enumerate(("watch-10", "watch-50", "watch-100")):
        start = START + 100 * number
        for seconds in (3, 9, 21):
            world.look(gate, start, start + seconds)
            early.refresh()
        world.gate("canary", gate, start, start + 30)
        early.refresh()
    late = _picture(env)
    assert late["points"] == early.whole()["sections"]["points"] and len(late["points"]) == 12
    assert late["watches"] == early.whole()["sections"]["watches"]


def test_looks_of_another_run_are_not_this_ones(world: BoardWorld, env: Environment) -> None:
    world.start()
    world.look("watch-10", START, START + 3)
    world.say("run.finished", {"outcome": "aborted"})
    (env.state / "looks.jsonl").write_text((env.state / "looks.jsonl").read_text().replace("2030-01-02", "2029-01-02"))
    found = _picture(env)
    assert found["points"] == [] and not found["latest"].get("live")


def test_without_looks_it_says_so_and_shows_what_the_gate_decided(world: BoardWorld, env: Environment) -> None:
    world.start()
    world.gate("canary", "watch-10", START, START + 30)
    (env.state / "looks.jsonl").unlink()
    found = _picture(env)
    assert not found["latest"]["live"] and found["latest"]["verdict"] == "PASS" and len(found["points"]) == 1


def test_hosts_carry_what_the_journal_last_said_of_them(world: BoardWorld, env: Environment) -> None:
    from tests.support.run_records import NEW, OLD

    world.start()
    world.step("infrastructure", "incumbent-active", "release.activate", data={"hosts": {n: {"id": OLD} for n in ("ams-1", "nyc-1")}})
    world.step("deploy", "candidate-active", "release.activate", data={"hosts": {"ams-1": {"id": NEW}}})
    world.say("host.set-aside", {"host": "nyc-1", "state": "unreachable", "reason": "no answer", "by": "x"}, "deploy", "candidate-active")
    world.say("wave.started", {"wave": 1, "of": 2, "site": "ams", "hosts": ["ams-1"], "what": "logs are fetched"}, "deploy", "x")
    hosts = _picture(env)["hosts"]
    assert [one["version"] for one in hosts["ams-1"]["running"]] == ["2.9.0", "3.0.0"] and hosts["ams-1"]["state"] == "busy"
    assert hosts["nyc-1"]["state"] == "aside" and "no answer" in hosts["nyc-1"]["why"]
    world.say("wave.done", {"wave": 1, "of": 2, "site": "ams", "hosts": ["ams-1"], "failed": {"ams-1": "disk full"}}, "deploy", "x")
    assert _picture(env)["hosts"]["ams-1"]["why"] == "failed: disk full"
    world.step("sign-off", "incumbent-retired", "release.retire", data={})
    assert [one["version"] for one in _picture(env)["hosts"]["ams-1"]["running"]] == ["3.0.0"]


def test_an_open_approval_shows_the_command_and_its_answers(world: BoardWorld, env: Environment) -> None:
    world.start()
    world.stage("pre-deployment")
    asked = {
        "roles": ["release-manager", "technical-lead"],
        "count": 2,
        "expires": "2030-01-03T00:00:00+00:00",
        "nonce": "n1",
        "not_by": [],
    }
    world.say("approval.asked", asked, "pre-deployment", "go-technical")
    world.say(
        "approval.given", {"nonce": "n1", "person": "ann", "role": "technical-lead", "decision": "yes"}, "pre-deployment", "go-technical"
    )
    told = _picture(env)["approvals"]
    assert told["open"][0]["approve"] == "./inv approve --env lab" and told["open"][0]["answers"][0]["person"] == "ann"
    world.say("approval.asked", {**asked, "nonce": "n2"}, "sign-off", "signed-technical")
    assert [one["approve"] for one in _picture(env)["approvals"]["open"]] == [
        "./inv approve --env lab --stage pre-deployment",
        "./inv approve --env lab --stage sign-off",
    ]


def test_a_rollback_is_told_with_its_reason_its_stages_and_its_time(world: BoardWorld, env: Environment) -> None:
    world.start()
    world.shift("canary", 10)
    world.say("trigger", {"source": "step", "reason": "errors above the limit"}, "canary", "watch-10")
    world.say("rollback.started", {"reason": "errors above the limit", "category": "breach"})
    world.say("stage.started", {"owner": "technical-lead"}, "rollback:traffic-back")
    found = _picture(env)
    assert found["run"]["outcome"] == "rolling back" and found["rollback"]["state"] == "under way"
    assert found["rollback"]["stages"][0] == {"name": "traffic-back", "status": "running"} and found["rollback"]["command"] is None
    world.say("rollback.traffic-back", {"seconds": 2.25})
    world.say("rollback.finished", {"left": ["nyc-1 keeps a file"]})
    world.say("run.finished", {"outcome": "rolled-back", "reason": "errors"})
    told = _picture(env)["rollback"]
    assert (told["seconds_to_traffic_back"], told["left"], told["state"]) == (2.25, ["nyc-1 keeps a file"], "over")


def test_readiness_is_what_its_file_says_and_missing_is_not_go(world: BoardWorld, env: Environment) -> None:
    assert _picture(env)["readiness"] == {"there": False, "why": "Nothing was computed yet.", "decision": None}
    world.ready(FAIL="no proof", UNKNOWN="cannot be shown")
    found = _picture(env)
    assert found["readiness"]["decision"] == "NO-GO" and len(found["items"]) == 186
    assert found["readiness"]["counts"]["core"] == {"PASS": 22, "WAIVED": 0, "STALE": 0, "UNKNOWN": 1, "FAIL": 1}
    (env.state / "readiness.json").write_text('{"schema": 1, "decision": "GO"')
    found = _picture(env)
    assert not found["readiness"]["there"] and "cannot be read" in found["readiness"]["why"] and found["items"] == {}


# ------------------------------------------------------------------ a journal that is not as it was written


def test_a_file_that_is_no_journal_is_said_in_a_sentence_and_the_page_still_works(env: Environment) -> None:
    (env.state / "journal.db").write_bytes(b"no database at all, whatever its name says" * 100)
    with _client(env) as client:
        assert client.get("/").status_code == 200
        told = client.get("/picture").json()["sections"]["journal"]["trouble"]
    assert "cannot be used" in told and "journal.db" in told


def _edited(env: Environment, statement: str) -> None:
    with sqlite3.connect(env.state / "journal.db") as connection:
        for name in ("update", "delete"):
            connection.execute(f"DROP TRIGGER IF EXISTS records_keep_{name}")
        connection.execute(statement)


def test_an_edited_record_is_named_and_the_rest_is_shown(world: BoardWorld, env: Environment) -> None:
    world.start()
    world.stage("canary")
    world.shift("canary", 10)
    _edited(env, """UPDATE records SET data = '{"owner":"nobody"}' WHERE seq = 2""")
    found = _picture(env)
    assert found["journal"]["wrong"] == [next(line for line in found["journal"]["wrong"] if "record 2 " in line and "was edited" in line)]
    assert found["run"]["stage"] == "canary" and found["journal"]["total"] == 4


@pytest.mark.parametrize("data", ["not json", "[1, 2]", '{"weights": 7, "hosts": 5, "owner": {}}', '{"request": []}', "null"])
@pytest.mark.parametrize("kind", ["run.started", "gate", "step.outcome", "wave.started", "approval.given", "run.extended", "traffic.set"])
def test_a_record_that_holds_anything_at_all_keeps_nothing_else_from_being_read(
    world: BoardWorld, env: Environment, kind: str, data: str
) -> None:
    world.start()
    world.stage("canary")
    world.stage("half")
    with sqlite3.connect(env.state / "journal.db") as connection:
        connection.execute("DROP TRIGGER records_keep_update")
        connection.execute("UPDATE records SET kind = ?, data = ? WHERE seq = 2", (kind, data))
    feed = Feed(sources(env))
    feed.refresh()
    assert [line["seq"] for line in feed.lines] == [1, 2, 3] and feed.sections["journal"]["wrongs"] > 0
    assert feed.sections["run"]["stage"] == "half"
    json.dumps(feed.whole(), allow_nan=False)


def test_a_journal_that_was_cut_while_somebody_looked_is_called_that(world: BoardWorld, env: Environment) -> None:
    world.start()
    world.stage("canary")
    feed = Feed(sources(env))
    feed.refresh()
    _edited(env, "DELETE FROM records WHERE seq = 2")
    feed.refresh()
    said = " ".join(feed.sections["journal"]["wrong"])
    assert "is gone or is another one" in said and "was cut" in said


def test_a_journal_that_took_the_place_of_another_begins_anew(world: BoardWorld, env: Environment) -> None:
    world.start()
    world.stage("canary")
    feed = Feed(sources(env))
    feed.refresh()
    seen = feed.id
    world.close()
    for path in env.state.glob("journal*"):
        path.unlink()
    again = BoardWorld(env)
    again.start(candidate="3.1.0-dddddddddddd")
    feed.refresh()
    again.close()
    assert feed.sections["run"]["version"] == "3.1.0" and feed.sections["journal"]["total"] == 1 and not feed.sections["journal"]["wrongs"]
    assert feed.since(seen)[-1]["anew"]


# ------------------------------------------------------------------ what it sends


def _events(board: Board, count: int, *, last: str = "", after: Any = None) -> list[tuple[str, dict[str, Any]]]:
    """The first ``count`` changes of /events, as (id, data); ``after`` is called once the first is here."""

    async def read() -> list[tuple[str, dict[str, Any]]]:
        found: list[tuple[str, dict[str, Any]]] = []
        enough = asyncio.Event()
        headers = [(b"host", b"127.0.0.1")] + ([(b"last-event-id", last.encode())] if last else [])
        scope = {"type": "http", "method": "GET", "path": "/events", "raw_path": b"/events", "query_string": b"", "headers": headers}
        scope |= {"http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1), "root_path": ""}

        async def receive() -> dict[str, Any]:
            await enough.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            for part in message.get("body", b"").decode().split("\n\n"):
                match = re.fullmatch(r"id: (\S+)\nevent: change\ndata: (.*)", part, re.DOTALL)
                if match:
                    found.append((match[1], json.loads(match[2])))
                    if len(found) == 1 and after is not None:
                        await asyncio.to_thread(after)
            if len(found) >= count:
                enough.set()

        async with board._living(board.app):
            async with asyncio.timeout(20):
                await board.app(scope, receive, send)
        return found

    return asyncio.run(read())


def test_a_change_is_sent_as_what_differs_and_not_as_the_whole(world: BoardWorld, env: Environment) -> None:
    world.start()
    world.many(600, [f"host-{n}" for n in range(300)])
    board = Board(Feed(sources(env)), Doors(None), every_s=0.02)
    got = _events(board, 2, after=lambda: world.shift("canary", 10, ["ams-1"]))
    assert got[0][1]["whole"] and len(got[0][1]["lines"]) == 300
    change = got[1][1]
    assert [line["kind"] for line in change["lines"]] == ["traffic.set"]
    assert set(change["sections"]) <= {"journal", "run", "traffic", "rollback", "hosts", "stages"}
    assert list(change["sections"]["traffic"]["set"]) == ["ams-1"] and list(change["sections"]["hosts"]["set"]) == ["ams-1"]
    assert len(json.dumps(change)) < 4000 < len(json.dumps(got[0][1]))


def test_who_comes_back_gets_what_came_since_and_nothing_twice(world: BoardWorld, env: Environment) -> None:
    world.start()
    feed = Feed(sources(env))
    board = Board(feed, Doors(None), every_s=0.02)
    first = _events(board, 1)
    for number in range(5):
        world.say("note", {"n": number})
        feed.refresh()
    back = _events(Board(feed, Doors(None), every_s=0.02), 5, last=first[0][0])
    assert [line["seq"] for _, change in back for line in change["lines"]] == [2, 3, 4, 5, 6]
    assert not any(change.get("whole") for _, change in back)


def test_after_the_board_was_started_again_only_the_missing_lines_are_sent(world: BoardWorld, env: Environment) -> None:
    world.start()
    first = _events(Board(Feed(sources(env)), Doors(None), every_s=0.02), 1)
    world.say("note", {"n": 1})
    (_, change), *_ = _events(Board(Feed(sources(env)), Doors(None), every_s=0.02), 1, last=first[0][0])
    assert change["whole"] and not change["anew"] and [line["seq"] for line in change["lines"]] == [2]


@pytest.mark.parametrize("last", ["x", "-1", "a-b-c-d", "0-9999999999999999999999-x-1", "abc-99-feed-7", "ä"])
def test_an_id_that_is_none_of_this_journals_gets_everything_anew(world: BoardWorld, env: Environment, last: str) -> None:
    world.start()
    feed = Feed(sources(env))
    feed.refresh()
    (change,) = feed.since(last)
    assert change["whole"] and change["anew"] and len(change["lines"]) == 1


def test_older_lines_are_given_by_number(world: BoardWorld, env: Environment) -> None:
    world.start()
    world.many(1000)
    with _client(env) as client:
        whole = client.get("/picture").json()
        assert (whole["total"], len(whole["lines"]), whole["lines"][0]["seq"]) == (1001, 300, 702)
        older = client.get("/lines?before=702&most=500").json()
        assert [older[0]["seq"], older[-1]["seq"]] == [202, 701]
        assert client.get("/lines?before=-5&most=1").status_code == 400 and client.get("/lines?before=5&most=1000000").status_code == 400


# ------------------------------------------------------------------ whom it lets read


@pytest.mark.parametrize("path", ["/", "/picture", "/static/board.js", "/nothing", "/lines"])
def test_every_answer_carries_the_policy_that_lets_nothing_in_from_outside(env: Environment, path: str) -> None:
    with _client(env) as client:
        headers = client.get(path).headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy == {
        **{"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'", "img-src": "'self' data:"},
        **{"form-action": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'"},
    }
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"


def test_the_pages_hold_no_inline_script_or_style_and_name_no_other_place() -> None:
    static = Path(application.__file__).parent / "static"
    for page in static.glob("*.html"):
        text = page.read_text()
        assert not re.search(r"<script(?![^>]*\bsrc=)", text) and "<style" not in text and " style=" not in text
        assert not re.search(r"\son[a-z]+=", text)
    for path in static.glob("*.[hcj]*"):
        places = set(re.findall(r"https?://[^\s\"'`)]+", path.read_text()))
        assert places <= {"http://www.w3.org/2000/svg"}, f"{path.name} names {places}"
    for path in static.glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", path.read_text()), path.name


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8650", "127.0.0.1.evil.example", "10.0.0.7", "[2001:db8::1]:8650", ""])
def test_a_name_that_is_not_ours_is_refused_so_that_no_page_of_anothers_can_point_at_it(env: Environment, host: str) -> None:
    with _client(env) as client:
        for path in ("/", "/picture", "/events", "/static/board.js"):
            answer = client.get(path, headers={"host": host})
            assert answer.status_code == 421 and "sections" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:9000", "[::1]:8650", "127.0.0.1:1"])
def test_loopback_is_asked_by_any_port_since_a_tunnel_has_its_own(env: Environment, host: str) -> None:
    with _client(env) as client:
        assert client.get("/picture", headers={"host": host}).status_code == 200


def test_without_the_token_there_is_a_place_to_give_it_and_nothing_else(world: BoardWorld, env: Environment) -> None:
    world.start()
    with _client(env, TOKEN) as client:
        page = client.get("/")
        assert page.status_code == 401 and 'name="token"' in page.text
        for path in ("/picture", "/events", "/lines?before=1&most=1", "/static/board.js"):
            assert client.get(path).status_code == 401
        assert client.get("/picture", headers={"authorization": f"Bearer {TOKEN}x"}).status_code == 401
        assert client.get("/picture", headers={"cookie": "golive-board=guessed"}).status_code == 401
        assert client.get("/picture", headers={"authorization": f"Bearer {TOKEN}"}).json()["total"] == 1


def test_the_token_is_exchanged_once_for_a_cookie_that_scripts_cannot_read(env: Environment) -> None:
    with _client(env, TOKEN) as client:
        assert client.post("/enter", data={"token": "wrong"}).status_code == 401
        answer = client.post("/enter", data={"token": TOKEN})
        assert answer.status_code == 303 and answer.headers["location"] == "/"
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie and TOKEN not in cookie
        assert client.get("/picture").status_code == 200


def test_nothing_can_be_sent_to_it_but_the_token(env: Environment) -> None:
    with _client(env) as client:
        for path in ("/", "/picture", "/events", "/lines"):
            for method in ("POST", "PUT", "DELETE", "PATCH"):
                assert client.request(method, path).status_code == 405


def test_a_token_file_is_its_owners_and_long_enough(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with pytest.raises(BadInput, match="cannot be read"):
        token_in(path)
    path.write_text(TOKEN + "\n")
    path.chmod(0o644)
    with pytest.raises(BadInput, match="chmod 600"):
        token_in(path)
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert token_in(path) == TOKEN
    path.write_text("short")
    with pytest.raises(BadInput, match="at least 20"):
        token_in(path)


def test_an_address_that_others_reach_needs_a_token(env: Environment) -> None:
    with pytest.raises(BadInput, match="--token-file"):
        served(sources(env), host="0.0.0.0", port=0, token=None, ready=lambda url: None)


def test_a_port_that_is_taken_is_one_sentence(env: Environment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadInput, match=f"^Port {port} of 127.0.0.1 is taken by another process; choose another with --port"):
            served(sources(env), host="127.0.0.1", port=port, token=None, ready=lambda url: None)


# ------------------------------------------------------------------ it only reads


def test_looking_at_a_journal_changes_not_a_byte_of_it(world: BoardWorld, env: Environment) -> None:
    world.start()
    world.close()
    before = (env.state / "journal.db").read_bytes()
    with _client(env) as client:
        assert client.get("/picture").json()["total"] == 1
    assert (env.state / "journal.db").read_bytes() == before
    assert {path.name for path in env.state.iterdir()} <= {"journal.db", "journal.db-wal", "journal.db-shm", "journal.head", "looks.jsonl"}


def test_its_connection_to_the_journal_can_write_nothing(world: BoardWorld, env: Environment) -> None:
    import sqlalchemy as sa

    from golive.engine.store import Store, records
    from golive.errors import Held

    world.start()
    store = Store(env.journal, only_reads=True)
    with pytest.raises(Held, match="readonly"):
        store.write(lambda connection: connection.execute(sa.delete(records)))
    store.close()
