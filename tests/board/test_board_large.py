"""The page on a large fleet and a long journal: 300 hosts, 10 000 records, and how long it takes to show what changed.

Times are the browser's own (performance API). A first paint is the best of a few: what the page needs, not what else the machine did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from golive import environment
from tests.board.conftest import Watcher, boarding
from tests.support.board_world import START, BoardWorld
from tests.support.run_records import NEW, OLD

pytestmark = pytest.mark.timeout(300)

HOSTS = [f"host-{number:03d}" for number in range(300)]
RECORDS = 10_000


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BoardWorld, str]]:
    state = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOLIVE_STATE", str(state))
        world = BoardWorld(environment.load("lab"))
        world.start()
        world.stage("canary")
        world.shift("canary", 10, HOSTS[:20])
        world.many(RECORDS - 23, HOSTS)
        world.ready(FAIL="no proof", UNKNOWN="cannot be shown yet", STALE="too old", WAIVED="by somebody")
        world.say("step.intent", {"uses": "gate.metrics", "attempt": 1}, "canary", "watch-10")
        with boarding(state, "lab") as url:
            yield world, url
        world.close()


def test_the_first_paint_comes_within_300_ms(large: tuple[BoardWorld, str], look: Callable[..., Watcher]) -> None:
    _, url = large
    paints, pictures = [], []
    for _ in range(8):
        watcher = look(url)
        watcher.until("performance.getEntriesByName('first-contentful-paint').length > 0")
        paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
        paints.append(watcher.page.evaluate(paint))
        pictures.append(watcher.page.evaluate("performance.getEntriesByName('board:drawn')[0].startTime"))
        watcher.page.context.close()
        if min(paints) < 150 and min(pictures) < 300:
            break
    assert min(paints) < 300, f"first paints after {paints} ms"
    # And what is painted says something: the run, its stages, all hosts.
    assert min(pictures) < 600, f"pictures drawn after {pictures} ms"


def test_updates_of_300_hosts_and_10_000_records_take_less_than_100_ms(large: tuple[BoardWorld, str], look: Callable[..., Watcher]) -> None:
    world, url = large
    watcher = look(url)
    page = watcher.page
    watcher.until("performance.getEntriesByName('board:filled').length > 0")
    assert (
        page.inner_text("#journal-sum").startswith("10,000 ")
        and page.evaluate("document.querySelectorAll('#hosts tbody tr').length") == 300
    )
    slowest = []
    for batch in range(4):
        page.evaluate("performance.clearMeasures('board:update')")
        _thirty_updates(world, watcher, batch)
        took = watcher.measured("board:update")
        assert len(took) >= 30
        slowest.append(round(max(took)))
        # On a machine that does something else as well a frame may come late; in one batch of a few every single update is in time.
        if slowest[-1] < 100:
            break
    assert page.evaluate("document.querySelectorAll('#rows tbody tr').length") < 60
    assert min(slowest) < 100, f"the slowest update of each batch took {slowest} ms"


def _thirty_updates(world: BoardWorld, watcher: Watcher, batch: int) -> None:
    """Each waited for until it is on the page; among them some that touch every host at once."""
    for number in range(30):
        world.look("watch-10", START + 100 * batch, START + 100 * batch + 0.9 * number)
        if number % 10 == 0:
            world.step("canary", "shift-10", "release.activate", data={"hosts": {name: {"id": (NEW, OLD)[batch % 2]} for name in HOSTS}})
        elif number % 10 == 5:
            told = {"wave": number, "of": 30, "site": "s0", "hosts": HOSTS, "what": f"wave {number} of batch {batch} is played"}
            world.say("wave.started", told)
        else:
            world.shift("canary", number, HOSTS[:20])
        newest = "seq => document.querySelector('#rows tbody button')?.textContent === String(seq)"
        watcher.until(newest, world.journal.head().seq)


def test_ten_thousand_lines_are_filtered_and_scrolled_without_being_in_the_page(
    large: tuple[BoardWorld, str], look: Callable[..., Watcher]
) -> None:
    world, url = large
    watcher = look(url)
    page = watcher.page
    watcher.until("performance.getEntriesByName('board:filled').length > 0")
    page.fill("#find", "note 5000")
    watcher.until("document.querySelector('#journal-sum').textContent.startsWith('1 of 10,')")
    assert "note 5000" in page.inner_text("#rows tbody")
    page.fill("#find", "#3")
    watcher.until("document.querySelector('#rows tbody button').textContent === '3'")
    page.fill("#find", "")
    page.evaluate("const log = document.querySelector('#log'); log.scrollTop = log.scrollHeight")
    watcher.until("[...document.querySelectorAll('#rows tbody button')].at(-1).textContent === '1'")
    assert page.evaluate("document.querySelectorAll('#rows tbody tr').length") < 60
    assert max(watcher.measured("board:filter")) < 100
    # Whoever reads old lines is not moved by new ones.
    page.evaluate("document.querySelector('#log').scrollTop = 30000")
    watcher.until("performance.now() > 0 && Number(document.querySelector('#rows tbody button').textContent) < 9500")
    first = page.evaluate("document.querySelector('#rows tbody button').textContent")
    world.say("note", {"n": "while somebody reads"})
    seq = world.journal.head().seq
    watcher.until("seq => document.querySelector('#journal-sum').textContent.startsWith(seq.toLocaleString('en'))", seq)
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.evaluate("document.querySelector('#rows tbody button').textContent") == first


def test_a_page_that_lost_the_board_catches_up_by_number_when_it_is_back(
    tmp_path: Path, look: Callable[..., Watcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOLIVE_STATE", str(tmp_path))
    world = BoardWorld(environment.load("lab"))
    world.start()
    world.many(500)
    with boarding(tmp_path, "lab") as url:
        watcher = look(url)
        page = watcher.page
        watcher.until("performance.getEntriesByName('board:filled').length > 0")
        port = url.rstrip("/").rpartition(":")[2]
    watcher.until("document.querySelector('#line').textContent.includes('no connection')")
    for number in range(400):
        world.tell("note", {})
        if number % 40 == 0:
            world.say("note", {"n": number})
    with boarding(tmp_path, "lab", port=port):
        watcher.until("document.querySelector('#line').textContent === 'live'")
        watcher.until("document.querySelector('#journal-sum').textContent.startsWith('511 records')")
        numbers = page.evaluate("[...document.querySelectorAll('#rows tbody button')].map(n => Number(n.textContent))")
        assert numbers == list(range(511, 511 - len(numbers), -1))
        watcher.complaints.clear()  # the lost connection is said in the browser's console, too
        page.close()
    world.close()
