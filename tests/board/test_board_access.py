"""Whoever reads the page: by eyes in the dark, on a phone, by keyboard, by a screen reader; and whoever should not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from golive import environment
from tests.board.conftest import PHONE, WIDE, Watcher, boarding
from tests.support.board_world import START, BoardWorld

pytestmark = pytest.mark.timeout(180)

_HOSTILE = "<img src=x onerror=window.hurt=1><script>window.hurt=1</script>"
_ASKED = {"roles": ["technical-lead"], "count": 1, "expires": "2030-01-03T00:00:00+00:00", "nonce": "n1", "not_by": []}


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A board with something in every corner of it, written by somebody who means no good."""
    state = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOLIVE_STATE", str(state))
        world = BoardWorld(environment.load("lab"))
        world.start()
        world.stage("infrastructure")
        hosts = {"ams-1": {"id": "2.9.0-bbbbbbbbbbbb"}, _HOSTILE: {"id": _HOSTILE}}
        world.step("infrastructure", "incumbent-active", "release.activate", data={"hosts": hosts}, summary=_HOSTILE)
        boxes = [{"box": _HOSTILE, "measured_s": 1, "predicted_s": 2, "budget_s": 300, "holds": True}]
        world.say("rollback-time", {"boxes": boxes, "total_s": 3, "limit_s": 1800, "holds": True}, "final-readiness", "rollback-in-time")
        world.say("approval.auto", {"count": 1, "policy": "lab", "roles": [_HOSTILE]}, "rehearsal", "drill-go")
        world.stage("canary", owner=_HOSTILE)
        world.shift("canary", 10, ["ams-1", _HOSTILE])
        world.gate("canary", "watch-10", START, START + 30, "INCONCLUSIVE")
        world.say("host.set-aside", {"host": "ams-1", "state": "failed", "reason": _HOSTILE, "by": "x"}, "canary", "watch-10")
        world.say("approval.asked", {**_ASKED, "roles": [_HOSTILE]}, "canary", "signed")
        world.say("run.paused", {"request": 1, "reason": _HOSTILE, "by": _HOSTILE, "at": "2030-01-02T12:00:00+00:00"})
        world.say("note", {"text": _HOSTILE})
        world.ready(FAIL=_HOSTILE, UNKNOWN="cannot be shown yet", STALE="too old", WAIVED="by somebody")
        with boarding(state, "lab") as url:
            yield url
        world.close()


def _opened(watcher: Watcher) -> None:
    watcher.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    watcher.page.click("#rows tbody button")


@pytest.mark.parametrize(
    ("dark", "size"), [(True, WIDE), (False, WIDE), (True, PHONE), (False, PHONE)], ids=["dark", "light", "phone", "phone-light"]
)
def test_axe_finds_nothing_serious(busy: str, look: Callable[..., Watcher], dark: bool, size: Any) -> None:
    watcher = look(busy, dark=dark, size=size)
    _opened(watcher)
    found = Axe().run(watcher.page)
    bad = [problem for problem in found.response["violations"] if problem["impact"] in ("serious", "critical")]
    assert bad == [], [(problem["id"], [node["html"][:200] for node in problem["nodes"]][:4]) for problem in bad]
    assert len(found.response["passes"]) > 20, "it looked at next to nothing"


def test_text_of_the_journal_is_text_wherever_it_is_shown(busy: str, look: Callable[..., Watcher]) -> None:
    watcher = look(busy)
    _opened(watcher)
    page = watcher.page
    for place in ("#stages", "#asks", "#hosts tbody", "#back-body", "#approvals-body", "#readiness-body", "#rows", "#gateways"):
        assert "<img src=x" in page.text_content(place), f"{place} does not show it"
    assert page.evaluate("window.hurt === undefined && document.querySelectorAll('main img, main script').length === 0")


