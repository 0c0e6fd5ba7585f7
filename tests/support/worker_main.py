"""A worker of a test: environment as JSON in argv, everything else as in ``inv worker``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from golive.environment import Environment, Settings
from golive.workers import process

if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    env = Environment(name="unit", settings=Settings(**told["settings"]), policy={})
    process.Worker(env, told["url"], told["site"], told["name"]).run(lambda: Path(told["ready"]).touch())
