"""A database that went away is waited for once, however much is left to be said to it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from golive.engine.store import Away, Store


def test_what_is_said_after_the_patience_is_over_is_tried_once_until_it_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, tried = Store(tmp_path / "journal.db", patience_s=0.5), list[float]()
    there = store.writing

    @contextlib.contextmanager
    def gone() -> Iterator[sa.Connection]:
        tried.append(time.monotonic())
        raise Away("gone")
        yield

    def write() -> tuple[int, float]:
        tried.clear()
        began = time.monotonic()
        with pytest.raises(Away):
            store.write(lambda connection: None)
        return len(tried), time.monotonic() - began

    monkeypatch.setattr(store, "writing", gone)
    tries, took = write()
    assert tries > 1 and took > 0.2
    assert took + sum(write()[1] for _ in range(5)) < 0.8  # all together
    assert write()[0] == 1
    monkeypatch.setattr(store, "writing", there)
    assert store.write(lambda connection: 7) == 7
    monkeypatch.setattr(store, "writing", gone)
    assert write()[0] > 1
