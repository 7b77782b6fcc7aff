"""The sandbox of a session."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

from msgspec import Meta

from roost.api.shapes import Answer
from roost.operation import GET, POST

_Words = Annotated[list[Annotated[str, Meta(max_length=100_000)]], Meta(min_length=1, max_length=1000)]


class SandboxView(Answer):
    """A session's sandbox. state: `none` (the next command starts it), `running`, `suspended` with the session, or
    `elsewhere` (another node runs the session). level: 0 is a process of the machine. suspends: what a suspension
    keeps: `memory`, `shell` or `none`. background: programs that run between commands. hits: how often each limit was
    reached."""

    state: Literal["none", "running", "suspended", "elsewhere"]
    level: int
    backend: str | None = None
    suspends: str = "none"
    background: int = 0
    memory_bytes: int = 0
    pids: int = 0
    cpu_seconds: float = 0.0
    hits: dict[str, int] = {}


class SandboxOrder(Answer):
    """An order. status: `accepted`: it is on disk, and will be carried out. problem: why it had no effect. The other
    fields are the result of a command."""

    input: int
    status: Literal["done", "accepted"]
    problem: str | None = None
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    truncated: bool = False
    killed_by: str | None = None


class SandboxApi(Protocol):
    @GET("/sessions/{session}/sandbox", errors=(404,), right="read")
    async def status(self, session: str) -> SandboxView:
        """The sandbox of a session."""
        ...

    @POST("/sessions/{session}/sandbox/exec", body="CommandBody", errors=(404, 409), keyed=True, right="use")
    async def exec(
        self,
        session: str,
        command: _Words,
        *,
        seconds: Annotated[float, Meta(gt=0, le=600)] = 60.0,
        key: str | None = None,
        wait: float | None = None,
    ) -> SandboxOrder:
        """Run a command in the sandbox of a session.

        `command`: a program and its arguments. `seconds`: it is killed after these. The answer comes when it has ended,
        with `Prefer: wait` at the latest after so many seconds.
        """
        ...

    @POST(
        "/sessions/{session}/sandbox/{action}",
        bodiless=True,
        errors=(404, 409),
        keyed=True,
        right="use",
        each={
            "start": "Start the sandbox of a session",
            "stop": "Stop the sandbox of a session, with all that runs in it",
            "suspend": "Suspend the sandbox of a session with its programs, and put the session to sleep",
            "resume": "Resume the sandbox of a session",
        },
    )
    async def control(
        self,
        session: str,
        action: Literal["start", "stop", "suspend", "resume"],
        *,
        key: str | None = None,
        wait: float | None = None,
    ) -> SandboxOrder:
        """Order the sandbox of a session. Returns once that is done, or after `wait` seconds."""
        ...
