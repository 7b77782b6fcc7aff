"""The skills of one session: what its model is told, and the port of its tools."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import cache

import msgspec

from roost.agent.definition import AgentSpec
from roost.agent.session import Session
from roost.agent.state import Call, message_of
from roost.agent.tool_offers import ToolOffers
from roost.features.packages.skill_validation import FILES
from roost.features.skills.events import OfferedSkill, SkillAsked, SkillsOffered, SkillUsed
from roost.features.skills.finder import FoundSkill, SkillFinder, fits
from roost.features.skills.folders import Content, Skill, SkillDamaged, content_of
from roost.features.skills.state import SkillsState, is_told
from roost.log import events as ev
from roost.policy.gate import GateCall, Verdict
from roost.tools.builtin import builtin_tool
from roost.tools.errors import ToolError
from roost.workspace.files import Held

TOOLS = ("use_skill", "read_skill_file", "copy_skill")
MOST = 100
"""Most skills that a model is told of."""
ROOM = 16_000
"""Most characters of all descriptions together; above it each is cut."""
_CUT = 160


def uses_skills(spec: AgentSpec) -> bool:
    """Whether the agent has the option `skills`, or lists a tool of skills."""
    return spec.skills is not None or not {*TOOLS}.isdisjoint(spec.tools)


async def usable(session: Session) -> list[FoundSkill]:
    """Return the skills that the session may use, by name, the ones of the workspace without an acceptance too."""
    finder = session.means.find(SkillFinder)
    if finder is None:
        return []
    found = await finder.find(session.means.workspace)
    part, held = session.state.part(SkillsState), _held(session)
    return [
        one
        for one in found
        if one.usable
        and is_chosen(one.skill.name, session.spec, part)
        and not (one.skill.place == "workspace" and held(one.skill))
    ]


def is_chosen(name: str, spec: AgentSpec, part: SkillsState) -> bool:
    """Whether the agent's definition and the person who chose for the session both name the skill."""
    return uses_skills(spec) and all(fits(name, globs) for globs in (spec.skills, part.chosen) if globs is not None)


def _held(session: Session) -> Callable[[Skill], bool]:
    """Return a function that tells whether the policy keeps a skill's files from the agent. The policy is asked for the
    first skill: to ask makes a private workspace."""

    @cache
    def rule() -> Callable[[str], Held | None] | None:
        workspace = session.means.workspace
        return workspace.unseen("read_file", workspace.place)

    def held(skill: Skill) -> bool:
        known = rule()
        return known is not None and any(known(str(skill.folder / name)) is not None for name in FILES)

    return held


async def untrusted(session: Session, found: Sequence[FoundSkill]) -> frozenset[str]:
    """Return the digests of those skills that no person has accepted."""
    ours = {one.digest for one in found if one.skill.place == "workspace"}
    finder = session.means.find(SkillFinder)
    return frozenset(ours) if finder is None or not ours else frozenset(ours) - await finder.accepted(ours)


async def note_at_turn(session: Session) -> None:
    """Tell the model of its skills once, and again when they have changed or left its context. Raises `Interrupted`."""
    turn, part = session.state.turn, session.state.part(SkillsState)
    if turn is None or turn.steps:
        _offer_tools(session)
        return
    found, unknown = await session.interrupts.interruptible(lambda: _looked(session), steer=False)
    offered = _offered(found[:MOST], unknown)
    if offered != part.offered or (offered and not _is_in_context(session, part.told)):
        more = max(0, len(found) - MOST)
        session.log.note(SkillsOffered(at=time.time(), turn=turn.number, skills=offered, more=more))
    _offer_tools(session)


async def _looked(session: Session) -> tuple[list[FoundSkill], frozenset[str]]:
    found = await usable(session)
    return found, await untrusted(session, found)


def _offer_tools(session: Session) -> None:
    """Offer the tools of this feature while there are skills, also to an agent that does not list them."""
    names = TOOLS if session.state.part(SkillsState).offered else ()
    tools = {name: tool for name in names if (tool := builtin_tool(name)) is not None}
    session.own(ToolOffers).offer("skills", tools)


def _is_in_context(session: Session, turn: int) -> bool:
    entry = message_of(session.state, turn)
    return entry is not None and is_told(entry.message)


