"""The page while runs go on: a whole go-live and a rollback, on simulated hosts with the real engine, each a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from golive import engine, environment
from tests.board.conftest import Watcher, boarding, inv

pytestmark = pytest.mark.timeout(300)

_SEEN = """() => {
  window.seen = [];
  const note = () => {
    const said = [document.querySelector('#outcome').innerText, document.querySelector('#headline').innerText,
                  document.querySelector('#share').getAttribute('aria-label'), document.querySelector('#spoken').textContent];
    if (JSON.stringify(said) !== JSON.stringify(window.seen.at(-1))) window.seen.push(said);
  };
  const everything = {subtree: true, childList: true, characterData: true, attributes: true};
  new MutationObserver(note).observe(document.body, everything);
}"""


def _golive(state: Path, expected: int, *words: str) -> dict[str, Any]:
    process = inv(state, "golive", "--env", "lab", "--hosts", "sim:6", "--json", *words, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=200)
    assert process.returncode == expected, err[-3000:]
    told: dict[str, Any] = json.loads(out)
    return told


def _records(state: Path) -> list[engine.Record]:
    before = os.environ.get("GOLIVE_STATE")
    os.environ["GOLIVE_STATE"] = str(state)
    try:
        return engine.open_journal(environment.load("sim-6")).read()
    finally:
        os.environ.pop("GOLIVE_STATE") if before is None else os.environ.update(GOLIVE_STATE=before)


def _says(watcher: Watcher, selector: str, text: str) -> None:
    watcher.until("([s, t]) => document.querySelector(s).textContent.includes(t)", [selector, text])


def _classes(watcher: Watcher) -> dict[str, str]:
    found: dict[str, str] = watcher.page.evaluate(
        "() => Object.fromEntries([...document.querySelectorAll('#stages > li')]"
        ".map(node => [node.querySelector('.stage-name').textContent, node.className]))"
    )
    return found


def test_a_whole_go_live_is_watched_by_a_page_that_was_open_before_it_began(tmp_path: Path, look: Callable[..., Watcher]) -> None:
    with boarding(tmp_path, "sim-6") as url:
        watcher = look(url)
        page = watcher.page
        assert watcher.text("#headline") == "Nothing runs in sim-6" and set(_classes(watcher).values()) == {"stage ahead"}
        page.evaluate(_SEEN)

        _golive(tmp_path, 0, "--until", "deploy")
        _says(watcher, "#hosts-sum", "5 hosts; 3.0.0 on 5, 2.9.0 on 5")
        _says(watcher, "#outcome", "Held")
        assert "validate" in watcher.text("#next") and _classes(watcher)["deploy"].startswith("stage done")
        assert "0 %" in page.get_attribute("#share", "aria-label")

        for stage, share in (("canary", "10 %"), ("half", "50 %")):
            _golive(tmp_path, 0, "--until", stage)
            watcher.until(
                "share => document.querySelector('#share').getAttribute('aria-label').startsWith(share + ' of users on 3.0.0')", arg=share
            )
            _says(watcher, "#measured", f"watch-{share.split()[0]} decided PASS")
            assert "error_rate" in page.text_content("#gate") and "PASS" in page.text_content("#gate tbody")

        told = _golive(tmp_path, 0)
        assert told["outcome"] == "succeeded"
        _says(watcher, "#headline", "3.0.0 is live for everyone")
        assert {cls.split()[1] for cls in _classes(watcher).values()} == {"done"} and len(_classes(watcher)) >= 17
        _says(watcher, "#hosts-sum", "5 hosts; 3.0.0 on 5, 2.9.0 on 0")
        _says(watcher, "#back-body", "no way back any more")

        records = _records(tmp_path)
        _says(watcher, "#journal-sum", f"{len(records)} records")
        seen = page.evaluate("window.seen")
        assert any(outcome.endswith("Running") for outcome, *_ in seen), "nothing was seen while it ran"
        assert {"Stage canary", "Stage half"} <= {part for *_, spoken in seen for part in spoken.split(". ")}
        assert page.evaluate("document.querySelectorAll('#charts canvas').length") == 3
        drawn = page.evaluate("async () => (await (await fetch('/picture')).json()).sections")
        assert len(drawn["watches"]) == 8 and all(row["verdict"] == "PASS" for row in drawn["watches"].values())
        assert len(drawn["points"]) > 3 * 8, "what the watches saw on their way was not drawn"
        assert watcher.measured("board:update")


def test_a_rollback_is_watched_by_the_page_to_its_end(tmp_path: Path, look: Callable[..., Watcher]) -> None:
    with boarding(tmp_path, "sim-6") as url:
        watcher = look(url, dark=False)
        page = watcher.page
        page.evaluate(_SEEN)
        told = _golive(tmp_path, 3, "--release", "3.0.1+defect.latency")
        assert told["outcome"] == "rolled-back"
        _says(watcher, "#outcome", "Rolled back")
        assert watcher.text("#headline") == "2.9.0 serves everyone again"
        watcher.until("document.querySelector('#share').getAttribute('aria-label').startsWith('0 % of users on 3.0.1')")
        back = watcher.text("#back-body")
        assert "everything is back" in back and "All users back after" in back and "Why" in back
        classes = _classes(watcher)
        way_back = [name for name in classes if name.startswith("back: ")]
        assert len(way_back) >= 2 and all(classes[name].startswith("stage done") for name in way_back)
        assert classes["full"] == "stage ahead" and "way-back" in classes[way_back[0]]
        _says(watcher, "#hosts-sum", "2.9.0 on 5")
        assert "3.0.1+defect.latency on 0" in watcher.text("#hosts-sum")
        assert "FAIL" in page.text_content("#gate tbody")
        reason = next(record.data["reason"] for record in _records(tmp_path) if record.kind == "rollback.started")
        assert reason[:60] in " ".join(watcher.text("#doing").split()) and reason[:60] in back
        page.select_option("#kind", "trouble")
        watcher.until("document.querySelectorAll('#rows tbody tr').length > 0")
        assert "rollback began" in page.inner_text("#rows tbody")
