"""Fold texts about the environment into a session's state."""

from __future__ import annotations

from roost.agent.state import State, message_of, replace_message
from roost.agent.state_parts import StatePart
from roost.features.environment.events import EnvironmentNoted, InstructionsNoted
from roost.log.content import Message, Text, UserMessage

ENVIRONMENT = "[Now"
"""Prefix of the text about the environment."""
INSTRUCTIONS = "[Instructions in "
"""Prefix of the text of a file with instructions."""


class InstructionsState(StatePart):
    """known: digest of each file with instructions that the model was shown, by path. told: the turn in which it was
    shown the one of the workspace's own folder."""

    restored = ("known", "told")
    known: dict[str, str] = {}
    told: int = 0


def take_noted(state: State, event: EnvironmentNoted) -> None:
    entry = message_of(state, event.turn)
    if entry is not None and isinstance(entry.message, UserMessage) and not noted_in(entry.message):
        replace_message(state, entry, UserMessage((*entry.message.parts, Text(event.text))))


def take_instructions(state: State, event: InstructionsNoted) -> None:
    part = state.part(InstructionsState)
    if event.digest and event.call is None:  # told anew: those of folders are shown again, too, when they are touched
        part.known = {event.path: event.digest}
    elif event.digest:
        part.known[event.path] = event.digest
    else:
        part.known.pop(event.path, None)
    if event.call is None:
        part.told = event.turn
        entry = message_of(state, event.turn)
        if entry is not None and isinstance(entry.message, UserMessage):
            replace_message(state, entry, UserMessage((*entry.message.parts, Text(event.text))))


def noted_in(message: Message, head: str = ENVIRONMENT) -> bool:
    """Whether the message already has a text about the environment, or another one that begins with `head`."""
    parts = message.parts[1:] if isinstance(message, UserMessage) else ()
    return any(isinstance(part, Text) and part.text.startswith(head) for part in parts)


PART = InstructionsState
FOLDS = {EnvironmentNoted: take_noted, InstructionsNoted: take_instructions}
