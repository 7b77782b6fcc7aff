"""The skills of sessions, and which of those of workspaces are accepted."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol, TypeAlias

from msgspec import Meta

from roost.api.shapes import AcceptedInput, Answer
from roost.operation import DELETE, GET, POST, PUT

SkillUse: TypeAlias = Literal["offered", "asks", "not_chosen", "invalid"]
_Name = Annotated[str, Meta(min_length=1, max_length=256)]
_Digest = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]


class SkillView(Answer):
    """A skill for a session. place: `workspace`, `home`, `user` or `package`. digest: of all its files; empty if it
    cannot be used. use: `offered` to the model; `asks`: from the workspace, and its use asks a person; `not_chosen`: by
    the agent or a person; `invalid`: it cannot be used. problems: what the specification forbids."""

    name: str
    description: str
    place: str
    path: str
    digest: str
    use: SkillUse
    problems: list[str]


class SkillList(Answer):
    skills: list[SkillView]


class AcceptedSkill(Answer):
    """Content of a skill that a person accepted. at: seconds since 1970."""

    digest: str
    name: str
    at: float


class AcceptedSkills(Answer):
    accepted: list[AcceptedSkill]


class SkillsApi(Protocol):
    @GET("/sessions/{session}/skills", errors=(404, 409), right="read")
    async def list(self, session: str) -> SkillList:
        """The skills for a session, as this node finds them now."""
        ...

    @PUT("/sessions/{session}/skills", 202, body="SkillChoice", errors=(404,), right="use")
    async def choose(self, session: str, names: Annotated[list[_Name], Meta(max_length=100)] | None) -> AcceptedInput:
        """Choose which skills a session may use, from its next turn on.

        `names`: globs. They never allow more than the agent's definition; null: what the definition says.
        """
        ...

    @GET("/skills/accepted", right="operate")
    async def accepted(self) -> AcceptedSkills:
        """Skills of workspaces that people have accepted."""
        ...

    @POST("/sessions/{session}/skills/{name}/accept", body="SkillAcceptance", errors=(404, 409), right="operate")
    async def accept(self, session: str, name: _Name, digest: _Digest) -> AcceptedSkill:
        """Accept a skill of the session's workspace, for all sessions.

        `digest`: the one that was shown; a skill that has changed since is not accepted.
        """
        ...

    @DELETE("/skills/accepted/{digest}", 204, errors=(404,), right="operate")
    async def withdraw(self, digest: _Digest) -> None:
        """Withdraw an acceptance: the next use asks again."""
        ...
