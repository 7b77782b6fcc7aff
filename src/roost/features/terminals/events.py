"""Events and inputs of this feature."""

from __future__ import annotations

from roost.log.events import Event
from roost.log.inputs import Input


class TerminalOpened(Event, frozen=True, tag="terminal.opened"):
    """A program starts on a terminal next. by: `agent`, or a person's name. call: the tool call that starts it. idle:
    seconds without activity after which it is ended."""

    terminal: str
    command: tuple[str, ...]
    columns: int
    rows: int
    by: str
    idle: float
    call: str | None = None

    @property
    def line(self) -> str:
        return f"{self.by} opens terminal {self.terminal}: {' '.join(self.command)[:80]}"


class TerminalTyped(Event, frozen=True, tag="terminal.typed"):
    """A person types into a terminal next. text: UTF-8 with replacement; empty if the program shows nothing of it, as
    for a password. hidden: number of bytes that are not in `text`. What the agent types stands in its tool calls."""

    terminal: str
    by: str
    text: str
    hidden: int = 0

    @property
    def line(self) -> None:
        return None


class TerminalEnded(Event, frozen=True, tag="terminal.ended"):
    """The program of a terminal has ended. code: its exit code; negative: the signal; None: unknown. reason: why it was
    ended, or lost. recording: its newest output as asciicast v2, compressed by zlib, in base64."""

    terminal: str
    code: int | None = None
    reason: str | None = None
    recording: str = ""

    @property
    def line(self) -> str:
        code = "" if self.code is None else f" {self.code}"
        return f"terminal {self.terminal} ended{code}" + (f": {self.reason}" if self.reason else "")


class OpenTerminalInput(Input, frozen=True, tag="terminal"):
    """Open a terminal. Fields as in `TerminalOpened`."""

    terminal: str
    command: tuple[str, ...]
    columns: int
    rows: int
    by: str
    idle: float
    walled: bool = False
    """Whether the terminal may be opened only behind an isolation boundary."""


EVENTS = (TerminalOpened, TerminalTyped, TerminalEnded)
INPUTS = (OpenTerminalInput,)
