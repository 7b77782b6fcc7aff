"""The tool `read_api_response`, and the port by which it reads."""

from __future__ import annotations

from typing import Annotated

import msgspec

from roost.agent.session import Session
from roost.features.openapi.events import ApiResponse
from roost.features.openapi.state import OpenApiState
from roost.tools.base import ToolContext
from roost.tools.errors import ToolError
from roost.tools.function import tool

_PAGE = 40_000


def part_of(text: str, offset: int, most: int, response: str) -> str:
    """Return a part of a text with a line that says which. response: names it to `read_api_response`."""
    end = min(offset + most, len(text))
    if not offset and end == len(text):
        return text
    rest = "" if end == len(text) else f'; the rest: read_api_response(response="{response}", offset={end})'
    return f"[characters {offset} to {end} of {len(text)}{rest}]\n\n{text[offset:end]}"


class KeptResponses:
    """The port to the kept responses of a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def text(self, response: str) -> str:
        """Return the whole text of a kept response. Raises `ToolError`."""
        at = self._session.state.part(OpenApiState).responses.get(response)
        found = await self._session.means.read(self._session.id, after=at - 1, limit=1) if at else []
        event = found[0].event if found else None
        if not isinstance(event, ApiResponse):
            raise ToolError(f"no response {response!r} is kept; the result of a call names it")
        return event.text


@tool(replay="safe", safety="read_only", inside=True, files=False, early=False, taints=True)
async def read_api_response(
    context: ToolContext,
    response: Annotated[str, "its name, as the result of the call gives it"],
    offset: Annotated[int, msgspec.Meta(ge=0, description="the first character")],
) -> str:
    """Read on in the response of an API that was too long for one result."""
    text = await context.port(KeptResponses).text(response)
    if offset >= len(text):
        raise ToolError(f"the response has {len(text)} characters; offset {offset} is behind its end")
    return part_of(text, offset, _PAGE, response)
