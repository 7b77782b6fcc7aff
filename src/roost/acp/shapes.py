"""Parameters that a client sends, as far as they are read. Unknown fields are ignored."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec


class _Params(msgspec.Struct, rename="camel"):
    pass


class FileAbilities(_Params):
    read_text_file: bool | None = None
    write_text_file: bool | None = None


class ElicitationAbilities(_Params):
    """An empty object says that the client shows such a question."""

    form: dict[str, Any] | None = None
    url: dict[str, Any] | None = None


class ClientAbilities(_Params):
    fs: FileAbilities | None = None
    terminal: bool | None = None
    elicitation: ElicitationAbilities | None = None


class Initialize(_Params):
    protocol_version: int
    client_capabilities: ClientAbilities | None = None


class Authenticate(_Params):
    method_id: str


class Named(_Params):
    """A variable of a program, or a header of a request."""

    name: str
    value: str


class McpServer(_Params):
    """type: `http`, `sse`; None for a program."""

    name: str
    type: str | None = None
    command: str | None = None
    args: list[str] = []
    env: list[Named] = []
    url: str | None = None
    headers: list[Named] = []


class NewSession(_Params):
    cwd: str
    mcp_servers: list[McpServer] | None = None


class ListSessions(_Params):
    cwd: str | None = None
    cursor: str | None = None


class OfSession(_Params):
    session_id: str


class OpenSession(OfSession):
    """Parameters of `session/load`, `session/resume` and `session/fork`."""

    cwd: str
    mcp_servers: list[McpServer] | None = None


class SetMode(OfSession):
    mode_id: str


class SetOption(OfSession):
    config_id: str
    value: str


class TextBlock(_Params, tag="text"):
    text: str


class ImageBlock(_Params, tag="image"):
    data: str
    mime_type: str


class AudioBlock(_Params, tag="audio"):
    data: str
    mime_type: str


class LinkBlock(_Params, tag="resource_link"):
    uri: str
    name: str | None = None


class Contents(_Params):
    """Either `text`, or `blob` in base64."""

    uri: str
    text: str | None = None
    blob: str | None = None
    mime_type: str | None = None


class ResourceBlock(_Params, tag="resource"):
    resource: Contents


Block: TypeAlias = TextBlock | ImageBlock | AudioBlock | LinkBlock | ResourceBlock


class Prompt(OfSession):
    """meta: may have `messageId`, by which a repeated prompt is recognized, also by another process."""

    prompt: list[Block]
    message_id: str | None = None
    meta: dict[str, Any] | None = msgspec.field(default=None, name="_meta")

    @property
    def key(self) -> str | None:
        """The idempotency key that the client gave."""
        given = self.message_id or (self.meta or {}).get("messageId")
        return given if isinstance(given, str) and given else None
