"""The client's methods for the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from roost.ids import new_id

if TYPE_CHECKING:
    from roost.kernel.settings import Revision, Value
    from roost.kernel.settings_reload import Reloaded, Setting


class ConfigurationClient:
    """The configuration's methods. `call` sends a request, `decode` reads the response. Blocking; raises what they
    raise."""

    def __init__(
        self, call: Callable[..., tuple[int, bytes]], decode: Callable[[tuple[int, bytes], type[Any]], Any]
    ) -> None:
        self._call, self._decode = call, decode

    def settings(self) -> list[Setting]:
        from roost.kernel.settings_reload import Setting

        return self._part(self._call("GET", "/config"), "settings", list[Setting])

    def faults(self) -> dict[str, str]:
        """Return the faults of the files that the daemon could not apply, by file."""
        return self._part(self._call("GET", "/config"), "faults", dict[str, str])

    def patch(self, given: Mapping[str, Value | None], *, by: str) -> Revision:
        from roost.kernel.settings import Revision

        body = {"values": dict(given), "by": by}
        return self._decode(self._call("PATCH", "/config", body=body, again=True), Revision)

    def history(self, *, before: int | None = None, limit: int = 50) -> list[Revision]:
        from roost.kernel.settings import Revision

        answer = self._call("GET", "/config/history", query={"before": before, "limit": limit})
        return self._part(answer, "changes", list[Revision])

    def reload(self) -> Reloaded:
        from roost.kernel.settings_reload import Reloaded

        return self._decode(self._call("POST", "/reload", again=True), Reloaded)

    def move(self, session: str, *, by: str) -> None:
        from urllib.parse import quote

        path = f"/sessions/{quote(session, safe=':')}/move"
        self._call("POST", path, body={"by": by}, key=new_id("key"))

    def _part(self, answer: tuple[int, bytes], name: str, kind: Any) -> Any:
        found: Any = self._decode(answer, dict[str, msgspec.Raw])
        return self._decode((answer[0], bytes(found[name])), kind)
