"""What questions and slash commands may do with the conversation that they are in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from roost.cli.terminal.conversation import Conversation
from roost.cli.terminal.dialog import Choice
from roost.cli.terminal.inbox import Worker
from roost.cli.terminal.input_line import InputLine
from roost.cli.terminal.link import Link
from roost.cli.terminal.live import Live
from roost.cli.terminal.tty import Tty

if TYPE_CHECKING:
    from roost.cli.node import Node
    from roost.log.session_info import InputMode


class Actions(Protocol):
    """`roost.cli.terminal.chat.Chat`, as its parts see it. `link`: None until the session is open. `switching`: another
    session is being opened. `folder`: of the session's files. `permissions`: of the session's agent."""

    conversation: Conversation
    link: Link | None
    switching: bool
    variables: Mapping[str, str]
    """What other commands need in their environment to speak to the same node."""
    input: InputLine
    worker: Worker
    tty: Tty
    live: Live
    home: Path
    folder: Path
    permissions: str
    besides: list[str]
    """Commands of the command line that run now."""

    def note(self, text: str, style: str = ...) -> None:
        """Add a remark to the history."""

    def hint(self, text: str) -> None:
        """Show a remark in the place of the footer for a moment."""

    def failed(self, error: Exception) -> None:
        """Say what went wrong."""

    def page(self, text: str, *, end: bool = False) -> None:
        """Show a text in the pager."""

    def lent(self) -> AbstractContextManager[None]:
        """Give the terminal to another program while the block runs."""
        ...

    def pick(self, title: str, choices: list[Choice[Any]], then: Callable[[Any], None]) -> None:
        """Let the person choose; `then` is not called when they leave."""

    def switch(self, session: Callable[[Node], str], *, fresh: bool = False) -> None:
        """Go on with another session; `session` finds or makes it, in the worker. `fresh`: it is a new one."""

    def new(self, agent: str | None) -> None:
        """Go on with a new session of this agent, or of the one so far."""

    def say(self, text: str, mode: InputMode = "steer") -> None:
        """Send a message: into the running turn, else as the next turn."""

    def keep(self, text: str) -> None:
        """Send a message after the running turn."""

    def attach(self, output: str) -> None:
        """Put a text before the next message."""

    def cancel(self) -> None:
        """Cancel the running turn."""

    def leave(self) -> None: ...
