"""Follow a chat to its new address, such as a group of Telegram that has become a supergroup."""

from __future__ import annotations

from msgspec.structs import replace

from roost.errors import Conflict
from roost.features.bots.records import BotRecords, Chat, put_chat
from roost.log.documents import Write

_TRIES = 20


async def migrate(records: BotRecords, bot: str, address: str, to: str) -> None:
    """Give the chats of an address another one. They keep their sessions, and what was delivered. What is written at
    the new address leads to them, unless somebody has written there before this was known. Raises `Conflict`."""
    moving = [chat.id async for chat in records.chats(bot) if chat.address == address]
    for id in moving:
        for _ in range(_TRIES):
            chat, revision = await records.chat(id)
            if chat is None or chat.address != address:
                break
            pointer = Chat(bot=bot, address=to, thread=chat.thread, user=chat.user, follows=id)
            known, _ = await records.chat(pointer.id)
            writes: list[Write] = [put_chat(replace(chat, address=to, named=id), revision)]
            writes += [put_chat(pointer, 0)] if known is None else []
            try:
                await records.documents.write(writes)
                break
            except Conflict:
                continue
        else:
            raise Conflict(f"chat {id!r} changes too often")
