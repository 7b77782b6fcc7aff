"""A bot that people write to by e-mail.

What comes in is found by its UID; the store has the UIDVALIDITY and the UID of the newest message that was taken. A
message is known again by its Message-ID. What goes out has a Message-ID that its key gives, so programs that get it
twice show it once."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import html
import itertools
import logging
import re
import time
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import cast

import msgspec
from msgspec.structs import replace

from roost.doors.bots.mail.mailbox import Account, Fetched, Mailbox, Server, send, server_of
from roost.doors.bots.mail.messages import Mail, own_id, read, verified
from roost.doors.bots.platform import Address, Failed, Limits, OutFile, Outgoing, Person, Refused, Take, Written, number
from roost.doors.bots.rich_text import Rich
from roost.errors import ConfigError
from roost.features.bots.bots_file import Bot
from roost.features.bots.positions import Position

log = logging.getLogger("roost.bots")
_OPTIONS = {
    "address",
    "imap",
    "smtp",
    "user",
    "folder",
    "auth_server",
    "unverified",
    "poll_seconds",
    "tls",
    "pace_seconds",
}
_LARGEST = 30 << 20
"""Bytes of a message of which more than the header is read."""
_POLL = 10.0
_DAY = 86_400.0
_LIMITS = Limits(text=60_000, pace=1.0, file=15 << 20)
_POLICY = SMTP.clone(cte_type="7bit", max_line_length=78)
_TAGS = {"bold": "b", "italic": "i", "strike": "s", "code": "code", "pre": "pre", "quote": "blockquote"}
_PLAIN_ADDRESS = re.compile(r"[^\s<>@,;:\"]+@[A-Za-z0-9.-]+")


class _Place(msgspec.Struct):
    """The newest message that was taken. at: when the server got it. began: when the bot had this mailbox first."""

    mailbox: str
    validity: int
    uid: int
    at: float
    began: float = 0.0


class MailBot:
    """One address. token: the password of the mailbox, for both servers."""

    limits = _LIMITS

    def __init__(self, bot: Bot, token: str, hook_secret: str = "") -> None:
        self._address = _text(bot, "address").lower()
        if extra := set(bot.options) - _OPTIONS:
            raise ConfigError(f"bots.{bot.name}: a bot by e-mail has no {min(extra)!r}")
        if not _PLAIN_ADDRESS.fullmatch(self._address):
            raise ConfigError(f"bots.{bot.name}: address: {self._address!r} is no address such as agent@example.org")
        if not token:
            raise ConfigError(f"bots.{bot.name}: token: name the secret with the password of the mailbox")
        folder = str(bot.options.get("folder", "INBOX"))
        if not folder.isascii() or '"' in folder or "\\" in folder or not folder.isprintable():
            raise ConfigError(f"bots.{bot.name}: folder: {folder!r} is no name of a folder")
        self._verifier = str(bot.options.get("auth_server", ""))
        if not self._verifier and bot.options.get("unverified") not in (True, "true"):
            raise ConfigError(
                f"bots.{bot.name}: auth_server: name the server whose Authentication-Results say who has written; "
                "without it anybody can write in anybody's name (unverified = true allows that)"
            )
        imap, smtp = _server(bot, "imap", 993), _server(bot, "smtp", 465)
        self._account = Account(imap, smtp, str(bot.options.get("user", self._address)), token, folder)
        self._mailbox = f"{self._account.user}@{imap.host}:{imap.port}/{folder}"
        self.limits = _LIMITS._replace(pace=number(bot, "pace_seconds", _LIMITS.pace))
        self._poll = number(bot, "poll_seconds", _POLL, 0.05)
        self._position: Position | None = None
        self._box, self._place = Mailbox(self._account), cast("_Place | None", None)
        self._files: dict[str, bytes] = {}

    def keep(self, position: Position) -> None:
        self._position = position

    async def open(self) -> str:
        """Sign in, and note where a new bot begins: it answers nothing that was there before."""
        self._box.close()
        self._box = box = Mailbox(self._account)
        await asyncio.to_thread(box.open)
        self._place = None if self._position is None else await self._position.load(_Place)
        if self._place is None or self._place.mailbox != self._mailbox:
            now = float(int(time.time()))  # servers give whole seconds
            self._place = _Place(self._mailbox, box.validity, max(0, box.next - 1), now, now)
            await self._save(self._place)
        return self._address

    async def receive(self, take: Take) -> None:
        box = self._box
        try:
            place = await self._renumbered(box, take)
            while True:
                for uid in await asyncio.to_thread(box.after, place.uid):
                    place = await self._one(box, uid, place, take)
                await asyncio.sleep(self._poll)
        finally:
            box.close()

    async def _renumbered(self, box: Mailbox, take: Take) -> _Place:
        """Return where to go on. When the server has numbered its messages anew, those of the last days are looked at
        again: those that were taken are known by their ids."""
        assert self._place is not None
        known = self._place
        if known.validity == box.validity:
            return known
        log.warning("%s: the server has numbered its messages anew", self._address)
        for uid in await asyncio.to_thread(box.since, known.at - _DAY):
            await self._taken(box, uid, take, since=known.began)
        place = replace(known, validity=box.validity, uid=max(0, box.next - 1))
        await self._save(place)
        return place

    async def _one(self, box: Mailbox, uid: int, place: _Place, take: Take) -> _Place:
        """Take a message, and move the position behind it."""
        found = await self._taken(box, uid, take)
        place = replace(place, uid=uid, at=found.at if found is not None else place.at)
        await self._save(place)
        return place

    async def _save(self, place: _Place) -> None:
        if self._position is not None:
            await self._position.save(place)

    async def _taken(self, box: Mailbox, uid: int, take: Take, *, since: float = 0.0) -> Fetched | None:
        """Take a message that came since a time. Return it, also if it is not answered."""
        found = await asyncio.to_thread(box.fetch, uid, _LARGEST)
        if found is None or found.at < since:
            return found
        try:
            mail = await asyncio.to_thread(self._read, found)
        except Exception as error:  # the parser of headers raises many kinds; the message must not stop all others
            log.error("%s: message %s is not understood: %s", self._address, uid, error, exc_info=error)
            return found
        if isinstance(mail, str):
            log.info("%s: message %s is not answered: %s", self._address, uid, mail)
            return found
        self._files = mail.files
        await take(_written(mail, found))
        with contextlib.suppress(Failed):  # it is taken; a broken connection shows with the next message
            await asyncio.to_thread(box.mark_seen, uid)
        return found

    def _read(self, found: Fetched) -> Mail | str:
        mail = read(found.raw, self._address)
        if isinstance(mail, Mail) and self._verifier and not verified(found.raw, self._verifier):
            return f"{self._verifier} does not confirm that it is from {mail.sender.rpartition('@')[2]}"
        return mail

    async def send(self, to: Address, message: Outgoing, *, key: str) -> str:
        made = self._made(to, key)
        text = message.rich.text
        if message.buttons:
            text += "\n\nAnswer this message with /approve or /reject."
        made.set_content(text + "\n", charset="utf-8")
        made.add_alternative(_page(message, text[len(message.rich.text) :]), subtype="html", charset="utf-8")
        return await self._sent(to, made)

    def _made(self, to: Address, key: str) -> EmailMessage:
        """Return a message of the bot, without content."""
        if not _PLAIN_ADDRESS.fullmatch(to.id):
            raise Refused(f"{to.id[:60]!r} is no address")
        made = EmailMessage(policy=_POLICY)
        subject = " ".join(to.title.split())[:200] or "Message"
        made["From"], made["To"] = self._address, to.id
        made["Subject"] = subject if subject.lower().startswith("re:") or not to.thread else f"Re: {subject}"
        made["Date"] = formatdate()
        made["Message-ID"] = own_id(key, to.thread or f"<{to.id}>", self._address.rpartition("@")[2])
        if to.thread:
            made["In-Reply-To"] = made["References"] = to.thread
        made["Auto-Submitted"] = "auto-replied"
        made["X-Auto-Response-Suppress"] = "All"
        return made

    async def _sent(self, to: Address, made: EmailMessage) -> str:
        await asyncio.to_thread(send, self._account, self._address, to.id, made)
        return str(made["Message-ID"])

    async def edit(self, to: Address, ref: str, message: Outgoing) -> None:
        raise Refused("an e-mail cannot be changed")

    async def typing(self, to: Address) -> None:
        return None

    async def answer_press(self, ref: str, text: str) -> None:
        return None

    async def fetch(self, ref: str, most: int) -> bytes:
        data = self._files.get(ref)
        if data is None:  # the message waited, perhaps for another node
            data = (await asyncio.to_thread(self._files_again, ref.partition(" ")[2])).get(ref)
        if data is None or len(data) > most:
            raise Refused(f"a file of more than {most} bytes" if data is not None else "a file that is gone")
        return data

    def _files_again(self, id: str) -> dict[str, bytes]:
        """Return the files of a message that was read before. Blocks."""
        box = Mailbox(self._account)
        try:
            box.open()
            uid = box.find(id)
            found = None if uid is None else box.fetch(uid, _LARGEST)
            mail = "" if found is None else read(found.raw, self._address)
            return mail.files if isinstance(mail, Mail) else {}
        finally:
            box.close()

    async def send_file(self, to: Address, file: OutFile, *, quiet: bool, key: str) -> str:
        made = self._made(to, key)
        made.set_content(f"{file.name}\n", charset="utf-8")
        main, _, sub = file.media_type.partition("/")
        made.add_attachment(
            file.data, maintype=main or "application", subtype=sub or "octet-stream", filename=file.name
        )
        return await self._sent(to, made)

    async def close(self) -> None:
        self._box.close()


def _written(mail: Mail, found: Fetched) -> Written:
    order = int(hashlib.blake2b(mail.id.encode(), digest_size=8).hexdigest(), 16) % 1_000_000
    begins = mail.root == mail.id and not mail.text.startswith("/")
    text = f"{mail.subject}\n\n{mail.text}".strip() if begins else mail.text
    if not found.whole:
        text += "\n\n[the message is too large: its content was not read]"
    return Written(
        number=int(found.at) * 1_000_000 + order,
        id=mail.id,
        chat=Address(mail.sender, mail.root, title=mail.subject),
        sender=Person(mail.sender, mail.name),
        text=text.strip(),
        attachments=mail.attachments,
    )


def _page(message: Outgoing, more: str) -> str:
    """Return a message as HTML."""
    rich: Rich = message.rich
    points = sorted({0, len(rich.text), *(one.start for one in rich.spans), *(one.end for one in rich.spans)})
    out: list[str] = []
    for start, end in itertools.pairwise(points):
        piece = html.escape(rich.text[start:end])
        for span in reversed(rich.spans):
            if span.start <= start and end <= span.end:
                link = span.kind == "link"
                opening = f'<a href="{html.escape(span.more)}">' if link else f"<{_TAGS[span.kind]}>"
                piece = f"{opening}{piece}</{'a' if link else _TAGS[span.kind]}>"
        out.append(piece)
    body = "".join(out) + html.escape(more)
    return f'<!doctype html><html><body><div style="white-space:pre-wrap">{body}</div></body></html>\n'


def _text(bot: Bot, name: str) -> str:
    found = bot.options.get(name)
    if not isinstance(found, str) or not found:
        raise ConfigError(f"bots.{bot.name}: a bot by e-mail needs {name}")
    return found


def _server(bot: Bot, name: str, port: int) -> Server:
    try:
        return server_of(_text(bot, name), port, plain=bot.options.get("tls") == "none")
    except ValueError as error:
        raise ConfigError(f"bots.{bot.name}: {name}: {error}") from None


def make(bot: Bot, token: str, hook_secret: str = "") -> MailBot:
    return MailBot(bot, token, hook_secret)
