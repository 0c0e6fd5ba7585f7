"""Connections that a sender keeps, and those that are on their way."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from dwcp_agent.errors import Unreachable
from dwcp_agent.transport.sender import Link
from fixtures import wait_for


class Connection:
    """Takes the place of a wire."""

    def __init__(self) -> None:
        self.closed = False

    def readable(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


class Connecting(Link):
    """Connections come when they are let, as many of them as ``fail`` says not at all."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1", 1, None)  # type: ignore[arg-type]
        self.let = threading.Semaphore(0)
        self.made: list[Connection] = []
        self.tried = 0
        self.fail = 0
        self._counting = threading.Lock()

    def _connect(self) -> Any:
        with self._counting:
            self.tried += 1
        assert self.let.acquire(timeout=10)
        with self._counting:
            if self.fail:
                self.fail -= 1
                raise Unreachable("no")
            self.made.append(Connection())
            return self.made[-1]


@pytest.fixture
def takers() -> Any:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_who_takes_a_connection_waits_for_the_one_on_its_way(takers: ThreadPoolExecutor) -> None:
    link = Connecting()
    link.warm(2)
    taken = [takers.submit(link.take) for _ in range(2)]
    wait_for("a taker or a connection", lambda: link._waiting == 2)
    link.let.release(2)
    assert {id(each.result(10)) for each in taken} == {id(made) for made in link.made}
    assert link.tried == 2


def test_who_comes_when_all_on_their_way_are_promised_makes_another(takers: ThreadPoolExecutor) -> None:
    link = Connecting()
    link.warm(1)
    taken = [takers.submit(link.take) for _ in range(2)]
    wait_for("a taker or a connection", lambda: link.tried == 2)
    link.let.release(2)
    assert len({id(each.result(10)) for each in taken}) == 2


def test_who_waited_for_one_that_does_not_come_makes_its_own(takers: ThreadPoolExecutor) -> None:
    link = Connecting()
    link.fail = 1
    link.warm(1)
    taken = takers.submit(link.take)
    wait_for("a taker or a connection", lambda: link._waiting == 1)
    link.let.release(2)
    assert taken.result(10) is link.made[0]
    assert link.tried == 2


def test_one_that_comes_after_the_link_was_closed_is_closed() -> None:
    link = Connecting()
    link.warm(1)
    wait_for("a taker or a connection", lambda: link.tried == 1)
    link.close()
    link.let.release()
    wait_for("a taker or a connection", lambda: bool(link.made) and link.made[0].closed)


def test_one_that_the_other_side_closed_is_not_given_out() -> None:
    link = Connecting()
    link.let.release(2)
    first = link.take()
    link.give(first)
    first.close()
    assert link.take() is not first
