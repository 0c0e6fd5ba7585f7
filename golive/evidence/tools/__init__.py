"""Named probes that run a real tool: what a checklist's ``tool:`` names.

A tool passes by what it said: that it looked at files, and found nothing. One that is missing, ended otherwise, printed nothing or looked
at nothing is UNKNOWN.
"""

from golive.evidence.tools.ansible import LINT, SYNTAX
from golive.evidence.tools.code import BUILD, MYPY, RUFF
from golive.evidence.tools.coverage import COVERAGE
from golive.evidence.tools.documented import DOCUMENTED
from golive.evidence.tools.model import Outcome, Tool, run
from golive.evidence.tools.secrets import SECRETS
from golive.evidence.tools.terraform import FORMAT, TEST, VALIDATE

__all__ = ["TOOLS", "Outcome", "Tool", "run"]

TOOLS: dict[str, Tool] = {
    tool.name: tool for tool in (FORMAT, VALIDATE, TEST, SYNTAX, LINT, RUFF, MYPY, BUILD, SECRETS, COVERAGE, DOCUMENTED)
}
"""By name."""
