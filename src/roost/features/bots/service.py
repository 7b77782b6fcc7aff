"""Answer questions about bots, pair people with them, and look after dead letters."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import AsyncIterator, Sequence
from mimetypes import guess_type

from msgspec.structs import replace

from roost.errors import Conflict, Invalid, NotFound
from roost.features.bots.api import (
    BotList,
    BotsApi,
    BotView,
    ChatList,
    ChatView,
    Forgotten,
    LetterList,
    LetterView,
    MessageFile,
    SenderList,
    SenderView,
)
from roost.features.bots.bots_file import Bot, bot_named, read_bots
from roost.features.bots.post import BotPost, chosen, reached
from roost.features.bots.records import (
    BotRecords,
    Letter,
    LetterFile,
    Sender,
    new_letter,
    put_letter,
    put_sender,
    remove_letter,
    remove_sender,
)
from roost.features.bots.workspace_files import FILE_BYTES, KEPT_SECONDS
from roost.features.uploads.duties import UploadDuties
from roost.features.uploads.uploads import NewUpload
from roost.ids import new_id
from roost.kernel.service_host import ServiceHost
from roost.log.documents import Write

_MOST = 1000


class BotService(BotsApi):
    def __init__(self, host: ServiceHost) -> None:
        self._home, self._node = host.node.resources.home_folder, host.node
        self._records = BotRecords(host.node.store.documents)

    async def list(self) -> BotList:
        bots = await asyncio.to_thread(read_bots, self._home)
        return BotList(bots=[await self._view(bot) for bot in bots.values()])

    async def chats(self, bot: str) -> ChatList:
        await self._bot(bot)
        found = [
            ChatView(
                chat=one.id,
                address=one.address,
                thread=one.thread,
                title=one.title,
                group=one.group,
                session=one.spans[-1].session if one.spans else None,
                heard=one.heard,
            )
            async for one in self._records.chats(bot)
        ]
        return ChatList(chats=sorted(found, key=lambda one: -one.heard)[:_MOST])

    async def senders(self, bot: str) -> SenderList:
        known, now = await self._bot(bot), time.time()
        found = [SenderView(sender=one, name="", state="paired") for one in known.allow]
        found += [_shown(one) async for one in self._records.senders(bot) if one.paired is not None or one.ends > now]
        return SenderList(senders=found)

    async def pair(self, bot: str, code: str) -> SenderView:
        """Raises `NotFound` for a code that no person of the bot has now."""
        await self._bot(bot)
        now = time.time()
        async for one in self._records.with_code(bot, code.strip().upper()):
            if one.ends <= now:
                continue
            known, revision = await self._records.sender(bot, one.sender)
            paired = replace(one, code="", ends=0.0, paired=now)
            writes: list[Write] = [put_sender(paired, revision)]
            chat, _ = await self._records.chat(one.chat)
            if chat is not None:
                writes.append(put_letter(new_letter(chat, "You are let in. What can I do? /help says more.")))
            if known == one:
                await self._records.documents.write(writes)
                return _shown(paired)
        raise NotFound(f"no person has the code {code[:32]!r} of bot {bot!r} now: they get a new one when they write")

    async def unpair(self, bot: str, sender: str) -> Forgotten:
        known, _ = await self._records.sender(bot, sender)
        if known is None:
            raise NotFound(f"bot {bot!r} knows no sender {sender[:64]!r}; those of `allow` are in the file")
        await self._records.documents.write([remove_sender(known)])
        return Forgotten()

    async def send(
        self,
        bot: str,
        text: str = "",
        *,
        to: str = "",
        files: Sequence[MessageFile] | None = None,
        key: str | None = None,
    ) -> LetterView:
        """Raises `NotFound` for a chat that there is not, `Invalid` for an empty message, and where several people
        write."""
        known = await self._bot(bot)
        if not text.strip() and not files:
            raise Invalid("the message is empty", code="empty_message")
        _, chat = chosen([(known, one) for one in await reached(self._records, known)], to.strip(), "")
        key = key or new_id("msg")
        kept = [await self._kept(one, f"bot-message:{bot}:{key}:{number}") for number, one in enumerate(files or ())]
        post = BotPost(self._records.documents, self._node.store.coordination, self._home, known.account)
        letter, _ = await post.post(known, chat, text, key=f"api:{key}", files=kept)
        return _letter(letter)

    async def _kept(self, file: MessageFile, key: str) -> LetterFile:
        """Keep a file durably, until it is delivered."""
        try:
            data = base64.b64decode(file.data, validate=True)
        except binascii.Error:
            raise Invalid(f"files: the data of {file.name!r} is no base64") from None

        async def content() -> AsyncIterator[bytes]:
            yield data

        media_type = file.media_type or guess_type(file.name)[0] or "application/octet-stream"
        new = NewUpload(name=file.name, media_type=media_type, key=key, seconds=KEPT_SECONDS)
        made = await self._node.feature(UploadDuties).uploads.add(new, content(), most=FILE_BYTES)
        return LetterFile(made.id, file.name, media_type, made.size)

    async def letters(self, bot: str) -> LetterList:
        await self._bot(bot)
        found = [_letter(one) async for one in self._records.dead(bot)]
        found += [_letter(one) async for one in self._records.letters(bot)]
        return LetterList(letters=found[:_MOST])

    async def retry(self, bot: str, letter: str) -> LetterView:
        known, revision = await self._records.letter(letter)
        if known.bot != bot or known.state != "dead":
            raise Conflict(f"letter {letter!r} is no dead letter of bot {bot!r}")
        again = replace(known, state="waiting", reason="")
        await self._records.documents.write([put_letter(again, revision)])
        return _letter(again)

    async def discard(self, bot: str, letter: str) -> Forgotten:
        known, _ = await self._records.letter(letter)
        if known.bot != bot:
            raise NotFound(f"bot {bot!r} has no letter {letter[:64]!r}")
        await self._records.documents.write([remove_letter(letter)])
        return Forgotten()

    async def _bot(self, name: str) -> Bot:
        return await asyncio.to_thread(bot_named, self._home, name)

    async def _view(self, bot: Bot) -> BotView:
        status = await self._records.status(bot.name)
        chats = [one.id async for one in self._records.chats(bot.name)]
        dead = [one.id async for one in self._records.dead(bot.name)]
        return BotView(
            name=bot.name,
            platform=bot.platform,
            agent=bot.agent,
            title="" if status is None else status.title,
            node="" if status is None else status.node,
            problem="" if status is None else status.problem,
            since=0.0 if status is None else status.since,
            chats=len(chats),
            dead=len(dead),
        )


def _shown(one: Sender) -> SenderView:
    state = "waiting" if one.paired is None else "paired"
    return SenderView(sender=one.sender, name=one.name, state=state, since=one.paired)


def _letter(one: Letter) -> LetterView:
    return LetterView(
        letter=one.id,
        chat=one.chat,
        text=one.text,
        session=one.session,
        state=one.state,
        reason=one.reason,
        made=one.made,
        due=one.due,
        files=[file.name for file in one.files],
    )


SERVICE = BotService
