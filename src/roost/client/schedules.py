"""The client's methods for schedules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import msgspec

from roost.ids import new_id
from roost.log.schedule_events import ScheduleSpec

if TYPE_CHECKING:
    from roost.kernel.schedules import ScheduleView

T = TypeVar("T")


class _Input(msgspec.Struct):
    input: int


class _Page(msgspec.Struct):
    schedules: list[msgspec.Raw]
    next: str | None = None


class ScheduleClient:
    """The methods of `roost.kernel.schedules.Schedules`, blocking. `call` sends a request, `decode` reads the
    response."""

    def __init__(
        self, call: Callable[..., tuple[int, bytes]], decode: Callable[[tuple[int, bytes], type[Any]], Any]
    ) -> None:
        self._call, self._decode = call, decode

    def set(self, session: str, name: str, spec: ScheduleSpec) -> ScheduleView | None:
        body = msgspec.to_builtins(spec)
        return self._view(self._call("PUT", _path(session, name), body=body, key=new_id("key")))

    def pause(self, session: str, name: str) -> ScheduleView | None:
        return self._view(self._call("POST", f"{_path(session, name)}/pause", key=new_id("key")))

    def resume(self, session: str, name: str) -> ScheduleView | None:
        return self._view(self._call("POST", f"{_path(session, name)}/resume", key=new_id("key")))

    def run(self, session: str, name: str) -> int:
        """Run a schedule once now. Returns the number of the input."""
        return self._decode(self._call("POST", f"{_path(session, name)}/run", key=new_id("key")), _Input).input

    def delete(self, session: str, name: str) -> bool:
        return self._call("DELETE", _path(session, name))[0] == 200

    def get(self, session: str, name: str) -> ScheduleView:
        view = self._view(self._call("GET", _path(session, name)))
        assert view is not None
        return view

    def of(self, session: str) -> list[ScheduleView]:
        return self._page(f"/sessions/{quote(session, safe=':')}/schedules", {})[0]

    def list(self) -> list[ScheduleView]:
        found: list[ScheduleView] = []
        after: str | None = ""
        while after is not None:
            page, after = self._page("/schedules", {"after": after})
            found += page
        return found

    def _page(self, path: str, query: dict[str, Any]) -> tuple[list[ScheduleView], str | None]:
        from roost.kernel.schedules import ScheduleView

        page = self._decode(self._call("GET", path, query=query), _Page)
        return [self._decode((200, bytes(one)), ScheduleView) for one in page.schedules], page.next

    def _view(self, answer: tuple[int, bytes]) -> ScheduleView | None:
        from roost.kernel.schedules import ScheduleView

        return None if answer[0] == 202 else self._decode(answer, ScheduleView)


def _path(session: str, name: str) -> str:
    return f"/sessions/{quote(session, safe=':')}/schedules/{quote(name, safe=':')}"
