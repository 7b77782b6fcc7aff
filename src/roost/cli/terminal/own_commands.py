"""Commands that a person runs beside the conversation, as in `!make test`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roost.cli.terminal.actions import Actions
from roost.cli.terminal.lines import CYAN
from roost.terminal_text import clean

if TYPE_CHECKING:
    from roost.cli.terminal.programs import Ran, Shell

_KEPT = 20_000
"""Characters of an output that go with the next message: its end."""


class OwnCommands:
    """At most one runs at a time."""

    def __init__(self, chat: Actions) -> None:
        self._chat = chat
        self._shell: Shell | None = None

    @property
    def running(self) -> bool:
        return self._shell is not None

    def stop(self) -> None:
        if self._shell is not None:
            self._shell.stop()

    def run(self, text: str) -> None:
        """Run a command. Its output goes with the next message, unless `!!` begins it."""
        private = text.startswith("!!")
        command = text.lstrip("!").strip()
        if not command:
            return
        if self._shell is not None:
            self._chat.hint("a command is still running; Esc stops it")
            return
        from roost.cli.terminal.programs import Shell

        shell = self._shell = Shell(command, self._chat.folder)
        self._chat.note(f"! {command}", CYAN)

        def failed(error: Exception) -> None:
            self._shell = None
            self._chat.failed(error)

        def ran(done: Ran) -> None:
            self._shell = None
            self._chat.conversation.ran(command, done.output, done.code)
            if not private:
                output = clean(done.output)[-_KEPT:]
                ended = "I stopped it" if done.code is None else f"exit code {done.code}"
                self._chat.attach(f"I ran `{command}` ({ended}):\n```\n{output}\n```")
                self._chat.hint("its output goes with your next message (!! keeps it out)")

        self._chat.worker.beside(shell.run, ran, failed)
