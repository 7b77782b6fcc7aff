"""Events and inputs of this feature."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from roost.log.events import Event
from roost.log.inputs import Input

SkillPlace: TypeAlias = Literal["workspace", "home", "user", "package"]
"""Where a skill was found: in the session's workspace, in Roost's home, in the home folder of the user that runs Roost,
in an installed package."""


class OfferedSkill(msgspec.Struct, frozen=True, omit_defaults=True):
    """A skill that the model may use. digest: of its `SKILL.md` and of all files beside it. accepted: False for a skill
    of the workspace that no person has accepted; then `description` is empty, since strangers may have written it."""

    name: str
    place: SkillPlace
    digest: str
    description: str = ""
    accepted: bool = True


class SkillsOffered(Event, frozen=True, tag="skills.offered"):
    """The skills that the model may use from now on, told beside the message that began the turn. more: how many found
    no room."""

    turn: int
    skills: tuple[OfferedSkill, ...] = ()
    more: int = 0

    @property
    def line(self) -> str | None:
        return f"skills: {', '.join(one.name for one in self.skills)}" if self.skills else None


class SkillAsked(Event, frozen=True, tag="skill.asked"):
    """A person is asked in the same commit whether the call may use this skill of the workspace: a yes is for this
    digest."""

    call: str
    name: str
    digest: str


class SkillUsed(Event, frozen=True, tag="skill.used"):
    """The model reads the instructions of a skill, or copies its files."""

    call: str
    name: str
    digest: str
    place: SkillPlace
    accepted: bool = True

    @property
    def line(self) -> str:
        return f"uses the skill {self.name}"


class SkillsChosen(Event, frozen=True, tag="skills.chosen"):
    """A person chose which skills the session may use: globs of names. None: those that the agent may use."""

    names: tuple[str, ...] | None = None


class ChooseSkillsInput(Input, frozen=True, tag="skills"):
    """Choose which skills the session may use; fields as in `SkillsChosen`."""

    names: tuple[str, ...] | None = None


EVENTS = (SkillsOffered, SkillAsked, SkillUsed, SkillsChosen)
INPUTS = (ChooseSkillsInput,)
