"""Transfers that share a link: who gets what of it, who is there, and that nothing but a share depends on it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dwcp_agent.prediction.competition import Contender, Share, share_of
from dwcp_agent.prediction.sample import Forecast
from dwcp_agent.transport import totals
from dwcp_agent.transport.ledger import LINE_BYTES, Ledger, lines
from dwcp_agent.transport.sharing import Sharing
from fixtures import Done, Host, one_sentence, wait_for
from paths import sample

MB = 1e6


def of(rate: float) -> Forecast:
    return Forecast(rate, rate, rate, "test", 10, True)


def one(name: str, *, rate: float = 0.0, weight: float = 1.0, wants: bool = True, command: str = "", **more: Any) -> Contender:
    return Contender(name, command or name, weight, rate, wants, **more)


def taken(own: Contender, *others: Contender, link: float = 20 * MB) -> tuple[float, float | None]:
    """Share and cap."""
    said = share_of(own, others, of(link), link)
    assert said is not None
    return said.bytes_per_s, said.cap_bytes_per_s


# -- who gets what ----------------------------------------------------------------------------------------------------------------


def test_alone_or_where_nobody_wants_more_nobody_is_held() -> None:
    assert share_of(one("a"), [], of(MB), MB) is None
    assert share_of(one("a", wants=False), [one("b", wants=False)], of(MB), MB) is None
    assert share_of(one("a"), [replace(one("b"), command="a")], of(MB), MB) is None


def test_shares_go_by_weight_and_the_heaviest_finds_what_the_link_carries() -> None:
    light, heavy = one("a", rate=5 * MB), one("b", weight=3, rate=15 * MB)
    assert taken(light, heavy) == (5 * MB, 5 * MB)
    share, cap = taken(heavy, light)
    assert share == 15 * MB and cap == pytest.approx(22 * MB - 5 * MB)


def test_a_forecast_of_half_the_link_halves_the_shares() -> None:
    light, heavy = one("a", rate=5 * MB), one("b", weight=3, rate=15 * MB)
    for carries in (20 * MB, 10 * MB):
        told = [share_of(own, [other], of(carries), 20 * MB) for own, other in ((light, heavy), (heavy, light))]
        assert [each.bytes_per_s for each in told if each is not None] == [carries / 4, carries * 3 / 4]
        assert told[0] is not None and told[0].cap_bytes_per_s == carries / 4
        assert told[0].why.endswith(f"{carries / MB:g} MB/s foreseen")


def test_the_finder_takes_what_the_other_does_not_use_of_its_share() -> None:
    assert taken(one("b", rate=18 * MB), one("a", rate=2 * MB))[1] == pytest.approx(22 * MB - 2.2 * MB)


def test_whatever_the_others_use_the_finder_may_fill_the_link() -> None:
    """Else what arrives, and with it what is foreseen, would only shrink."""
    for used in range(0, 21):
        cap = taken(one("b", rate=(20 - used) * MB), one("a", rate=used * MB))[1]
        assert cap is not None and cap + min(used, 10) * MB >= 20 * MB * (1 - 1e-9)


def test_who_does_not_want_more_is_left_a_little_more_than_it_has() -> None:
    assert taken(one("a", rate=5 * MB), one("idle", wants=False, rate=4 * MB)) == (15 * MB, None)
    assert taken(one("idle", wants=False, rate=4 * MB), one("a", rate=5 * MB)) == (10 * MB, 10 * MB)


def test_a_limit_of_its_own_leaves_the_rest_to_the_others() -> None:
    slow = one("slow", wants=False, rate=2 * MB, limit_bytes_per_s=2 * MB)
    assert taken(one("a"), slow) == (18 * MB, None)
    assert taken(slow, one("a"))[0] == 2 * MB


def test_transfers_of_one_command_share_what_it_gets() -> None:
    """A directory of four files has no four times the share of one file."""
    tree = [one(f"t{number}", command="tree", rate=2.5 * MB) for number in range(4)]
    assert taken(one("zz", rate=10 * MB), *tree)[0] == 10 * MB
    assert taken(tree[0], *tree[1:], one("zz", rate=10 * MB)) == (2.5 * MB, 2.5 * MB)


# -- who is there -----------------------------------------------------------------------------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from dwcp_agent.transport import totals
from dwcp_agent.transport.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
ledger.tell({"of": "another process"})
print("there", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def another(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is in the ledger of ``tmp_path`` until it ends."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"there\n"
    yield process
    process.kill()
    process.communicate()


def test_a_killed_process_is_gone_at_once_and_so_is_its_file(tmp_path: Path, another: subprocess.Popen[bytes]) -> None:
    own = Ledger(tmp_path)
    own.tell({})
    assert [told["of"] for told in own.others().values()] == ["another process"]
    another.send_signal(signal.SIGKILL)
    another.wait()
    assert own.others() == {}
    assert [path.name for path in tmp_path.iterdir()] == [own.name]
    own.close()
    assert list(tmp_path.iterdir()) == []


def test_who_says_nothing_new_lapses_and_comes_back_with_its_next_word(tmp_path: Path) -> None:
    now = [0.0]
    stopped, own = Ledger(tmp_path), Ledger(tmp_path, clock=lambda: now[0])
    stopped.tell({})
    for at, there in ((0.0, 1), (3.0, 1), (3.1, 0), (90.0, 0)):
        now[0] = at
        assert len(own.others()) == there, at
    stopped.tell({})
    assert len(own.others()) == 1


def test_what_is_no_line_is_passed_over_and_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name, content in (("list", b"[]"), ("text", b"\xff"), ("deep", b"[" * LINE_BYTES)):
        (tmp_path / name).write_bytes(content)
    held = [(tmp_path / name).open("rb") for name in ("list", "text", "deep")]
    for file in held:
        fcntl.flock(file, fcntl.LOCK_EX)
    own = Ledger(tmp_path)
    own.tell({})
    assert own.others() == {}
    for file in held:
        file.close()
    own.others()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != own.name) == ["directory", "fifo", "link"]


def test_a_file_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    own, other = Ledger(tmp_path), Ledger(tmp_path)
    own.tell({})
    for path in tmp_path.iterdir():
        path.unlink()
    assert other.others() == {}
    own.tell({"again": True})
    assert [told["again"] for told in other.others().values()] == [True]


def test_reading_does_not_remove_where_it_is_not_asked_to(tmp_path: Path) -> None:
    (tmp_path / "left").write_bytes(b"{}")
    assert lines(tmp_path, clean=False) == {} and (tmp_path / "left").exists()


# -- a transfer among others ------------------------------------------------------------------------------------------------------


def steps(sharing: Sharing, count: int = 1, *, rate: float = 10 * MB, wanting: int = 4, limit: float | None = None) -> Share | None:
    seen = replace(sample(delivered=rate), wanting_streams=wanting)
    said = None
    for _ in range(count):
        said = sharing.step(seen, limit, limit)
    return said


def test_two_commands_find_each_other_and_the_one_that_is_left_has_all(tmp_path: Path) -> None:
    a, b = (Sharing(tmp_path, lambda: "host", weight, command=f"{weight}") for weight in (1.0, 3.0))
    assert steps(a, rate=20 * MB) is None
    steps(b, 4, rate=15 * MB)
    for _ in range(8):
        said, other = steps(a, rate=5 * MB), steps(b, rate=15 * MB)
    assert said is not None and other is not None
    assert (said.bytes_per_s, said.cap_bytes_per_s) == (5 * MB, 5 * MB)
    assert "weight 1 of 4 of 2 commands, 20 MB/s foreseen to host" in said.why
    assert other.bytes_per_s == 15 * MB
    b.close()
    assert steps(a) is None


def test_other_destinations_and_other_networks_are_no_company(tmp_path: Path) -> None:
    here, there = (Sharing(tmp_path, lambda to=to: to, command=to) for to in ("one", "two"))  # type: ignore[misc]
    steps(here, 3)
    assert steps(there, 3) is None
    other = Ledger(tmp_path)
    line = {"place": "another boot", "to": "two", "command": "x", "weight": 1.0, "bytes_per_s": 1, "wants": True}
    other.tell(line | {"limit_bytes_per_s": None})
    assert steps(there) is None


def test_a_share_is_never_below_the_floor(tmp_path: Path) -> None:
    light, heavy = (Sharing(tmp_path, lambda: "host", weight, command=f"{weight}") for weight in (0.01, 100.0))
    steps(heavy, 3, rate=MB)
    said = steps(light, 3, rate=0.0)
    assert said is not None and said.bytes_per_s < 1000 and said.cap_bytes_per_s == 65_536


def test_a_limit_of_its_own_is_no_want(tmp_path: Path) -> None:
    limited, other = (Sharing(tmp_path, lambda: "host", command=name) for name in ("limited", "other"))
    steps(limited, 5, rate=2 * MB, limit=2 * MB)
    said = steps(other, 5, rate=18 * MB)
    assert said is not None and said.cap_bytes_per_s is None


@pytest.mark.parametrize(
    "nonsense", [{"weight": 0}, {"weight": "x"}, {"bytes_per_s": float("nan")}, {"limit_bytes_per_s": -1}, {"wants": 1}]
)
def test_another_that_says_what_cannot_be_counts_for_nothing(tmp_path: Path, nonsense: dict[str, Any]) -> None:
    own, other = Sharing(tmp_path, lambda: "host", command="own"), Ledger(tmp_path)
    steps(own)
    [line] = lines(tmp_path, clean=False).values()
    other.tell(line | {"command": "other"} | nonsense)
    said = steps(own)
    assert said is None or said.cap_bytes_per_s is None


@pytest.mark.parametrize("place", ["missing", "file", "no directory for files", "full"])
def test_a_ledger_that_cannot_be_used_costs_the_share_alone(
    tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    if place == "full":

        def no_room(*_: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "pwrite", no_room)
    directory = {"no directory for files": Path("/proc/self"), "full": tmp_path}.get(place, tmp_path / place)
    sharing = Sharing(directory, lambda: "host")
    assert steps(sharing, 5) is None
    assert caplog.text.count("sharing-failed") == 1
    sharing.close()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# -- the command ------------------------------------------------------------------------------------------------------------------


def test_a_weight_that_is_none_is_refused(dwcp: Callable[..., Done], host: Host, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    for wrong in ("0", "-1", "nan", "101", "heavy"):
        done = dwcp("send", str(tmp_path / "x"), *host.to("weight"), f"--weight={wrong}")
        assert done.returncode == 2 and f"'{wrong}' is no number from 0.01 to 100" in done.stderr and one_sentence(done.stderr)


def test_a_command_leaves_nothing_in_the_ledger_however_it_ends(dwcp: Callable[..., Done], host: Host, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "x").write_bytes(os.urandom(3_000_000))
    assert json.loads(dwcp("send", str(tmp_path / "x"), *host.to("weighed"), "--limit", "16mbit").stdout)["verified"] is True
    assert [path for path in (cache / "senders").iterdir() if path.name != totals.NAME] == []
    (tmp_path / "y").write_bytes(os.urandom(30_000_000))
    arguments = [sys.executable, "-m", "dwcp_agent", "send", str(tmp_path / "y"), *host.to("weighed"), "--limit", "16mbit"]
    interrupted = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    [told] = wait_for("it is there", lambda: lines(cache / "senders", clean=False)).values()
    assert told["to"] == "127.0.0.1" and told["weight"] == 1.0
    interrupted.kill()
    interrupted.wait()
    assert lines(cache / "senders", clean=True) == {}
    assert [path for path in (cache / "senders").iterdir() if path.name != totals.NAME] == []
