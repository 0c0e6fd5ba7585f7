"""Parts together: both releases over one store and one link, faults on the way, encryption's cost; and what the product has no part for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from golive.collect.tests import ran
from golive.validate.components import functions_of, of_tests, run_benchmark
from golive.validate.rows import Row, of_bench, unmeasured

__all__ = ["ABSENT", "TOGETHER", "integration"]

TOGETHER = {
    "compatibility": ("the incumbent and this agent send to each other", "tests/datapath/test_compatibility.py"),
    "state": ("both releases over one data directory; nothing lost by a rollback", "tests/datapath/test_state_compatibility.py"),
    "faults": ("cuts, kills and full disks in the middle of transfers", "tests/datapath/test_faults.py"),
    "shares": ("transfers from one host share its link", "tests/datapath/test_shares.py"),
}
ABSENT = {
    "vm-migration": (
        "a running guest moved between two hosts, 8 GB of memory and 100 GB of disk",
        "the agent moves images; it drives no QEMU",
    ),
    "federation-sync": ("five clusters, 100 KB of state", "the agent has no federation"),
}
"""Asked of the product, and not part of it yet."""


def integration(tell: Callable[[str], None]) -> Iterator[Row]:
    """Rows of parts that work together."""
    tell("running tests/datapath")
    cases = ran(sorted(test for _, file in TOGETHER.values() for test in functions_of(file)))
    for name, (case, file) in TOGETHER.items():
        yield of_tests(f"integration-{name}", case, (file,), cases)
    found = run_benchmark("benchmarks/unshaped.py", ("--rounds", "1", "--size", "256"), tell)
    case = "TLS 1.3 beside none on a link of 1 Gbit/s: within 10 %"
    if isinstance(found, str):
        yield unmeasured("integration-encryption-cost", case, found)
    else:
        yield from (
            {**of_bench("integration", row), "id": "integration-encryption-cost"} for row in found if row["id"] == "unshaped-not-time"
        )
    for name, (case, why) in ABSENT.items():
        yield unmeasured(f"integration-{name}", case, why)
