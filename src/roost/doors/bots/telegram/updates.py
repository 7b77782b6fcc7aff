"""Read Telegram's updates."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from roost.doors.bots.platform import Address, Attachment, Inbound, Migrated, Person, Pressed, Written

KINDS = ("message", "edited_message", "callback_query")
"""What a bot asks Telegram for."""


class User(msgspec.Struct):
    id: int
    is_bot: bool = False
    first_name: str = ""
    last_name: str = ""
    username: str = ""


class _Chat(msgspec.Struct):
    id: int
    type: str = "private"
    title: str = ""


class _Entity(msgspec.Struct):
    type: str
    offset: int
    length: int
    user: User | None = None


class _File(msgspec.Struct):
    file_id: str
    file_size: int = 0
    mime_type: str = ""
    file_name: str = ""


class _Sticker(msgspec.Struct):
    file_id: str
    emoji: str = ""
    is_animated: bool = False
    is_video: bool = False
    file_size: int = 0


class _Location(msgspec.Struct):
    latitude: float
    longitude: float


class _Venue(msgspec.Struct):
    location: _Location
    title: str = ""
    address: str = ""


class _Contact(msgspec.Struct):
    phone_number: str
    first_name: str = ""
    last_name: str = ""


class _Quoted(msgspec.Struct):
    user: User | None = msgspec.field(name="from", default=None)


class _Message(msgspec.Struct):
    message_id: int
    chat: _Chat
    date: int = 0
    edit_date: int = 0
    message_thread_id: int | None = None
    is_topic_message: bool = False
    sender: User | None = msgspec.field(name="from", default=None)
    text: str = ""
    caption: str = ""
    entities: list[_Entity] = []
    caption_entities: list[_Entity] = []
    reply_to_message: _Quoted | None = None
    media_group_id: str = ""
    migrate_to_chat_id: int | None = None
    photo: list[_File] = []
    document: _File | None = None
    voice: _File | None = None
    audio: _File | None = None
    video: _File | None = None
    video_note: _File | None = None
    animation: _File | None = None
    sticker: _Sticker | None = None
    location: _Location | None = None
    venue: _Venue | None = None
    contact: _Contact | None = None


class _Query(msgspec.Struct):
    id: str
    sender: User = msgspec.field(name="from")
    message: _Message | None = None
    data: str = ""


class _Update(msgspec.Struct):
    update_id: int
    message: _Message | None = None
    edited_message: _Message | None = None
    callback_query: _Query | None = None


class _Numbered(msgspec.Struct):
    update_id: int


class Read(NamedTuple):
    """update: its number. inbound: what it says; None if that is nothing for an agent. album: names what the message
    was sent with."""

    update: int
    inbound: Inbound | None
    album: str = ""


class UpdateReader:
    """Reads updates for one bot. It knows which media groups it has seen a message of."""

    def __init__(self, me: User) -> None:
        self._me = me
        self._group = ""

    def read(self, raw: Any) -> Read:
        """Return what an update says. One of an unknown shape says nothing."""
        try:
            update = msgspec.convert(raw, _Update)
        except msgspec.ValidationError:
            return Read(msgspec.convert(raw, _Numbered).update_id, None)
        inbound = self._inbound(update)
        message = update.message
        album = "" if inbound is None or message is None else message.media_group_id
        return Read(update.update_id, inbound, f"{message.chat.id}/{album}" if message is not None and album else "")

    def album(self, raw: Any) -> bool:
        """Whether an update is a part of an album, so that others may follow."""
        try:
            message = msgspec.convert(raw, _Update).message
        except msgspec.ValidationError:
            return False
        return message is not None and bool(message.media_group_id)

    def _inbound(self, update: _Update) -> Inbound | None:
        if (query := update.callback_query) is not None:
            if query.message is None or query.sender.is_bot:
                return None
            return Pressed(
                number=update.update_id,
                chat=_address(query.message),
                sender=_person(query.sender),
                data=query.data,
                ref=query.id,
            )
        message = update.message or update.edited_message
        if message is not None and message.migrate_to_chat_id is not None:
            return Migrated(number=update.update_id, chat=_address(message), to=str(message.migrate_to_chat_id))
        if message is None or message.sender is None or message.sender.is_bot:
            return None
        text, attachments = _text(message), _attachments(message)
        if not text and not attachments:
            return None  # somebody joined, a title changed
        part = bool(message.media_group_id) and message.media_group_id == self._group
        self._group = message.media_group_id
        return Written(
            number=update.update_id,
            id=f"{message.message_id}:{message.edit_date}" if update.edited_message else str(message.message_id),
            chat=_address(message),
            sender=_person(message.sender),
            text=self._stripped(text),
            meant=message.chat.type == "private" or self._meant(message, text),
            attachments=attachments,
            edit=update.message is None,
            part=part,
        )

    def _meant(self, message: _Message, text: str) -> bool:
        """Whether a message of a group is for the bot."""
        quoted = message.reply_to_message
        if quoted is not None and quoted.user is not None and quoted.user.id == self._me.id:
            return True
        said = text.encode("utf-16-le")
        for one in message.entities or message.caption_entities:
            shown = said[2 * one.offset : 2 * (one.offset + one.length)].decode("utf-16-le", "replace").lower()
            at, name = shown.partition("@")[::2], self._me.username.lower()
            if one.type == "mention" and at[1] == name:
                return True
            if one.type == "text_mention" and one.user is not None and one.user.id == self._me.id:
                return True
            if one.type == "bot_command" and one.offset == 0 and at[1] in ("", name):
                return True
        return False

    def _stripped(self, text: str) -> str:
        """Take the bot's own name out of a text."""
        if not self._me.username:
            return text
        words = text.split(" ")
        own = f"@{self._me.username}".lower()
        words[0] = words[0][: -len(own)] if words[0].startswith("/") and words[0].lower().endswith(own) else words[0]
        return " ".join(word for word in words if word.lower() != own).strip()


