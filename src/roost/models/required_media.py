"""The kinds of media that a model must accept to be chosen."""

from __future__ import annotations

from collections.abc import Sequence

from roost.log.content import AssistantMessage, File, Message, Text, Thinking, ToolCall, UserMessage
from roost.models.compile.media import as_text
from roost.models.profile import MediaKind
from roost.models.wire_body import kind_of

_PLAIN = (Text, Thinking, ToolCall)


def needed(messages: Sequence[Message], since: int = 0) -> frozenset[MediaKind]:
    """Return the kinds in the user's newest messages, from index `since` on, except text files. Older media and tool
    results can become notes for a model that does not accept them (`media_fitting.Fitting`)."""
    kinds: set[MediaKind] = set()
    seen = False
    for message in reversed(messages[since:]):
        if isinstance(message, UserMessage):
            seen = True
            kinds.update(kind_of(part) for part in message.parts if not isinstance(part, Text) and not _is_text(part))
        elif seen:
            break
    return frozenset(kinds)


def shown(messages: Sequence[Message]) -> frozenset[MediaKind]:
    """Return all kinds in the conversation, except those that the model itself made."""
    return frozenset(
        kind_of(part)
        for message in messages
        if not isinstance(message, AssistantMessage)
        for part in message.parts
        if not isinstance(part, _PLAIN)
    )


def _is_text(part: object) -> bool:
    return isinstance(part, File) and isinstance(as_text(part), Text)
