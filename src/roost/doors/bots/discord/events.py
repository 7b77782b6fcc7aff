"""Read what Discord's gateway and API say of messages and interactions."""

from __future__ import annotations

import calendar
import re
from datetime import datetime
from typing import Any

import msgspec

from roost.doors.bots.platform import Address, Attachment, Inbound, Person, Pressed, Written

_EPOCH = 1_420_070_400_000
_KINDS = {"image": "image", "audio": "audio", "video": "video"}
_MENTION = re.compile(r"<(@!?|@&|#)(\d+)>")
_EMOJI = re.compile(r"<a?(:\w+:)\d+>")
_DEFAULT, _REPLY = 0, 19
_COMPONENT, _COMMAND = 3, 2
_VOICE = 1 << 13


class _User(msgspec.Struct):
    id: str
    username: str = ""
    global_name: str | None = None
    bot: bool = False

    @property
    def person(self) -> Person:
        return Person(self.id, self.global_name or self.username or self.id)


class _File(msgspec.Struct):
    url: str
    filename: str = "file"
    content_type: str | None = None
    size: int = 0


class _Parent(msgspec.Struct):
    author: _User | None = None


class _Message(msgspec.Struct):
    id: str
    channel_id: str
    author: _User | None = None
    guild_id: str | None = None
    content: str = ""
    type: int = _DEFAULT
    flags: int = 0
    webhook_id: str | None = None
    edited_timestamp: str | None = None
    mentions: list[_User] = []
    attachments: list[_File] = []
    referenced_message: _Parent | None = None


class _Member(msgspec.Struct):
    user: _User | None = None


class _Choice(msgspec.Struct):
    custom_id: str = ""
    name: str = ""


class _Interaction(msgspec.Struct):
    id: str
    type: int
    token: str
    data: _Choice = msgspec.field(default_factory=_Choice)
    channel_id: str | None = None
    guild_id: str | None = None
    user: _User | None = None
    member: _Member | None = None


def written(raw: msgspec.Raw | Any, me: str, *, edit: bool = False, group: bool | None = None) -> Written | None:
    """Return what a message says; None if it is nothing for a bot. group: it is known that it is none, or one: messages
    that were asked for do not say so."""
    message = msgspec.json.decode(raw, type=_Message) if isinstance(raw, msgspec.Raw) else _converted(raw)
    author = message.author
    strange = message.type not in (_DEFAULT, _REPLY) or message.webhook_id is not None
    if author is None or author.bot or author.id == me or strange or (edit and not message.edited_timestamp):
        return None
    in_group = message.guild_id is not None if group is None else group
    parent = message.referenced_message
    to_me = any(one.id == me for one in message.mentions)
    to_me = to_me or (parent is not None and parent.author is not None and parent.author.id == me)
    changed = message.edited_timestamp if edit else None
    voice = bool(message.flags & _VOICE)
    found = Written(
        number=int(message.id) if changed is None else _snowflake(changed),
        id=message.id if changed is None else f"{message.id}:{changed}",
        chat=Address(message.channel_id, "", in_group),
        sender=author.person,
        text=_plain(message, me),
        meant=not in_group or to_me,
        attachments=tuple(_attachment(one, voice=voice) for one in message.attachments),
        edit=edit,
    )
    return found if found.text or found.attachments else None


def interaction(raw: msgspec.Raw) -> Inbound | None:
    """Return the press of a button, or a command as a message."""
    found = msgspec.json.decode(raw, type=_Interaction)
    user = found.user or (found.member.user if found.member is not None else None)
    if user is None or found.channel_id is None or found.type not in (_COMPONENT, _COMMAND):
        return None
    chat, number = Address(found.channel_id, "", found.guild_id is not None), int(found.id)
    if found.type == _COMPONENT:
        ref = f"{found.id}/{found.token}"
        return Pressed(number=number, chat=chat, sender=user.person, data=found.data.custom_id, ref=ref)
    return Written(number=number, id=found.id, chat=chat, sender=user.person, text=f"/{found.data.name}")


def reference(raw: msgspec.Raw) -> str:
    """Return the id and token of an interaction, as `Pressed.ref` has them."""
    found = msgspec.json.decode(raw, type=_Interaction)
    return f"{found.id}/{found.token}"


def _converted(raw: Any) -> _Message:
    return msgspec.convert(raw, _Message)


def _plain(message: _Message, me: str) -> str:
    names = {one.id: one.person.name for one in message.mentions}

    def shown(found: re.Match[str]) -> str:
        if found[2] == me and found[1] in ("@", "@!"):
            return ""
        return f"@{names[found[2]]}" if found[2] in names else f"{found[1][0]}{found[2]}"

    return _EMOJI.sub(r"\1", _MENTION.sub(shown, message.content)).strip()


def _attachment(one: _File, *, voice: bool) -> Attachment:
    media = (one.content_type or "application/octet-stream").partition(";")[0]
    kind: Any = _KINDS.get(media.partition("/")[0], "file")
    return Attachment(kind, one.url, media, one.filename[:200], one.size, voice=voice and kind == "audio")


def _snowflake(moment: str) -> int:
    """Return a time as the number that a message of that moment would have."""
    at = datetime.fromisoformat(moment)
    millis = calendar.timegm(at.utctimetuple()) * 1000 + at.microsecond // 1000
    return (millis - _EPOCH) << 22
