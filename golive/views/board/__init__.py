"""The board: a web page on which a war room watches a run. Reads the journal, looks of a watch, and the last readiness."""

from golive.views.board.app import Board
from golive.views.board.feed import Feed
from golive.views.board.guard import Doors
from golive.views.board.serve import PORT, served, token_in
from golive.views.board.sources import Book, PlannedStage, PlannedStep, Sources

__all__ = ["PORT", "Board", "Book", "Doors", "Feed", "PlannedStage", "PlannedStep", "Sources", "served", "token_in"]
