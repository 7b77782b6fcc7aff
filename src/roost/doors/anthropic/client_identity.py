"""Who sends a request, and for which of its own conversations."""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec
from starlette.types import Scope

from roost.doors.anthropic.message_request import MessageRequest
from roost.server.request_body import header

_OLD = re.compile(r"user_(?P<device>\w+?)_account_(?P<account>[\w-]*?)_session_(?P<session>[\w-]+)")


class Client(NamedTuple):
    """user: the end user; empty if the client names none. thread: what Claude Code calls its session. Its helpers and
    its own small requests have the same one."""

    user: str
    thread: str


class _UserId(msgspec.Struct):
    """`metadata.user_id` of Claude Code."""

    device_id: str = ""
    account_uuid: str = ""
    session_id: str = ""


def client_of(request: MessageRequest, scope: Scope) -> Client:
    """Return what the request says of its sender, by `metadata.user_id` and `X-Claude-Code-Session-Id`."""
    given = (request.metadata and request.metadata.user_id) or ""
    thread = header(scope, b"x-claude-code-session-id") or ""
    if given.startswith("{"):
        try:
            read = msgspec.json.decode(given, type=_UserId)
        except (msgspec.MsgspecError, RecursionError):
            return Client(given, thread)
        return Client(read.account_uuid or read.device_id, thread or read.session_id)
    if (old := _OLD.fullmatch(given)) is not None:
        return Client(old["account"] or old["device"], thread or old["session"])
    return Client(given, thread)
