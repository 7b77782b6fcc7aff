"""Events and inputs of this feature."""

from __future__ import annotations

import msgspec

from roost.log.events import Event
from roost.log.inputs import Input


class SentFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """path: relative to the workspace. upload: the id of the copy; empty if there is none. size: bytes. error: why
    there is no copy."""

    path: str
    upload: str = ""
    media_type: str = ""
    size: int = 0
    error: str | None = None


class FilesSent(Event, frozen=True, tag="bot.files"):
    """Files of the workspace that an answer names were copied, for the chat. of: the answer's event."""

    input: int
    of: int
    files: tuple[SentFile, ...]

    @property
    def line(self) -> str:
        there = [one.path for one in self.files if one.error is None]
        failed = [f"{one.path}: {one.error}" for one in self.files if one.error is not None]
        return "; ".join([f"files for the chat: {', '.join(there)}"] * bool(there) + failed)


class SendFilesInput(Input, frozen=True, tag="bot.files"):
    """Copy these files of the workspace for the chat, between turns. of: the event of the answer that names them."""

    of: int
    paths: tuple[str, ...]


EVENTS = (FilesSent,)
INPUTS = (SendFilesInput,)
