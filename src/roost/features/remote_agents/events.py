"""Events of this feature."""

from __future__ import annotations

from roost.log.events import Event


class RemoteTaskBegan(Event, frozen=True, tag="remote_agent.task"):
    """A remote agent works on a task. call: that asked it. key: of the call, the same for every attempt. task, context:
    as the remote agent names them."""

    agent: str
    call: str
    key: str
    task: str
    context: str = ""

    @property
    def line(self) -> str:
        return f"the remote agent {self.agent} works on task {self.task}"


EVENTS = (RemoteTaskBegan,)
