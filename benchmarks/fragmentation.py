"""What the pool holds in memory beside what is in use, after ten minutes of a load whose sizes move, beside malloc and mimalloc.

    ./inv bench fragmentation [--json]                        measures, and writes docs/results/fragmentation.json
    .venv/bin/python benchmarks/fragmentation.py --table      runs nothing; writes the committed result into docs/benchmarks.md

All three run at the same time: what is measured is memory, and each has the same load.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import Case, PeerMissing, document, measured, now, rewrite
from benchmarks.programs import Programs
from golive.environment import ROOT

RESULT = ROOT / "docs/results/fragmentation.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true", help="run nothing; write the committed result into docs/benchmarks.md")
    options = parser.parse_args()
    if options.table:
        rewrite(RESULT)
        return 0
    started = now()
    with tempfile.TemporaryDirectory(prefix="dwcp-bench-") as directory:
        try:
            found = Programs(Path(directory)).fragments(options.seconds)
        except PeerMissing as error:
            print(error)  # who called says it
            return 2
    cases = [
        Case(
            f"{moment}-{peer.split()[0]}",
            f"resident over live bytes, {said} {options.seconds:g} s",
            "x",
            peer,
            lambda moment=moment: found["pool"][moment],
            lambda peer=peer, moment=moment: found[peer][moment],
            less=True,
        )
        for moment, said in (("mean", "on average over"), ("worst", "at the worst of"))
        for peer in ("glibc malloc", "mimalloc")
    ]
    result = document("./inv bench fragmentation", started, measured(cases, 1, lambda line: print(line, file=sys.stderr, flush=True)))
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
