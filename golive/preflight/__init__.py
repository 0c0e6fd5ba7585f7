"""Everything that would stop a go-live, told before anything is touched: of this machine, and of every host at once."""

from golive.preflight.finding import Finding, Grade
from golive.preflight.report import Report
from golive.preflight.survey import preflight

__all__ = ["Finding", "Grade", "Report", "preflight"]
