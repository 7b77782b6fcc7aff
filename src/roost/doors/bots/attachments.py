"""Make the parts of a message of what a person sent: text and files.

A file of a kind that the agent's model takes is a part of the message. Any other one goes into the workspace of the
session, and the message says where it is. A voice message that the model does not take is written down by another
model, if there is one."""

from __future__ import annotations

import asyncio
import base64
import os
import re
from collections.abc import AsyncIterator

from roost.doors.bots.platform import Attachment, Failed, Platform, Refused, Written
from roost.doors.bots.transcription import Transcriber
from roost.errors import RoostError, StoreFailed
from roost.features.bots.bots_file import Bot
from roost.features.uploads.duties import UploadDuties
from roost.features.uploads.events import FileToPlace
from roost.features.uploads.uploads import NewUpload, place
from roost.log.content import Audio, File, Image, Text, UserPart, Video
from roost.models.profile import MediaKind
from roost.server.app_state import Api
from roost.workspace.object_store import ObjectsFailed

_MOST = 12 << 20
"""Bytes of an attachment that goes into the conversation."""
_FETCHES = 4
_PARTS: dict[str, type[Image | Audio | Video | File]] = {"image": Image, "audio": Audio, "video": Video, "file": File}
_TEXTS = ("text/", "application/json", "application/xml", "application/yaml", "application/toml")
_TEXT_MOST = 200_000
_PICTURES = frozenset(("image/jpeg", "image/png", "image/gif", "image/webp"))
_FOLDER = "received"
_UPLOAD_SECONDS = 86_400.0
"""The copy that goes into the workspace is taken from an upload, which is not needed then."""


class Attachments:
    """Reads what people send to one bot."""

    def __init__(self, api: Api, bot: Bot, platform: Platform) -> None:
        self._api, self._bot, self._platform = api, bot, platform
        self._transcriber = Transcriber(api, bot)

    async def parts_of(self, session: str, event: Written, *, named: bool, key: str) -> tuple[UserPart, ...]:
        """Return the parts of a message, and of those that were sent as one with it. named: say who wrote it, as in a
        group. key: of the message. Raises `StoreFailed`."""
        said = "\n".join(text for one in (event, *event.album) if (text := one.text).strip())
        text = f"(corrected) {said}" if event.edit else said
        text = signed(event.sender.name, event.sender.id, text) if named else text
        parts: list[UserPart] = [Text(text)] if text.strip() else []
        found = [one for message in (event, *event.album) for one in message.attachments]
        for number, one in enumerate(found):
            parts += await self._part(session, one, f"{key}:{number}"[-250:])
        return tuple(parts)

    async def _part(self, session: str, one: Attachment, key: str) -> list[UserPart]:
        """Return an attachment as parts; one that cannot be fetched as a text that says so."""
        shown = "a voice message" if one.voice else f"a file, {one.name!r}"
        if one.size > _MOST:
            return [Text(f"[{shown} of {one.size} bytes: too large to read here]")]
        try:
            data = await self._fetched(one)
        except (Refused, Failed) as error:
            return [Text(f"[{shown} that could not be fetched: {error}]")]
        kind = kind_of(one)
        if kind == "file" and one.media_type.startswith(_TEXTS) and len(data) <= _TEXT_MOST:
            try:
                return [Text(f"[{shown}]\n{data.decode()}")]
            except UnicodeDecodeError:
                pass
        if await self._takes(kind):
            encoded = base64.b64encode(data).decode()
            return [Text(f"[{shown}]"), _PARTS[kind](one.media_type, encoded, name=one.name or None)]
        if one.voice and (words := await self._transcriber.written(one, data, key)):
            return [Text(f"[{shown}, written down]\n{words}")]
        return [Text(f"[{shown}: {await self._placed(session, one, data, key)}]")]

    async def _takes(self, kind: MediaKind) -> bool:
        """Whether the agent's model takes media of a kind. What cannot be known is tried."""
        try:
            agent = await self._api.sessions.named(self._bot.agent)
            return self._api.runtime.node.resources.model(agent.spec).profile.takes(kind)
        except StoreFailed:
            raise
        except RoostError:
            return True

    async def _placed(self, session: str, one: Attachment, data: bytes, key: str) -> str:
        """Order a copy of a file into the workspace. Return where it is. Raises `StoreFailed`."""

        async def content() -> AsyncIterator[bytes]:
            yield data

        name = file_name(one)
        uploads = self._api.runtime.node.feature(UploadDuties).uploads
        new = NewUpload(name=name, media_type=one.media_type, key=f"{session}:{key}", seconds=_UPLOAD_SECONDS)
        try:
            kept = await uploads.add(new, content(), most=_MOST)
            path = f"{_FOLDER}/{kept.id[-6:]}-{name}"
            await place(self._api.sessions, session, [FileToPlace(kept.id, path)], key=f"file:{key}"[-255:], wait=0.0)
        except ObjectsFailed as error:
            return f"it could not be stored: {error}"
        return f"in the workspace as {path}"

    async def _fetched(self, one: Attachment) -> bytes:
        for tries in range(_FETCHES):
            try:
                return await self._platform.fetch(one.ref, _MOST)
            except Failed as error:
                if tries == _FETCHES - 1:
                    raise
                await asyncio.sleep(min(error.after or 0.5 * 2**tries, 30.0))
        raise AssertionError("the last try raises or returns")


def kind_of(one: Attachment) -> MediaKind:
    """Return as what a model may take an attachment. A picture that was sent as a file is a picture; one of a type that
    no model takes is a file."""
    if one.media_type in _PICTURES:
        return "image"
    return "file" if one.kind == "image" else one.kind


def file_name(one: Attachment) -> str:
    """Return a name that is safe in any folder."""
    name = re.sub(r"[^\w.() -]", "_", os.path.basename(one.name or "file")).strip(". ")
    return name[-80:] or "file"


def signed(name: str, id: str, text: str) -> str:
    """Return what a person wrote in a group, as theirs: people choose their names, and a message may have lines that
    look like another person's. So the id stands behind the name, and each further line is marked."""
    shown = " ".join("".join(" " if one in "()|:\\" else one for one in name).split())
    shown = f"{shown} ({id})" if shown and shown != id else id
    first, *more = text.splitlines() or [""]
    return "\n".join([f"{shown}: {first}", *(f"| {line}" for line in more)])
