"""Terminals of sessions."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol, TypeAlias

from msgspec import Meta

from roost.api.shapes import Answer
from roost.operation import DELETE, GET, POST

TerminalState: TypeAlias = Literal["running", "asleep", "ended"]
Columns = Annotated[int, Meta(ge=2, le=500)]
Rows = Annotated[int, Meta(ge=1, le=200)]
Words = Annotated[list[Annotated[str, Meta(max_length=100_000)]], Meta(min_length=1, max_length=1000)]
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Typed = Annotated[str, Meta(max_length=65_536)]
Idle = Annotated[float, Meta(gt=0, le=86_400)]


class TerminalView(Answer):
    """A terminal. by: who opened it, `agent` or a person's name. state: `asleep` with the sandbox of its session. code:
    exit code; negative: the signal. reason: why it ended, if not by itself. position: bytes of output so far. keyboard:
    who holds the keyboard; null: everybody types. viewers: who is attached. opened, active: seconds since 1970; active:
    of the last output or input."""

    terminal: str
    command: list[str]
    by: str
    state: TerminalState
    code: int | None
    reason: str | None
    columns: int
    rows: int
    title: str
    position: int
    keyboard: str | None
    viewers: list[str]
    opened: float
    active: float


class TerminalList(Answer):
    terminals: list[TerminalView]


class Cursor(Answer):
    row: int
    column: int
    visible: bool


class CellStyle(Answer, omit_defaults=True):
    """How cells look. fg, bg: a colour of the palette (0 to 255), or `#rrggbb`."""

    fg: int | str | None = None
    bg: int | str | None = None
    bold: bool = False
    dim: bool = False
    italic: bool = False
    underline: bool = False
    blink: bool = False
    inverse: bool = False
    hidden: bool = False
    strike: bool = False


class TerminalScreen(Answer):
    """What a terminal shows. lines: the text of each row; those above the screen come first. styles: for each row, runs
    of cells that do not look like the default: column, number of cells, style. alternate: a full-screen program."""

    lines: list[str]
    styles: list[list[tuple[int, int, CellStyle]]]
    cursor: Cursor
    alternate: bool
    columns: int
    rows: int
    title: str
    position: int


class TerminalRecording(Answer):
    """cast: the newest output as asciicast v2; empty if there is none."""

    cast: str


class TerminalsApi(Protocol):
    @GET("/sessions/{session}/terminals", errors=(404,), right="read")
    async def list(self, session: str) -> TerminalList:
        """The open terminals of a session, and the newest that have ended."""
        ...

    @POST(
        "/sessions/{session}/terminals",
        201,
        body="TerminalBody",
        bodiless=True,
        errors=(403, 404, 409, 503),
        keyed=True,
        right="use",
    )
    async def open(
        self,
        session: str,
        *,
        command: Words | None = None,
        columns: Columns = 80,
        rows: Rows = 24,
        name: Name | None = None,
        idle: Idle = 3600.0,
        key: str | None = None,
    ) -> TerminalView:
        """Run a program on a terminal in the sandbox of a session.

        `command`: a shell by default. `name`: what others read as your name. `idle`: seconds without activity and
        without anybody attached after which the terminal is ended.
        """
        ...

    @GET("/sessions/{session}/terminals/{terminal}", errors=(404,), right="read")
    async def get(self, session: str, terminal: str) -> TerminalView:
        """A terminal."""
        ...

    @GET("/sessions/{session}/terminals/{terminal}/screen", errors=(404, 409), right="read")
    async def screen(
        self, session: str, terminal: str, *, scrollback: Annotated[int, Meta(ge=0, le=2000)] = 0
    ) -> TerminalScreen:
        """What a terminal shows. `scrollback`: lines above the screen."""
        ...

    @GET("/sessions/{session}/terminals/{terminal}/recording", errors=(404, 409), right="read")
    async def recording(self, session: str, terminal: str) -> TerminalRecording:
        """The newest output of a terminal, also of one that has ended, as asciicast v2."""
        ...

    @POST("/sessions/{session}/terminals/{terminal}/type", body="TypedBody", errors=(403, 404, 409, 503), right="use")
    async def type(
        self,
        session: str,
        terminal: str,
        *,
        text: Typed | None = None,
        base64: Typed | None = None,
        name: Name | None = None,
    ) -> TerminalView:
        """Type into a terminal. Answers once what you typed is in the log.

        `text` or `base64`: what a keyboard sends; a line ends with a carriage return.
        """
        ...

    @POST(
        "/sessions/{session}/terminals/{terminal}/resize",
        body="SizeBody",
        errors=(404, 409),
        repeatable=True,
        right="use",
    )
    async def resize(self, session: str, terminal: str, columns: Columns, rows: Rows) -> TerminalView:
        """Change the size of a terminal, for everybody."""
        ...

    @POST(
        "/sessions/{session}/terminals/{terminal}/keyboard",
        body="KeyboardBody",
        errors=(404, 409),
        repeatable=True,
        right="use",
    )
    async def keyboard(
        self,
        session: str,
        terminal: str,
        action: Literal["take", "release"],
        *,
        force: bool = False,
        name: Name | None = None,
    ) -> TerminalView:
        """Take the keyboard, so that nobody else types, or give it back. `force`: also from somebody else."""
        ...

    @DELETE("/sessions/{session}/terminals/{terminal}", 204, errors=(404,), right="use")
    async def end(self, session: str, terminal: str) -> None:
        """End a terminal and all that runs in it."""
        ...
