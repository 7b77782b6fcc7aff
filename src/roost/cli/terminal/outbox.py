"""Messages of the person on their way to the session: sent, kept for after the turn, or typed before it is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roost.cli.terminal.actions import Actions
from roost.cli.terminal.lines import RED
from roost.cli.terminal.link import Link
from roost.errors import RoostError
from roost.terminal_text import one_line

if TYPE_CHECKING:
    from roost.cli.node import Content
    from roost.log.session_info import InputMode


class Outbox:
    """What one terminal sends. A message that cannot be sent returns to the editor."""

    def __init__(self, chat: Actions) -> None:
        self._chat = chat
        self.later: list[str] = []
        """Messages for after the turn."""
        self.told: dict[int, str] = {}
        """Messages that the agent has not taken yet, by the numbers of their inputs."""
        self._early: list[str] = []
        self._context: list[str] = []
        """Output of the person's commands, for the next message."""

    @property
    def empty(self) -> bool:
        return not self.later and not self._early

    def say(self, text: str, mode: InputMode = "steer") -> None:
        """Send a message: into the running turn, else as the next turn. It waits while a session is being opened."""
        if self._chat.link is None or self._chat.switching:
            self._early.append(text)
            return
        self._post(text, mode if self._chat.conversation.working else "follow_up")

    def keep(self, text: str) -> None:
        """Keep a message for after the running turn."""
        if self._chat.conversation.working:
            self.later.append(text)
        else:
            self.say(text)

    def attach(self, output: str) -> None:
        """Put a text before the next message."""
        self._context.append(output)

    def take_back(self) -> str:
        """Return what is kept for later, and forget it."""
        texts, self.later = self.later, []
        return "\n".join(texts)

    def follow(self) -> None:
        """Send what was kept when the turn is over."""
        received = self._chat.conversation.received
        for number in [one for one in self.told if one in received]:
            del self.told[number]
        if self.later and not self._chat.conversation.working and not self.told and not self._chat.switching:
            self.say(self.later.pop(0))

    def leave(self, link: Link) -> None:
        """Send what is kept for later to the session that it was typed for."""
        texts, self.later = self.later, []
        self.told.clear()
        for text in texts:
            self._send_at_last(link, text)

    def _send_at_last(self, link: Link, text: str) -> None:
        """Send a message to a session that is left. The editor is not its place any more: a failure is told."""
        from roost.cli.terminal.attachments import content_of

        def failed(error: Exception) -> None:
            self._chat.note(f"not sent: {one_line(text, 200)}", RED)
            self._chat.failed(error)

        try:
            content = content_of(text, self._chat.folder)
        except (RoostError, OSError) as error:
            failed(error)
            return
        link.used = True
        link.send(content, "follow_up", lambda _: None, failed)

    def opened(self) -> None:
        """Send what was typed before the session was open."""
        early, self._early = self._early, []
        for text in early:
            self.say(text)

    def refused(self) -> None:
        """Return what was typed for a session that could not be opened."""
        early, self._early = self._early, []
        self._return("\n".join(early))

    def _return(self, text: str) -> None:
        draft = self._chat.input.editor.whole
        if text:
            self._chat.input.editor.set(f"{text}\n{draft}" if draft else text)

    def _post(self, text: str, mode: InputMode) -> None:
        link = self._chat.link
        assert link is not None
        from roost.cli.terminal.attachments import content_of

        try:
            content = self._with_context(content_of(text, self._chat.folder))
        except (RoostError, OSError) as error:
            self._return(text)
            self._chat.failed(error)
            return
        before, self._context = self._context, []
        talk = self._chat.conversation
        link.used = True
        if not talk.working:
            talk.began()
        shown = one_line(text, 200)

        def sent(number: int) -> None:
            if number not in talk.received and self._chat.conversation is talk:
                self.told[number] = shown

        def failed(error: Exception) -> None:
            talk.not_begun()
            self._context[:0] = before
            self._return(text)
            self._chat.failed(error)

        link.send(content, mode, sent, failed)

    def _with_context(self, content: Content) -> Content:
        if not self._context:
            return content
        shown = "\n\n".join(self._context)
        if isinstance(content, str):
            return f"{shown}\n\n{content}"
        from roost.log.content import Text

        return [Text(shown), *content]
