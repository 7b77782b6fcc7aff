"""Sessions: create, find, inspect, control, delete; their logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from roost.api.shapes import LABEL_QUERY, Answer, Labels, ModelName, Name, Position
from roost.log.session_info import ControlAction, SessionInfo, SessionState
from roost.operation import DELETE, GET, POST

if TYPE_CHECKING:
    from roost.agent.definition import AgentSpec
    from roost.api.session_contents import EventPage, Transcript
    from roost.log.session_views import SessionView

LATER = {
    "AgentSpec": "roost.agent.definition",
    "Event": "roost.log.events",
    "EventPage": "roost.api.session_contents",
    "SessionView": "roost.log.session_views",
    "Transcript": "roost.api.session_contents",
}


class SessionPage(Answer):
    """Newest first. `next`: the `before` of the next page."""

    sessions: list[SessionInfo]
    next: str | None


_AIM = {"start": "running", "resume": "running", "pause": "paused", "stop": "stopped"}
_LATER = "202: accepted, and not yet in effect"
_CONTROLS = {
    "start": f"Let a session take inputs, again if it was stopped or failed. {_LATER}",
    "pause": f"Stop after what is going on now, and keep it; inputs wait. {_LATER}",
    "resume": f"Go on where a pause or an error left off. {_LATER}",
    "cancel": f"End the running turn without an answer. {_LATER}",
    "stop": f"End the running turn and take no more inputs. {_LATER}",
    "trust": f"Take what the session has read from outside for harmless. {_LATER}",
}


def _controlled(info: SessionInfo, given: Mapping[str, Any]) -> int:
    action = given["action"]
    reached = info.phase == "idle" if action == "cancel" else info.state == _AIM.get(action)
    return 200 if reached or not info.pending else 202


class SessionsApi(Protocol):
    @POST("/sessions", 201, body="NewSessionBody", errors=(409,), keyed=True, location="id", right="use")
    async def create(
        self,
        agent: Annotated[str, Meta(max_length=128)],
        *,
        model: ModelName | None = None,
        definition: AgentSpec | None = None,
        id: Name | None = None,
        workspace: Annotated[str, Meta(max_length=4096)] | None = None,
        title: Annotated[str, Meta(max_length=1024)] | None = None,
        labels: Labels | None = None,
        key: str | None = None,
    ) -> SessionInfo:
        """Make a session of an agent.

        `model`: replaces the agent's own. `definition`: an agent of this name as data, which the node need not know.
        `workspace`: an absolute path of an existing folder; without it the session gets a private one.
        """
        ...

    @GET("/sessions", right="read")
    async def find(
        self,
        *,
        agent: str | None = None,
        state: SessionState | None = None,
        parent: str | None = None,
        label: Annotated[str, Meta(pattern=LABEL_QUERY)] | None = None,
        before: str | None = None,
        limit: Annotated[int, Meta(ge=1, le=200)] = 50,
        turns: bool = False,
    ) -> SessionPage:
        """Sessions, newest first.

        `label`: `key:value`. `before`: the `next` of the former page. `turns`: also tell how each session's last turn
        ended.
        """
        ...

    @GET("/sessions/{session}", errors=(404,), right="read")
    async def inspect(self, session: str) -> SessionView:
        """A session as its log says it is."""
        ...

    @DELETE("/sessions/{session}", 204, errors=(404, 409), right="use")
    async def delete(self, session: str) -> None:
        """Remove a session, its log and its private files."""
        ...

    @GET("/sessions/{session}/messages", errors=(404,), right="read")
    async def messages(self, session: str) -> Transcript:
        """The transcript in the model's context."""
        ...

    @GET("/sessions/{session}/events", errors=(404, 409), streams=True, shown="EventPage[Event]", right="read")
    async def events(
        self, session: str, *, after: Position = 0, limit: Annotated[int, Meta(ge=1, le=1000)] = 500
    ) -> EventPage[msgspec.Raw]:
        """The log after a position: a page, or as a stream all of it and then what happens.

        `after`: the number of the last event that you have. `deltas` is for streams, `limit` for pages.
        """
        ...

    @POST(
        "/sessions/{session}/{action}",
        (200, 202),
        status=_controlled,
        errors=(404, 409),
        keyed=True,
        each=_CONTROLS,
        query=("input",),
        adopts="control",
        right="use",
    )
    async def control(
        self,
        session: str,
        action: ControlAction,
        *,
        input: int | None = None,
        key: str | None = None,
        wait: float | None = None,
    ) -> SessionInfo:
        """Send an order to a session. Returns it once the order is in effect, or after `wait` seconds.

        `input`: the message that began the turn to cancel; if this turn has ended, no other one is cancelled.
        """
        ...
