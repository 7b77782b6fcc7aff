"""Call an operation: send the request, follow what may be followed, repeat what may be repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from roost.agent.openapi_options import OpenApi
from roost.features.openapi.credentials import Need, Signed, Signer, Tokens, scrubbed, with_credentials
from roost.features.openapi.request_building import Draft
from roost.tools.checked_http import Answer, NotSent, ask, judged, parts_of, place_of
from roost.tools.errors import ToolError

RESPONSE_CAP = 8 * 1024 * 1024
"""Most bytes of a response that are read."""
_HOPS = 5
_ATTEMPTS = 3
_PAUSE = 1.0
_LONGEST_PAUSE = 20.0
_REDIRECTS = (301, 302, 303, 307, 308)
_BUSY = (429, 502, 503, 504)
_READS = ("GET", "HEAD")


class Called(NamedTuple):
    """The answer to a call. url: the one that answered, without query. notes: for the model. masked: values of
    credentials, which must not be shown."""

    answer: Answer
    url: str
    notes: tuple[str, ...]
    masked: tuple[str, ...]


class Caller:
    """Send the requests of an API. base: of the operation's server, to whose host all of its requests go."""

    def __init__(self, api: OpenApi, signer: Signer, tokens: Tokens, base: str) -> None:
        self._api, self._signer, self._tokens, self._base = api, signer, tokens, base

    async def call(self, draft: Draft, needs: tuple[Need, ...], *, repeatable: bool) -> Called:
        """Send a request. repeatable: sent twice it has the effect of once, so it may be sent again after a failure.
        Raises `ToolError`, for the model, without secrets."""
        deadline = asyncio.get_running_loop().time() + self._api.seconds
        renewed = False
        for attempt in range(1, _ATTEMPTS + 1):
            signed = await self._signer.sign(needs, self._base)
            sent = with_credentials(draft, signed)
            try:
                called = await self._follow(sent, signed, deadline)
            except ToolError as error:
                gone_wrong = _said(error, signed, repeatable)
                again = isinstance(error, NotSent) or repeatable
                if not again or attempt == _ATTEMPTS or not await _paused(_PAUSE * attempt, deadline):
                    raise gone_wrong from None
                continue
            status = called.answer.status
            if status == 401 and not renewed and any(need.scheme.kind == "oauth2" for need in needs):
                renewed = True
                for token in signed.masked:
                    self._tokens.forget(token)
                continue
            if status not in _BUSY or not repeatable or attempt == _ATTEMPTS:
                return called
            if not await _paused(_wait(called.answer, attempt), deadline):
                return called
        raise ToolError("the request could not be sent")

    async def _follow(self, draft: Draft, signed: Signed, deadline: float) -> Called:
        """Send a request and follow redirects to the same host, with the same method."""
        url, method, body = self._url(draft), draft.method, draft.body
        headers = dict(draft.headers)
        if draft.cookies:
            headers["Cookie"] = "; ".join(draft.cookies)
        for _ in range(_HOPS + 1):
            answer = await self._send(method, url, headers, body, deadline)
            target = answer.headers.get("location", "")
            if answer.status not in _REDIRECTS or not target:
                return Called(answer, url.partition("?")[0], (), signed.masked)
            following = urljoin(url, target)
            if _origin(following) != _origin(self._base):
                host = urlsplit(following).hostname or "another place"
                note = f"[it leads to another host, {host[:200]}, which is not followed: {following[:500]}]"
                return Called(answer, url.partition("?")[0], (note,), signed.masked)
            if answer.status == 303 and method not in _READS:
                method, body = "GET", None
                headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
            elif answer.status in (301, 302) and method not in _READS:
                note = f"[it leads to {following[:500]}, which is not followed with {method}]"
                return Called(answer, url.partition("?")[0], (note,), signed.masked)
            url = following
        raise ToolError(f"more than {_HOPS} redirects")

    def _url(self, draft: Draft) -> str:
        url = f"{self._base}{draft.path}"
        return f"{url}?{draft.query}" if draft.query else url

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, deadline: float
    ) -> Answer:
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise ToolError(f"the API did not answer within {self._api.seconds:g} seconds")
        addresses = await judged(*place_of(parts_of(url)), allowed=self._api.private)
        return await ask(
            method, url, addresses, cap=RESPONSE_CAP, headers=headers, data=body, seconds=left, encoded=True
        )


def _origin(url: str) -> tuple[str, str, int] | None:
    try:
        parts = parts_of(url)
    except ToolError:
        return None
    return (parts.scheme, *place_of(parts))


def _said(error: ToolError, signed: Signed, repeatable: bool) -> ToolError:
    text = scrubbed(str(error), signed.masked)
    if isinstance(error, NotSent) or repeatable:
        return ToolError(text)
    return ToolError(f"{text}. The request may have had its effect: look before you send it again")


def _wait(answer: Answer, attempt: int) -> float:
    try:
        return max(0.0, float(answer.headers.get("retry-after", "")))
    except ValueError:
        return _PAUSE * attempt


async def _paused(seconds: float, deadline: float) -> bool:
    """Wait before another attempt. Returns False at once if it would wait too long."""
    if seconds > _LONGEST_PAUSE or asyncio.get_running_loop().time() + seconds >= deadline:
        return False
    await asyncio.sleep(seconds)
    return True
