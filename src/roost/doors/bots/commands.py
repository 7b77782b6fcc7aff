"""Commands that people write to a bot in place of a message: `/new`, `/stop`, `/cost`, `/approve`, `/reject`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from roost.doors.bots.platform import Written
from roost.doors.bots.questions import answer_meant, newest
from roost.errors import Conflict, NotFound
from roost.features.bots.bots_file import Bot
from roost.features.bots.records import BotRecords, Chat, Letter, Meant, Span, new_letter, put_chat, put_letter, user_of
from roost.ids import short
from roost.server.app_state import Api

_KEPT_SPANS, _KEPT_HANDLED, _KEPT_MEANT = 8, 64, 16
_TRIES = 20
HELP = """I pass what you write to an agent, and send you its answers.

/new — begin a new conversation
/stop — stop what the agent is doing
/approve, /reject — answer the newest question
/cost — what this conversation has cost
/help — this text"""
NAMES = frozenset(("/new", "/stop", "/cost", "/help", "/start", "/approve", "/reject"))
Command = Callable[[Chat, Written], Awaitable[str]]


class Commands:
    """The commands of one bot. Each takes effect once, however often its message comes: what it writes names it."""

    def __init__(self, api: Api, bot: Bot, records: BotRecords) -> None:
        self._api, self._bot, self._records = api, bot, records
        self._known: dict[str, Command] = {
            "/new": self._new,
            "/stop": self._stop,
            "/cost": self._cost,
            "/help": self._help,
            "/start": self._help,
            "/approve": self._approve,
            "/reject": self._reject,
        }

    async def take(self, chat: Chat, event: Written) -> bool:
        """Return whether the message is a command, which then has taken effect."""
        word = event.text.split(maxsplit=1)[0].lower() if event.text.startswith("/") else ""
        command = self._known.get(word)
        if command is None or event.edit or event.attachments:
            return False
        if event.number not in chat.handled:
            try:
                told = await command(chat, event)
            except (NotFound, Conflict) as error:
                told = error.message
            if told:
                await self.tell(chat, event.number, told)
        return True

    async def tell(self, chat: Chat, number: int, text: str) -> None:
        """Answer the message of this number with the bot's own words, once."""
        await self._change(chat.id, lambda one: _handled(one, number), new_letter(chat, text), number)

    async def begin(self, chat: Chat, number: int, told: str = "") -> Chat:
        """Begin a session for messages from `number` on, and return the chat as it is then. Begun again after a crash,
        it finds the session that it made."""
        labels = {"bot": self._bot.name, "user": user_of(self._bot, chat.user or chat.address)}
        made = await self._api.sessions.create(
            await self._api.sessions.named(self._bot.agent),
            title=f"{self._bot.platform}: {chat.title}"[:200],
            labels=labels,
            key=f"bot:{chat.id}:{self._begun(chat, number)}"[-255:],
        )
        since = number if chat.spans else 0

        def with_span(one: Chat) -> Chat:
            if any(span.session == made.id for span in one.spans):
                return one
            spans = sorted([*one.spans, Span(made.id, since)], key=lambda span: span.since)
            return replace(one, spans=tuple(spans[-_KEPT_SPANS:]))

        letter = new_letter(chat, told) if told else None
        return await self._change(chat.id, with_span, letter, number)

    @staticmethod
    def _begun(chat: Chat, number: int) -> str:
        """Return what names a new session of a chat. Messages that come at once begin one first session together."""
        return f"{number}:{sum(one.since == number for one in chat.spans)}" if chat.spans else "first"

    async def _change(self, id: str, edit: Callable[[Chat], Chat], letter: Letter | None, number: int) -> Chat:
        """Change a chat and write a letter in one commit; neither, if the message of this number was handled."""
        for _ in range(_TRIES):
            chat, revision = await self._records.chat(id)
            if chat is None:
                raise Conflict(f"chat {id!r} was deleted meanwhile")
            edited = edit(chat)
            if edited == chat:
                return chat
            try:
                writes = [put_chat(edited, revision)] + ([] if letter is None else [put_letter(letter, 0)])
                await self._records.documents.write(writes)
                return edited
            except Conflict:
                continue
        raise Conflict(f"chat {id!r} changes too often")

    async def _new(self, chat: Chat, event: Written) -> str:
        if not any(one.since == event.number for one in chat.spans):
            await self.begin(chat, event.number)
        return "A new conversation. What can I do?"

    async def _stop(self, chat: Chat, event: Written) -> str:
        session = _session(chat, event)
        info = await self._api.sessions.get(session)
        await self._api.sessions.control(session, "cancel", key=f"bot:{chat.id}:{event.number}"[-255:], wait=5.0)
        return "There is nothing to stop." if info.phase == "idle" and not info.pending else ""

    async def _cost(self, chat: Chat, event: Written) -> str:
        view = await self._api.sessions.inspect(_session(chat, event))
        cost = view.usage.cost
        money = "an unknown amount" if cost is None else f"{cost / 1e9:.4f} dollars"
        counts = f"{view.turns} turns, {view.steps} steps"
        return f"This conversation has cost {money}: {counts}, session {short(view.info.id)}."

    async def _help(self, chat: Chat, event: Written) -> str:
        return HELP

    async def _approve(self, chat: Chat, event: Written) -> str:
        return await self._decide(chat, event, approve=True)

    async def _reject(self, chat: Chat, event: Written) -> str:
        return await self._decide(chat, event, approve=False)

    async def _decide(self, chat: Chat, event: Written, *, approve: bool) -> str:
        meant = await self._meant(chat, event)
        source = f"{self._bot.platform}:{event.sender.id}"[:256]
        return await answer_meant(self._api, meant, approve=approve, source=source)

    async def _meant(self, chat: Chat, event: Written) -> Meant:
        """Return the question that a message answers. It is noted before it is answered: a message that comes again
        after a crash, or twice at once, would else answer another question, which the person may not have seen."""
        session = _session(chat, event)
        cursor, _ = await self._records.cursor(chat.id, session)
        found = await newest(self._api, session, event.number, cursor.questions)

        def noted(one: Chat) -> Chat:
            known = any(before.number == event.number for before in one.meant)
            return one if known else replace(one, meant=(*one.meant, found)[-_KEPT_MEANT:])

        kept = await self._change(chat.id, noted, None, event.number)
        return next((one for one in kept.meant if one.number == event.number), found)


def _session(chat: Chat, event: Written) -> str:
    found = chat.session_for(event.number)
    if found is None:
        raise NotFound("There is no conversation yet: write something first.")
    return found


def _handled(chat: Chat, number: int) -> Chat:
    if number in chat.handled:
        return chat
    return replace(chat, handled=(*chat.handled, number)[-_KEPT_HANDLED:])
