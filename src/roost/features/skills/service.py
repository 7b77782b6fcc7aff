"""The skills of sessions, from a running node."""

from __future__ import annotations

from roost.agent.definition import AgentSpec, decode_spec
from roost.api.shapes import AcceptedInput
from roost.errors import Conflict, NotFound
from roost.features.skills.acceptances import Acceptance
from roost.features.skills.api import AcceptedSkill, AcceptedSkills, SkillList, SkillsApi, SkillUse, SkillView
from roost.features.skills.duties import SkillsDuties
from roost.features.skills.events import ChooseSkillsInput
from roost.features.skills.finder import FoundSkill
from roost.features.skills.session_skills import is_chosen
from roost.features.skills.state import SkillsState
from roost.kernel.service_host import ServiceHost


class Skills(SkillsApi):
    def __init__(self, host: ServiceHost) -> None:
        self._node, self._sessions = host.node, host.sessions
        self._duties = host.node.feature(SkillsDuties)

    async def list(self, session: str) -> SkillList:
        """As the interface says. Raises `NotFound`."""
        found, spec, part = await self._found(session)
        theirs = [one.digest for one in found if one.skill.place == "workspace" and one.usable]
        accepted = await self._duties.acceptances.which(theirs)
        return SkillList(skills=[_view(one, spec, part, one.digest in accepted) for one in found])

    async def choose(self, session: str, names: list[str] | None) -> AcceptedInput:
        order = ChooseSkillsInput(None if names is None else tuple(names))
        accepted = await self._sessions.put(session, order)
        return AcceptedInput(input=accepted.id, duplicate=accepted.duplicate, head=accepted.head)

    async def accepted(self) -> AcceptedSkills:
        return AcceptedSkills(accepted=[_accepted(one) for one in await self._duties.acceptances.all()])

    async def accept(self, session: str, name: str, digest: str) -> AcceptedSkill:
        """As the interface says. Raises `NotFound`, and `Conflict` (`skill_changed`)."""
        found, _, _ = await self._found(session)
        one = next((each for each in found if each.skill.name == name and each.usable), None)
        if one is None or one.skill.place != "workspace":
            raise NotFound(f"the workspace of session {session!r} has no skill {name!r}")
        if one.digest != digest:
            raise Conflict(f"the skill {name!r} has changed: look at it again", code="skill_changed")
        return _accepted(await self._duties.acceptances.add(digest, name))

    async def withdraw(self, digest: str) -> None:
        await self._duties.acceptances.remove(digest)

    async def _found(self, session: str) -> tuple[list[FoundSkill], AgentSpec, SkillsState]:
        info, state = await self._sessions.state(session)
        workspace = self._node.resources.workspace(session, info.workspace)
        found = await self._duties.finder.find(workspace)
        return found, decode_spec(bytes(state.spec)), state.part(SkillsState)


def _accepted(one: Acceptance) -> AcceptedSkill:
    return AcceptedSkill(digest=one.digest, name=one.name, at=one.at)


def _view(one: FoundSkill, spec: AgentSpec, part: SkillsState, accepted: bool) -> SkillView:
    use: SkillUse = "offered"
    if not one.usable:
        use = "invalid"
    elif not is_chosen(one.skill.name, spec, part):
        use = "not_chosen"
    elif one.skill.place == "workspace" and not accepted and one.digest not in part.approved:
        use = "asks"
    return SkillView(
        name=one.skill.name,
        description=one.skill.description,
        place=one.skill.place,
        path=one.skill.shown,
        digest=one.digest,
        use=use,
        problems=[*one.skill.problems],
    )


SERVICE = Skills
