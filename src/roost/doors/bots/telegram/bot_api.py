"""Call Telegram's Bot API."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from roost.doors.bots.platform import Failed, Malformed, Moved, OutFile, Refused, Unauthorized
from roost.version import version

if TYPE_CHECKING:
    import aiohttp

URL = "https://api.telegram.org"
_SECONDS, _UPLOAD_SECONDS = 30.0, 300.0
_MORE = 15.0
"""Seconds beyond those of a long poll."""
_ANSWER = 16 << 20
_CHUNK = 64 * 1024


class _Parameters(msgspec.Struct, frozen=True):
    retry_after: float | None = None
    migrate_to_chat_id: int | None = None


class _Answer(msgspec.Struct):
    ok: bool
    result: msgspec.Raw = msgspec.Raw(b"null")
    error_code: int = 0
    description: str = ""
    parameters: _Parameters = _Parameters()


_CONTENT = re.compile(r"(?i)entit|parse|\burl\b|button|photo_|image_process|wrong type of the web page")
"""What Telegram says of a content that it does not take, though it may take the text or the file without it."""
_answer = msgspec.json.Decoder(_Answer)


class BotApi:
    """The methods of one bot. url: of the server, which may be one's own. The token is in no error."""

    def __init__(self, token: str, url: str = URL) -> None:
        self._token, self._url = token, url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def call(self, method: str, *, wait: float = 0.0, **given: Any) -> Any:
        """Call a method and return its result, decoded. wait: seconds of a long poll. Raises `Failed`, `Refused`."""
        body = {name: value for name, value in given.items() if value is not None}
        return await self._post(method, wait + _MORE if wait else _SECONDS, json=body)

    async def upload(self, method: str, field: str, file: OutFile, **given: Any) -> Any:
        """Call a method with a file, as a form. Raises `Failed`, `Refused`."""
        import aiohttp

        form = aiohttp.FormData()
        for name, value in given.items():
            if value is not None:
                form.add_field(name, msgspec.json.encode(value).decode())
        form.add_field(field, file.data, filename=file.name, content_type=file.media_type)
        return await self._post(method, _UPLOAD_SECONDS, data=form)

    async def _post(self, method: str, seconds: float, **body: Any) -> Any:
        import aiohttp

        limits = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._open().post(f"{self._url}/bot{self._token}/{method}", timeout=limits, **body) as response:
                data = await response.content.read(_ANSWER)
                while not response.content.at_eof() and len(data) < _ANSWER:
                    data += await response.content.read(_ANSWER - len(data))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Failed(f"{method}: {type(error).__name__}") from None
        return self._result(method, response.status, data)

    def _result(self, method: str, status: int, data: bytes) -> Any:
        try:
            answer = _answer.decode(data)
        except msgspec.MsgspecError:  # a proxy answers, or half an answer came
            raise Failed(f"{method}: HTTP {status} without an answer of the Bot API") from None
        if answer.ok:
            return msgspec.json.decode(answer.result)
        why = f"{method}: {answer.error_code or status} {answer.description}".replace(self._token, "…")
        match answer.error_code or status:
            case 401 | 404:
                raise Unauthorized(why)
            case 400 if (moved := answer.parameters.migrate_to_chat_id) is not None:
                raise Moved(why, str(moved))
            case 400 if _CONTENT.search(answer.description):
                raise Malformed(why)
            case 400 | 403 | 413:
                raise Refused(why)
            case _:
                raise Failed(why, answer.parameters.retry_after)

    async def download(self, path: str, most: int) -> bytes:
        """Return a file that `getFile` has named. Raises `Failed`, `Refused` above `most` bytes."""
        import aiohttp

        data = bytearray()
        limits = aiohttp.ClientTimeout(total=120.0)
        try:
            async with self._open().get(f"{self._url}/file/bot{self._token}/{path}", timeout=limits) as response:
                if response.status != 200:
                    raise Refused(f"a file: HTTP {response.status}")
                async for chunk in response.content.iter_chunked(_CHUNK):
                    data += chunk
                    if len(data) > most:
                        raise Refused(f"a file of more than {most} bytes")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Failed(f"a file: {type(error).__name__}") from None
        return bytes(data)

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            agent = {"User-Agent": f"roost/{version()}"}
            self._session = aiohttp.ClientSession(headers=agent, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
