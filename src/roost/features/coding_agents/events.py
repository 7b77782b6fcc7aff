"""Events of this feature."""

from __future__ import annotations

from roost.log.events import Event


class ProgramPrompted(Event, frozen=True, tag="coding_agent.prompted"):
    """A coding agent is started and told something. program: its name. thread: its own conversation; empty if it is to
    begin one and name it itself. told: how many messages of this turn it has been told, this time included. folder: of
    the session in `.roost-agent` of the workspace."""

    program: str
    thread: str = ""
    told: int = 0
    folder: str = ""

    @property
    def line(self) -> str:
        return f"{self.program} works on it" + (f" (its conversation {self.thread})" if self.thread else "")


class ProgramThread(Event, frozen=True, tag="coding_agent.thread"):
    """A coding agent named the conversation that it began. thread: by which it resumes it."""

    program: str
    thread: str


EVENTS = (ProgramPrompted, ProgramThread)