def test_nothing_is_wider_than_a_phone(busy: str, look: Callable[..., Watcher]) -> None:
    watcher = look(busy, size=PHONE)
    _opened(watcher)
    assert watcher.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_the_keyboard_reaches_everything_that_can_be_used(busy: str, look: Callable[..., Watcher]) -> None:
    watcher = look(busy)
    _opened(watcher)
    page = watcher.page
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    wanted = page.evaluate(
        """() => { const all = [...document.querySelectorAll('a, button, input, select, summary, [tabindex="0"]')]
        .filter(one => one.checkVisibility()); all.forEach((one, n) => { one.dataset.n = n; }); return all.length; }"""
    )
    reached, visible = set(), True
    for _ in range(wanted + 40):
        page.keyboard.press("Tab")
        told = page.evaluate(
            "() => { const one = document.activeElement; const s = getComputedStyle(one);"
            " return [one.dataset.n ?? null, s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0]; }"
        )
        if told[0] is not None:
            reached.add(int(told[0]))
            visible = visible and told[1]
    assert wanted > 25 and reached == set(range(wanted)) and visible


def test_the_page_can_be_used_by_keyboard_alone(busy: str, look: Callable[..., Watcher]) -> None:
    watcher = look(busy)
    page = watcher.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the run"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "journal"
    page.keyboard.press("Tab")
    page.keyboard.type("paused")
    watcher.until("document.querySelectorAll('#rows tbody tr').length === 1")
    page.focus("#rows tbody button")
    page.keyboard.press("Enter")
    assert "run.paused" in page.inner_text("#one")
    page.focus("#theme")
    for theme in ("light", "dark"):
        page.keyboard.press("Enter")
        assert page.evaluate("document.documentElement.dataset.theme") == theme and page.inner_text("#theme") == f"Theme: {theme}"
    page.reload()
    watcher.until("performance.getEntriesByName('board:drawn').length > 0")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_a_screen_reader_finds_landmarks_captions_and_is_told_of_stages_politely(busy: str, look: Callable[..., Watcher]) -> None:
    watcher = look(busy)
    page = watcher.page
    for role in ("banner", "main", "contentinfo", "search"):
        assert page.get_by_role(role).count() == 1, role
    for name in (
        "Stages",
        "What users see",
        "Hosts and versions",
        "Way back",
        "Approvals",
        "Readiness",
        "Journal",
        "Now",
        "Asked of people",
    ):
        assert page.get_by_role("region", name=name, exact=True).count() == 1, name
    assert page.evaluate("[...document.querySelectorAll('table')].every(one => one.caption?.textContent.trim())")
    assert page.get_attribute("#spoken", "aria-live") == "polite"
    assert page.evaluate("document.querySelectorAll('[aria-current=step]').length") == 1
    assert "NO-GO" in page.get_attribute("svg.wheel", "aria-label") and page.get_by_role("img", name="Error rate").count() == 1


def test_who_decides_gets_the_command_and_no_button_that_signs(busy: str, look: Callable[..., Watcher]) -> None:
    watcher = look(busy)
    assert "./inv approve --env lab" in watcher.text("#asks") and './inv reject --env lab --reason "WHY"' in watcher.text("#asks")
    names = {name.split(" ")[0] for name in watcher.page.eval_on_selector_all("button", "all => all.map(one => one.textContent)")}
    assert {name for name in names if not name.isdecimal()} <= {"copy", "close", "Theme:"}
    assert watcher.page.locator("form").count() == 1 and watcher.page.get_attribute("form", "action") is None


def test_with_a_token_the_page_opens_to_who_has_it(tmp_path: Path, look: Callable[..., Watcher]) -> None:
    secret = tmp_path / "token"
    secret.write_text("a-token-of-forty-characters-or-something")
    secret.chmod(0o600)
    with boarding(tmp_path / "state", "lab", "--token-file", str(secret)) as url:
        watcher = look(url, wait=False)
        page = watcher.page
        assert [problem["id"] for problem in Axe().run(page).response["violations"] if problem["impact"] in ("serious", "critical")] == []
        page.fill("#token", "a guess")
        page.keyboard.press("Enter")
        page.wait_for_url("**/enter")
        page.fill("#token", secret.read_text())
        page.keyboard.press("Enter")
        page.wait_for_url(url)
        watcher.until("document.querySelector('#headline')?.textContent === 'Nothing runs in lab'")
        assert page.evaluate("document.cookie") == ""


def test_a_journal_that_cannot_be_read_is_said_on_the_page(tmp_path: Path, look: Callable[..., Watcher]) -> None:
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "journal.db").write_bytes(b"no database at all" * 400)
    with boarding(tmp_path, "lab") as url:
        watcher = look(url)
        assert "The journal cannot be read." in watcher.text("#notices") and watcher.page.get_attribute("#notices", "role") == "alert"
