"""Documents generated from evidence: facts with their sources, Markdown from them, HTML and PDF from that."""

from golive.documents.document import KINDS, Facts, JournalFacts, Kind, markdown, title
from golive.documents.figure import NO_DATA, Figure
from golive.documents.files import written
from golive.documents.page import page, pdf
from golive.documents.sources import Sources

__all__ = ["KINDS", "NO_DATA", "Facts", "Figure", "JournalFacts", "Kind", "Sources", "markdown", "page", "pdf", "title", "written"]