def _offered(found: Sequence[FoundSkill], unknown: frozenset[str]) -> tuple[OfferedSkill, ...]:
    total = sum(len(one.skill.description) for one in found)
    most = _CUT if total > ROOM else ROOM
    return tuple(
        OfferedSkill(
            one.skill.name,
            one.skill.place,
            one.digest,
            "" if one.digest in unknown else one.skill.description[:most],
            one.digest not in unknown,
        )
        for one in found
    )


def pin_question(session: Session, call: Call) -> None:
    """Note which content a question is about that the gate asks for a reason of its own, as a rule may say."""
    part, name = session.state.part(SkillsState), _name_in(call.arguments)
    offered = next((one for one in part.offered if one.name == name and not one.accepted), None)
    if offered is not None and call.call.name in TOOLS and call.call.id not in part.asked:
        session.log.note(SkillAsked(at=time.time(), call=call.call.id, name=name, digest=offered.digest))


def _name_in(arguments: str) -> str:
    """Return the name of a skill in the arguments of a call; empty if there is none, which the tool itself says."""
    try:
        return str(msgspec.json.decode(arguments).get("name", ""))
    except (msgspec.DecodeError, AttributeError):
        return ""


async def judge(session: Session, call: GateCall, verdict: Verdict) -> Verdict:
    """Ask a person before the first use of a skill of the workspace that nobody has accepted with its present
    content."""
    name = _name_in(call.arguments)
    found = next((one for one in await usable(session) if one.skill.name == name), None)
    if found is None or found.digest not in await untrusted(session, [found]):
        return verdict
    part = session.state.part(SkillsState)
    if found.digest in part.approved:
        return verdict
    session.log.note(SkillAsked(at=time.time(), call=call.call, name=name, digest=found.digest))
    known = {one.name: one.digest for one in part.offered}.get(name, found.digest)
    changed = ", and changed since the model was told of it" if known != found.digest else ""
    return Verdict(
        "ask",
        f"the skill {name!r} comes from the workspace ({found.skill.shown}, content {found.digest[:12]}), is not"
        f" accepted{changed}",
        "system",
        "unaccepted skill",
    )


class CallSkills:
    """The port of a tool call to the session's skills."""

    def __init__(self, session: Session, call: str) -> None:
        self._session, self._call = session, call
        self._uses: list[SkillUsed] = []

    async def read(self, name: str, keep: Callable[[str], bool]) -> tuple[Skill, Content]:
        """Return a skill, and those of its files that `keep` names. Raises `ToolError`."""
        found = {one.skill.name: one for one in await usable(self._session)}
        if name not in found:
            known = ", ".join(found) or "none"
            raise ToolError(f"there is no skill {name!r}; the skills are: {known}")
        skill = found[name].skill
        inside = self._session.means.workspace if skill.place == "workspace" else None
        try:
            content = await asyncio.to_thread(content_of, skill.folder, inside, keep)
        except SkillDamaged as error:
            raise ToolError(f"the skill {name!r} cannot be used: {error.message}") from None
        if inside is not None and (held := inside.unseen("read_file", inside.place)) is not None:
            seen = {one.path for one in content.files if held(str(skill.folder / one.path)) != "deny"}
            files = [one for one in content.files if one.path in seen]
            content = content._replace(files=files, kept={k: v for k, v in content.kept.items() if k in seen})
        accepted = await self._check(skill, content.digest)
        event = SkillUsed(
            at=time.time(), call=self._call, name=name, digest=content.digest, place=skill.place, accepted=accepted
        )
        self._uses.append(event)
        return skill, content

    async def _check(self, skill: Skill, digest: str) -> bool:
        """Return whether a person has accepted this content. Raises `ToolError` unless the session may use it."""
        if not await untrusted(self._session, [FoundSkill(skill, digest)]):
            return True
        part = self._session.state.part(SkillsState)
        if digest not in part.approved and part.asked.get(self._call) != digest:
            raise ToolError(f"the skill {skill.name!r} has changed just now; call the tool again")
        return False

    def settle(self, *, ok: bool) -> None:
        """Note the uses in the commit of the call's outcome. What a skill that nobody has accepted says taints the
        session."""
        for use in self._uses if ok else ():
            self._session.log.note(use)
        if any(not use.accepted for use in self._uses) and self._session.state.tainted is None:
            self._session.log.note(ev.SessionTainted(at=time.time(), by="skill"))
