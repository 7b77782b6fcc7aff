"""Call Discord's REST API within its limits of rates. Each route has a bucket; the headers of its answers tell how much
is left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from roost.doors.bots.platform import Failed, OutFile, Refused, Unauthorized
from roost.version import version

if TYPE_CHECKING:
    import aiohttp

URL = "https://discord.com/api/v10"
_SECONDS = 30.0
_ROUTES = 2000
"""Routes whose limits are remembered."""


class _Fault(msgspec.Struct):
    message: str = ""
    code: int = 0
    retry_after: float | None = None
    is_global: bool = msgspec.field(default=False, name="global")


class Rest:
    """The methods that one bot calls. The token is in no error."""

    def __init__(self, token: str, url: str) -> None:
        self.url, self._token = url.rstrip("/"), token
        self._session: aiohttp.ClientSession | None = None
        self._free: dict[str, float] = {}
        """When a route may be called again."""
        self._all_free = 0.0

    async def call(self, method: str, path: str, body: Any = None, *, files: Sequence[OutFile] = ()) -> Any:
        """Return the decoded answer, None for an empty one. path: its first three parts are its route's. files: go with
        the body. Raises `Failed`, `Refused`."""
        import aiohttp

        route = f"{method} {'/'.join(path.split('/')[:4])}"
        await asyncio.sleep(max(self._free.get(route, 0.0), self._all_free) - time.monotonic())
        given = {"data": _form(body, files)} if files else {} if body is None else {"json": body}
        try:
            async with self.client().request(
                method, f"{self.url}{path}", headers={"Authorization": f"Bot {self._token}"}, **given
            ) as response:
                self._note(route, response.headers)
                data = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Failed(f"{method} {_shown(path)}: {type(error).__name__}") from None
        return self._result(f"{method} {_shown(path)}", route, response.status, data)

    def _result(self, what: str, route: str, status: int, data: bytes) -> Any:
        if 200 <= status < 300:
            try:
                return msgspec.json.decode(data) if data else None
            except msgspec.DecodeError:
                raise Failed(f"{what}: an answer that is no JSON") from None
        try:
            fault = msgspec.json.decode(data, type=_Fault)
        except msgspec.MsgspecError:
            fault = _Fault()
        why = f"{what}: HTTP {status} {fault.code or ''} {fault.message}".rstrip()
        match status:
            case 401:
                raise Unauthorized(why)
            case 429:
                wait = fault.retry_after
                if wait is not None and fault.is_global:
                    self._all_free = time.monotonic() + wait
                raise Failed(why, wait)
            case _ if 400 <= status < 500 and status != 408:
                raise Refused(why)
            case _:
                raise Failed(why)

    def _note(self, route: str, headers: Any) -> None:
        """Remember when a route may be called again whose bucket is used up."""
        after = headers.get("x-ratelimit-reset-after", "")
        if headers.get("x-ratelimit-remaining") == "0" and after.replace(".", "", 1).isdigit():
            if len(self._free) >= _ROUTES:
                now = time.monotonic()
                self._free = {name: free for name, free in self._free.items() if free > now}
            self._free[route] = time.monotonic() + float(after[:12])

    def client(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            agent = {"User-Agent": f"DiscordBot (https://pypi.org/project/roost-runtime, {version()})"}
            limits = aiohttp.ClientTimeout(total=_SECONDS)
            self._session = aiohttp.ClientSession(headers=agent, cookie_jar=aiohttp.DummyCookieJar(), timeout=limits)
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _form(body: Any, files: Sequence[OutFile]) -> Any:
    import aiohttp

    form = aiohttp.FormData()
    form.add_field("payload_json", msgspec.json.encode(body).decode(), content_type="application/json")
    for place, one in enumerate(files):
        form.add_field(f"files[{place}]", one.data, filename=one.name, content_type=one.media_type)
    return form


def _shown(path: str) -> str:
    """Return a path without the token of an interaction."""
    return "/interactions/…" if path.startswith("/interactions/") else path.partition("?")[0]
