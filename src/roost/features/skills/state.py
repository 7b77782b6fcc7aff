"""Fold events of skills into a session's state."""

from __future__ import annotations

from collections.abc import Sequence

from roost.agent.state import State, message_of, replace_message
from roost.agent.state_parts import StatePart
from roost.features.skills.events import OfferedSkill, SkillAsked, SkillsChosen, SkillsOffered, SkillUsed
from roost.log import events as ev
from roost.log.content import Message, Text, UserMessage
from roost.memory.quoting import quoted

HEAD = "[Skills: instructions for special tasks."


class SkillsState(StatePart):
    """offered: what the model was told. told: the turn when it was. chosen: globs of the skills that a person lets the
    session use. asked: digest of the skill that each open question to a person is about, by call. approved: digests of
    skills of the workspace that a person let this session use: a rollback undoes a later yes, and a fork has none."""

    restored = ("offered", "told", "asked", "approved")
    offered: tuple[OfferedSkill, ...] = ()
    told: int = 0
    chosen: tuple[str, ...] | None = None
    asked: dict[str, str] = {}
    approved: tuple[str, ...] = ()


def take_offered(state: State, event: SkillsOffered) -> None:
    part = state.part(SkillsState)
    part.offered, part.told = event.skills, event.turn
    entry = message_of(state, event.turn)
    if entry is not None and isinstance(entry.message, UserMessage):
        replace_message(state, entry, UserMessage((*entry.message.parts, Text(shown(event.skills, event.more)))))


def is_told(message: Message) -> bool:
    """Whether the message tells the model of skills."""
    parts = message.parts[1:] if isinstance(message, UserMessage) else ()
    return any(isinstance(part, Text) and part.text.startswith(HEAD) for part in parts)


def shown(skills: Sequence[OfferedSkill], more: int) -> str:
    """Return what the model is told."""
    if not skills:
        return f"{HEAD} There are none now.]"
    known = [f"- {one.name}: {quoted(one.description)}" for one in skills if one.accepted]
    unknown = ", ".join(one.name for one in skills if not one.accepted)
    lines = [f"{HEAD} When a task fits one, call use_skill with its name before you begin.", *known]
    if unknown:
        lines.append(f"From files of the workspace, and not accepted by a person yet: {unknown}. Their use asks one.")
    if more:
        lines.append(f"{more} more are not listed.")
    return "\n".join(lines) + "]"


def _asked(state: State, event: SkillAsked) -> None:
    state.part(SkillsState).asked[event.call] = event.digest


def _used(state: State, event: SkillUsed) -> None:
    """A call about which a person was asked runs only after a yes: the session may use this content again."""
    part = state.part(SkillsState)
    if part.asked.get(event.call) == event.digest and event.digest not in part.approved:
        part.approved = (*part.approved, event.digest)


def _chosen(state: State, event: SkillsChosen) -> None:
    state.part(SkillsState).chosen = event.names


def _ended(state: State, event: ev.TurnCompleted) -> None:
    state.part(SkillsState).asked.clear()


def _imported(state: State, event: ev.SessionImported) -> None:
    part = state.part(SkillsState)
    part.asked, part.approved, part.chosen = {}, (), None


def _forked(state: State, event: ev.SessionForked) -> None:
    part = state.part(SkillsState)
    part.asked, part.approved = {}, ()


PART = SkillsState
FOLDS = {SkillsOffered: take_offered, SkillAsked: _asked, SkillUsed: _used, SkillsChosen: _chosen}
WATCHES = {ev.TurnCompleted: _ended, ev.SessionImported: _imported, ev.SessionForked: _forked}
