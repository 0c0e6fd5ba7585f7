"""NUMA: what sysfs says, what a thread asks for, and what the kernel says of the pages."""

from __future__ import annotations

import mmap
import threading
from pathlib import Path

import pytest

from dwcp_agent import _native
from dwcp_agent.phase4 import topology
from dwcp_agent.threads import Threads


def sysfs(root: Path, lists: dict[str, str]) -> Path:
    for name, text in lists.items():
        (root / name).mkdir()
        (root / name / "cpulist").write_text(text)
    return root


def test_nodes_are_those_with_cpus(tmp_path: Path) -> None:
    root = sysfs(tmp_path, {"node0": "0-3,8\n", "node1": "4-7\n", "node2": "\n", "node10": "9\n", "nodeX": "1\n", "node3": "broken\n"})
    assert topology.nodes(root) == {0: {0, 1, 2, 3, 8}, 1: {4, 5, 6, 7}, 10: {9}}
    assert topology.nodes(tmp_path / "absent") == {}


def test_this_machine_has_a_node_and_pages_are_on_it() -> None:
    here = topology.nodes()
    assert here and all(here.values())
    page = mmap.mmap(-1, 1 << 20)
    page[0] = 1
    assert _native.node_of(page) in here
    node = min(here)
    later = mmap.mmap(-1, 1 << 20)
    _native.place_on_node(later, node)
    later[0] = 1
    assert _native.node_of(later) == node


def test_thread_takes_memory_near_its_cpus_and_says_so() -> None:
    said: list[str] = []
    (first, cpus), *_ = topology.nodes().items()

    def work() -> None:
        # As on a machine with another node.
        known = {first: cpus, first + 1: frozenset({5000})}
        said.append(topology.use_memory_near(cpus, known))
        said.append(topology.use_memory_near(cpus | {5000}, known))
        said.append(topology.use_memory_near(cpus, {first: cpus}))
        said.append(topology.use_memory_near(frozenset({5000}), {first: cpus, 900: frozenset({5000})}))
        _native.prefer_node(None)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert said[:3] == [f"node {first}", "several nodes: where the thread runs", "one node: nothing to choose"]
    assert said[3].startswith("refused: ")  # there is no node 900


def test_a_thread_that_asked_has_the_kernels_word_for_it() -> None:
    """With one node all memory is near; that the kernel was told shows all the same."""
    said: list[set[str]] = []
    (first, cpus), *_ = topology.nodes().items()

    def policies() -> set[str]:
        lines = Path(f"/proc/self/task/{threading.get_native_id()}/numa_maps").read_text().splitlines()
        return {line.split()[1] for line in lines}

    def work() -> None:
        said.append(policies())
        topology.use_memory_near(cpus, {first: cpus, first + 1: frozenset({5000})})
        said.append(policies())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert said == [{"default"}, {f"prefer:{first}"}]
    assert policies() == {"default"}, "another thread was told"


def test_report_says_where_memory_comes_from() -> None:
    threads = Threads({"net": None, "codec": None, "control": None})
    threads.join("codec")
    roles = threads.report()["roles"]
    assert isinstance(roles, dict)
    threads_on = [node for node, cpus in topology.nodes().items() if cpus & threads.allowed]
    several = "several nodes: where the thread runs" if len(threads_on) > 1 else f"node {threads_on[0]}"
    assert roles["codec"]["memory"] == (several if len(topology.nodes()) > 1 else "one node: nothing to choose")
    assert roles["net"]["memory"] == "no thread yet"


def test_numbers_that_are_no_node_are_refused() -> None:
    for node in (-1, 1024):
        with pytest.raises(ValueError, match="node's number"):
            _native.prefer_node(node)
        with pytest.raises(ValueError, match="node's number"):
            _native.place_on_node(bytearray(8), node)
    with pytest.raises(OSError):
        _native.node_of(b"")
