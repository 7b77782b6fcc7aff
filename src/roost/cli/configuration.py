"""The node's configuration, through a daemon or in this process."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from roost.kernel.runtime import Runtime
    from roost.kernel.settings import Revision, Value
    from roost.kernel.settings_reload import Setting


class NodeConfiguration(Protocol):
    """Blocking versions of `roost.kernel.settings_reload.Reloading` and `Sessions.move`."""

    def settings(self) -> list[Setting]: ...

    def patch(self, given: Mapping[str, Value | None], *, by: str) -> Revision: ...

    def history(self, *, before: int | None = None, limit: int = 50) -> list[Revision]: ...

    def move(self, session: str, *, by: str) -> None: ...


class EmbeddedConfiguration:
    """`do`: runs a coroutine on the runtime's loop. `take_up`: lets it process a session, if that starts no turn."""

    def __init__(
        self, runtime: Runtime, do: Callable[[Coroutine[Any, Any, Any]], Any], take_up: Callable[[str], bool]
    ) -> None:
        self._runtime, self._do, self._take_up = runtime, do, take_up

    def settings(self) -> list[Setting]:
        return self._do(self._runtime.configuration.settings())

    def patch(self, given: Mapping[str, Value | None], *, by: str) -> Revision:
        return self._do(self._runtime.configuration.patch(given, by=by))

    def history(self, *, before: int | None = None, limit: int = 50) -> list[Revision]:
        return self._do(self._runtime.configuration.record.history(before=before, limit=limit))

    def move(self, session: str, *, by: str) -> None:
        self._take_up(session)
        self._do(self._runtime.sessions.move(session, by=by))
