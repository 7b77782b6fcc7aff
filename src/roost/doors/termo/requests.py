"""The bodies of termo-agent's requests."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from roost.log.facts import Category

SESSION_KEY = 256
"""Most characters of a session's key."""


class Send(msgspec.Struct):
    message: str = ""
    session_key: Annotated[str, Meta(min_length=1, max_length=SESSION_KEY)] = "api:direct"
    stream: bool = False


class Change(msgspec.Struct):
    """Of memory or heartbeat."""

    content: Any = None


class MemoryOrder(msgspec.Struct):
    """A change of the memory, as its `content`, an object or the JSON of one."""

    operation: str = ""
    content: str = ""
    category: Category | None = None
    query: str = ""


class Search(msgspec.Struct):
    query: str = ""
    limit: Annotated[int, Meta(ge=1, le=100)] = 5
    category: Category | None = None
