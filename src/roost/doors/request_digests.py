"""The digests of what a request says: of its history, and of the whole request."""

from __future__ import annotations

import asyncio

from roost.authority import current
from roost.doors.digests import answered, asked, beginning
from roost.doors.talk import Talk, mark_of
from roost.kernel.sessions import Sessions
from roost.log.content import Text

_LARGE, _LARGE_TEXT = 200, 100_000
"""Messages, and characters, of a history that is digested beside the event loop."""


class RequestDigests:
    """Digests of the requests of a door `name`."""

    def __init__(self, name: str, sessions: Sessions) -> None:
        self._name, self._sessions = name, sessions

    async def before(self, talk: Talk) -> bytes:
        """Return the digest of the history."""
        return await asyncio.to_thread(self._before, talk) if _is_large(talk) else self._before(talk)

    async def history(self, talk: Talk) -> tuple[bytes, str]:
        """Return the digest of the history, and the label that all sessions with its first message have."""
        return await asyncio.to_thread(self._history, talk) if _is_large(talk) else self._history(talk)

    async def root(self, talk: Talk) -> str:
        """Return the label that all sessions with the history's first message have."""
        return await asyncio.to_thread(self._root, talk, self.start(talk))

    def start(self, talk: Talk) -> bytes:
        """Return the digest with which the histories of a request's owner begin: no two accounts have the same."""
        account = (who.account or "",) if (who := current()).confined else ()
        return beginning(self._name, talk.agent, talk.owner, *account)

    def message(self, talk: Talk, before: bytes) -> bytes:
        """Return the digest of the history and the new message."""
        return asked(before, talk.parts, self._sessions.scrubbed)

    def request(self, talk: Talk, before: bytes) -> bytes:
        """Return the digest of all that the request asks."""
        return beginning(self.message(talk, before).hex(), mark_of(talk))

    def _root(self, talk: Talk, start: bytes) -> str:
        first = talk.before[0].parts if talk.before else talk.parts
        return asked(start, first, self._sessions.scrubbed).hex()

    def _before(self, talk: Talk) -> bytes:
        return self._follow(talk, self.start(talk))

    def _history(self, talk: Talk) -> tuple[bytes, str]:
        start = self.start(talk)
        return self._follow(talk, start), self._root(talk, start)

    def _follow(self, talk: Talk, at: bytes) -> bytes:
        scrub = self._sessions.scrubbed
        for exchange in talk.before:
            at = answered(asked(at, exchange.parts, scrub), exchange.answer, exchange.calls)
        return at


def _is_large(talk: Talk) -> bool:
    """Whether the history is digested beside the event loop."""
    return bool(talk.before) and (len(talk.before) > _LARGE or text_size(talk) > _LARGE_TEXT)


def text_size(talk: Talk) -> int:
    """Return the characters of the history's texts."""
    texts = (part.text for one in talk.before for part in one.parts if isinstance(part, Text))
    return sum(len(one.answer) for one in talk.before) + sum(map(len, texts))
