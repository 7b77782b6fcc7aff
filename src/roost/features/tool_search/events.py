"""Events of this feature."""

from __future__ import annotations

from roost.log.events import Event


class ToolsFound(Event, frozen=True, tag="tools.found"):
    """The model has searched for tools, or called one that was not offered: from the next step on these are offered.
    names: the best first."""

    names: tuple[str, ...]

    @property
    def line(self) -> str:
        return f"offers {', '.join(self.names)}"


EVENTS = (ToolsFound,)
