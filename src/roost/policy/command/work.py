"""Budgets of analysis steps: the gate runs on the event loop, and a model writes the command."""

from __future__ import annotations

MOST_READ = 3_000
"""Steps of reading: about one for each word, expansion and folder; some 20 µs each."""
MOST_JUDGED = 4_000
"""Steps of judging: about one for each word of each program, path and folder."""
MOST_PARSED = 600
"""Hundreds of steps of the parser."""
MOST_NODES = 10_000
"""Nodes of the syntax tree; a line with more is not analysed."""
TOO_MUCH = "it has more words, expansions or folders than are looked at; make shorter commands of it"


class TooMuch(Exception):
    """The budget is used up."""


class Work:
    """Count steps. most: the budget. used: steps taken."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0

    def spend(self, steps: int = 1) -> None:
        """Take steps, before the work is done. Raises `TooMuch` above the budget."""
        self.used += steps
        if self.used > self.most:
            raise TooMuch
