"""Show what was said as items of the Responses API, in pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from starlette.types import Scope

from roost.doors.digests import call_id
from roost.doors.openai.response_log import Found, Place, ResponseLog
from roost.errors import Invalid
from roost.log import events as ev
from roost.log.content import Audio, Image, ResultPart, Text, UserPart, Video

_LIMIT, _MOST = 20, 100


class Page(NamedTuple):
    """The page of a list that a request asks for."""

    limit: int
    descending: bool
    after: str | None
    before: str | None

    @classmethod
    def of(cls, scope: Scope) -> Page:
        """Read a query. Raises `Invalid`."""
        query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
        limit, order = query.get("limit", str(_LIMIT)), query.get("order", "desc")
        if not (limit.isascii() and limit.isdigit() and len(limit) < 4 and 1 <= int(limit) <= _MOST):
            raise Invalid(f"limit: a page has 1 to {_MOST} items")
        if order not in ("asc", "desc"):
            raise Invalid(f"order: {order[:50]!r} is none of asc, desc")
        return cls(int(limit), order == "desc", query.get("after"), query.get("before"))

    def show(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the page of these items, which are in the order of time. Raises `Invalid`."""
        found = list(reversed(items)) if self.descending else list(items)
        if self.after is not None:
            found = found[_index(found, self.after, "after") + 1 :]
        if self.before is not None:
            found = found[: _index(found, self.before, "before")]
        return _shown(found[: self.limit], more=len(found) > self.limit)

    async def begin(self, items: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
        """Return the page of items that come in its order, from its `after` on. Reads no more of them than it shows.
        Raises `Invalid`."""
        found: list[dict[str, Any]] = []
        most = self.limit + 1 + (self.after is not None)
        async for item in items:
            found.append(item)
            if len(found) == most:
                break
        if self.after is not None:
            found = found[_index(found[:1], self.after, "after") + 1 :]
        return _shown(found[: self.limit], more=len(found) > self.limit)


def _shown(page: Sequence[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return {"object": "list", "data": page, **ends, "has_more": more}


def _index(items: Sequence[dict[str, Any]], id: str, name: str) -> int:
    for index, item in enumerate(items):
        if item["id"] == id:
            return index
    raise Invalid(f"{name}: there is no item {id[:200]!r} here")


async def input_items(log: ResponseLog, found: Found) -> list[dict[str, Any]]:
    """Return what a response answers: a message, or the outputs of calls."""
    if not found.place.step:
        return [message_item(found.place, found.parts)]
    return [output_item(found.place, event) for event in await log.outputs(found)]


def message_item(place: Place, parts: Sequence[UserPart]) -> dict[str, Any]:
    id = f"msg_{place.session}_{place.item}"
    shown = [shown_part(part) for part in parts]
    return {"id": id, "type": "message", "role": "user", "status": "completed", "content": shown}


def output_item(place: Place, event: ev.ToolCompleted) -> dict[str, Any]:
    """Return the outcome of a call that the client ran."""
    texts = "".join(part.text for part in event.parts if isinstance(part, Text))
    plain = all(isinstance(part, Text) for part in event.parts)
    return {
        "id": f"fco_{place.session}_{place.item}.{event.call}",
        "type": "function_call_output",
        "call_id": call_id(place.session, place.item, event.call),
        "output": texts if plain else [shown_part(part) for part in event.parts],
        "status": "completed",
    }


def shown_part(part: UserPart | ResultPart) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "input_text", "text": part.text}
    if isinstance(part, Image):
        url = part.url or f"data:{part.media_type};base64,{part.data}"
        return {"type": "input_image", "detail": "auto", "image_url": url}
    if isinstance(part, Audio | Video):
        format = part.media_type.partition("/")[2]
        return {"type": "input_audio", "input_audio": {"data": part.data, "format": format}}
    shown = {"type": "input_file", "filename": part.name}
    if part.url is not None:
        return {**shown, "file_url": part.url}
    return {**shown, "file_data": f"data:{part.media_type};base64,{part.data}"}
