"""Fold texts about the environment into a session's state."""

from __future__ import annotations

from roost.agent.state import State, message_of, replace_message
from roost.features.environment.events import EnvironmentNoted
from roost.log.content import Message, Text, UserMessage

ENVIRONMENT = "[Now"
"""Prefix of the text about the environment."""


def take_noted(state: State, event: EnvironmentNoted) -> None:
    entry = message_of(state, event.turn)
    if entry is not None and isinstance(entry.message, UserMessage) and not noted_in(entry.message):
        replace_message(state, entry, UserMessage((*entry.message.parts, Text(event.text))))


def noted_in(message: Message) -> bool:
    """Whether the message already has a text about the environment."""
    parts = message.parts[1:] if isinstance(message, UserMessage) else ()
    return any(isinstance(part, Text) and part.text.startswith(ENVIRONMENT) for part in parts)


FOLDS = {EnvironmentNoted: take_noted}
