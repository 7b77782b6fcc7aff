"""The bots of a home: who writes with them, and what could not be delivered.

Whoever pairs a person lets them act for the home, and a letter has what any session said: both are the owner's."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from roost.api.inputs import MEDIA_BYTES
from roost.api.shapes import Answer
from roost.operation import DELETE, GET, POST

_ONE = "/bots/{bot}"


class BotView(msgspec.Struct, frozen=True, kw_only=True):
    """A bot of the home's file. title: its name at the platform. node: that works for it. problem: why it cannot, empty
    if it can; since when, in seconds since 1970. chats: how many it has. dead: letters that were refused."""

    name: str
    platform: str
    agent: str
    title: str = ""
    node: str = ""
    problem: str = ""
    since: float = 0.0
    chats: int = 0
    dead: int = 0


class BotList(Answer):
    bots: list[BotView]


class ChatView(msgspec.Struct, frozen=True, kw_only=True):
    """A chat. address: its id at the platform. session: its present one. heard: when a person wrote last, to a
    minute."""

    chat: str
    address: str
    thread: str
    title: str
    group: bool
    session: str | None
    heard: float


class ChatList(Answer):
    chats: list[ChatView]


class SenderView(msgspec.Struct, frozen=True, kw_only=True):
    """A person at the platform. state: `waiting` for the owner, who confirms the code that the bot has told them."""

    sender: str
    name: str
    state: Literal["paired", "waiting"]
    since: float | None = None


class SenderList(Answer):
    senders: list[SenderView]


class LetterView(msgspec.Struct, frozen=True, kw_only=True):
    """A message that is not delivered. state: `waiting` to be sent, or `dead`: refused, for `reason`; of one that is
    repeated under its key also `sent`. due: it is sent not before this. files: their names."""

    letter: str
    chat: str
    text: str
    session: str
    state: Literal["waiting", "dead", "sent"]
    reason: str
    made: float
    due: float = 0.0
    files: list[str] = []


class LetterList(Answer):
    letters: list[LetterView]


class MessageFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a message. data: its content in base64."""

    name: Annotated[str, Meta(min_length=1, max_length=200)]
    data: str
    media_type: str = ""


class Forgotten(Answer):
    status: Literal["deleted"] = "deleted"


class BotsApi(Protocol):
    @GET("/bots", right="operate")
    async def list(self) -> BotList:
        """The bots of this node's home, and how they do."""
        ...

    @GET(f"{_ONE}/chats", errors=(404,), right="administer")
    async def chats(self, bot: str) -> ChatList:
        """The chats of a bot, with their sessions."""
        ...

    @GET(f"{_ONE}/senders", errors=(404,), right="administer")
    async def senders(self, bot: str) -> SenderList:
        """People who may write to a bot, and those who wait for that."""
        ...

    @POST(f"{_ONE}/senders", errors=(404,), body="PairBody", repeatable=True, right="administer")
    async def pair(self, bot: str, code: Annotated[str, Meta(min_length=1, max_length=32)]) -> SenderView:
        """Let the person write to the bot whom it has told this code."""
        ...

    @DELETE(f"{_ONE}/senders/{{sender}}", errors=(404,), right="administer")
    async def unpair(self, bot: str, sender: str) -> Forgotten:
        """Let a person no longer write to the bot."""
        ...

    @POST(
        f"{_ONE}/messages",
        202,
        errors=(404, 429),
        body="BotMessageBody",
        keyed=True,
        most=MEDIA_BYTES,
        right="administer",
    )
    async def send(
        self,
        bot: str,
        text: Annotated[str, Meta(max_length=32_000)] = "",
        *,
        to: Annotated[str, Meta(max_length=512)] = "",
        files: Annotated[list[MessageFile], Meta(max_length=10)] | None = None,
        key: str | None = None,
    ) -> LetterView:
        """Write to a person who has not asked, as the tool `send_message` does: in the bot's quiet hours it waits, and
        a chat gets so many a day.

        `text` is Markdown. `to`: a chat, by its id (`pigeon/7`) or its address (`7`); without it the chat where a
        person wrote last.
        """
        ...

    @GET(f"{_ONE}/letters", errors=(404,), right="administer")
    async def letters(self, bot: str) -> LetterList:
        """Messages that a bot has not delivered: the dead ones, then those that wait."""
        ...

    @POST(f"{_ONE}/letters/{{letter}}/retry", errors=(404, 409), repeatable=True, right="administer")
    async def retry(self, bot: str, letter: str) -> LetterView:
        """Try to deliver a dead letter again."""
        ...

    @DELETE(f"{_ONE}/letters/{{letter}}", errors=(404,), right="administer")
    async def discard(self, bot: str, letter: str) -> Forgotten:
        """Delete a letter that was not delivered."""
        ...