def _address(message: _Message) -> Address:
    thread = str(message.message_thread_id) if message.is_topic_message and message.message_thread_id else ""
    group = message.chat.type != "private"
    return Address(str(message.chat.id), thread, group, message.chat.title)


def _person(user: User) -> Person:
    name = " ".join(part for part in (user.first_name, user.last_name) if part) or user.username or str(user.id)
    return Person(str(user.id), name[:100])


def _text(message: _Message) -> str:
    said = message.text or message.caption
    venue, location, contact = message.venue, message.location, message.contact
    if venue is not None:
        at = f"{venue.location.latitude}, {venue.location.longitude}"
        return f"[a place: {venue.title}, {venue.address}, at {at}]"
    if location is not None:
        return f"[a location: {location.latitude}, {location.longitude}]"
    if contact is not None:
        return f"[a contact: {contact.first_name} {contact.last_name}, {contact.phone_number}]"
    if message.sticker is not None and (message.sticker.is_animated or message.sticker.is_video):
        return f"[a sticker: {message.sticker.emoji}]"
    return said


def _attachments(message: _Message) -> tuple[Attachment, ...]:
    found: list[Attachment] = []
    if message.photo:
        best = max(message.photo, key=lambda one: one.file_size)
        found.append(Attachment("image", best.file_id, "image/jpeg", "photo.jpg", best.file_size))
    sticker = message.sticker
    if sticker is not None and not (sticker.is_animated or sticker.is_video):
        found.append(Attachment("image", sticker.file_id, "image/webp", "sticker.webp", sticker.file_size))
    for kind, file, media_type, name in (
        ("audio", message.voice, "audio/ogg", "voice.ogg"),
        ("audio", message.audio, "audio/mpeg", "audio.mp3"),
        ("video", message.video or message.animation, "video/mp4", "video.mp4"),
        ("video", message.video_note, "video/mp4", "video.mp4"),
        ("file", None if message.animation else message.document, "application/octet-stream", "file"),
    ):
        if file is not None:
            shown = file.mime_type or media_type, file.file_name[:200] or name
            found.append(Attachment(kind, file.file_id, *shown, file.file_size, voice=file is message.voice))  # pyright: ignore[reportArgumentType]
    return tuple(found)
