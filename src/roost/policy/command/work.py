"""How much of a command is looked at: the gate judges on the event loop, and a model writes the command."""

from __future__ import annotations

MOST_READ = 3_000
"""Steps of reading: about one for each word, expansion and folder; some 20 µs each."""
MOST_JUDGED = 4_000
"""Steps of judging: about one for each word of each program, path and folder."""
MOST_PARSED = 600
"""Hundreds of steps of the parser."""
MOST_NODES = 10_000
"""Nodes of the syntax tree: of a line with more nothing is looked at."""
TOO_MUCH = "it has more words, expansions or folders than are looked at; make shorter commands of it"


class TooMuch(Exception):
    """The steps are used up."""


class Work:
    """Counts steps. `most`: how many there may be. `used`: those that were taken."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0

    def spend(self, steps: int = 1) -> None:
        """Raise `TooMuch` where there are more steps than may be; call it before the work is done."""
        self.used += steps
        if self.used > self.most:
            raise TooMuch
