"""``python -m dwcp_agent``."""

import sys

from dwcp_agent.cli import main

sys.exit(main())
