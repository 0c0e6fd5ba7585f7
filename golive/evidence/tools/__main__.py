"""``python -m golive.evidence.tools secrets ROOT`` and ``... coverage FILE ROOT``: what these two tools run, for a second look by hand."""

import json
import sys
from pathlib import Path

from golive.evidence.tools.coverage import known
from golive.evidence.tools.secrets import scan

name, *places = sys.argv[1:]
print(json.dumps(scan(Path(places[0])) if name == "secrets" else known(Path(places[0]), Path(places[1])), indent=1))
