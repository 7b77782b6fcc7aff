"""Signed webhooks, in and out: a program of yours is the platform.

Requests are signed by the rules of Standard Webhooks: `webhook-id`, `webhook-timestamp` and `webhook-signature` over
id, time and body. What comes in is refused with a wrong signature, or five minutes away from now; its id is the
message's, so a repeated request is taken once. What goes out has the same id in each try."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from roost.doors.bots.platform import (
    Address,
    Failed,
    Heard,
    Limits,
    Outgoing,
    Person,
    Pressed,
    Refused,
    Take,
    Written,
)
from roost.errors import ConfigError
from roost.features.bots.bots_file import Bot
from roost.version import version

if TYPE_CHECKING:
    import aiohttp

TOLERANCE = 300.0
"""Seconds by which the time of a request may differ from now."""
_PREFIX = "whsec_"
_TEXT = 100_000
_SECONDS = 30.0
_AGAIN = (408, 409, 425, 429)
"""Statuses below 500 after which a request is sent again."""


class _Sender(msgspec.Struct):
    id: str
    name: str = ""


class _Given(msgspec.Struct):
    """at: when it was written, in milliseconds since 1970: the same when it comes again. press: the data of a button
    that was pressed, in place of a text."""

    chat: str
    sender: _Sender
    at: int
    text: str = ""
    thread: str = ""
    title: str = ""
    group: bool = False
    meant: bool = True
    press: str | None = None


_given = msgspec.json.Decoder(_Given)


class Webhook:
    """Sends to the option `url`, and takes in what comes to `/hooks/BOT`."""

    limits = Limits(text=_TEXT)

    def __init__(self, bot: Bot, token: str, hook_secret: str = "") -> None:
        if extra := set(bot.options) - {"url"}:
            raise ConfigError(f"bots.{bot.name}: a webhook has no {min(extra)!r}")
        self._url, self._key = target(bot, token)
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> str:
        return self._url.partition("?")[0]

    async def receive(self, take: Take) -> None:
        await asyncio.Event().wait()

    def heard(self, headers: Mapping[bytes, bytes], body: bytes) -> Heard:
        """Return what a request says. Raises `Refused`."""
        id = headers.get(b"webhook-id", b"").decode("latin-1")
        stamp = headers.get(b"webhook-timestamp", b"").decode("latin-1")
        if not stamp.isascii() or not stamp.isdigit() or abs(time.time() - int(stamp[:12])) > TOLERANCE:
            raise Refused("webhook-timestamp is missing, or too far from now")
        wanted = signature(self._key, id, stamp, body)
        said = headers.get(b"webhook-signature", b"").decode("latin-1").split(" ")
        if not id or not any(hmac.compare_digest(one.encode("latin-1"), wanted.encode()) for one in said):
            raise Refused("webhook-signature does not fit")
        try:
            given = _given.decode(body)
        except msgspec.MsgspecError as error:
            raise Refused(f"the body: {error}") from None
        chat = Address(given.chat, given.thread, given.group, given.title)
        sender = Person(given.sender.id, given.sender.name or given.sender.id)
        if given.press is not None:
            return Heard([Pressed(number=given.at, chat=chat, sender=sender, data=given.press, ref=id)])
        written = Written(number=given.at, id=id, chat=chat, sender=sender, text=given.text, meant=given.meant)
        return Heard([written])

    async def send(self, to: Address, message: Outgoing, *, key: str) -> str:
        await self._post("message", key, to, message)
        return key

    async def edit(self, to: Address, ref: str, message: Outgoing) -> None:
        await self._post("edit", f"{ref}/edit", to, message, of=ref)

    async def typing(self, to: Address) -> None:
        return None

    async def answer_press(self, ref: str, text: str) -> None:
        return None

    async def fetch(self, ref: str, most: int) -> bytes:
        raise Refused("a webhook has no files")

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _post(self, kind: str, id: str, to: Address, message: Outgoing, **more: Any) -> None:
        content = {
            "type": kind,
            "chat": to.id,
            "thread": to.thread,
            "text": message.rich.text,
            "spans": message.rich.spans,
            "buttons": [one._asdict() for one in message.buttons],
            **more,
        }
        if self._session is None:
            self._session = client()
        await deliver(self._session, self._url, self._key, id, msgspec.json.encode(content))


def client() -> aiohttp.ClientSession:
    """Return an HTTP client for webhooks. The caller closes it."""
    import aiohttp

    agent = {"User-Agent": f"roost/{version()}"}
    return aiohttp.ClientSession(headers=agent, cookie_jar=aiohttp.DummyCookieJar())


async def deliver(http: aiohttp.ClientSession, url: str, key: bytes, id: str, body: bytes) -> None:
    """Send a signed request once. id: the same in each try. Raises `Failed`, `Refused`."""
    import aiohttp

    stamp = str(int(time.time()))
    headers = {
        "content-type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": stamp,
        "webhook-signature": signature(key, id, stamp, body),
    }
    limits = aiohttp.ClientTimeout(total=_SECONDS)
    try:
        async with http.post(url, data=body, headers=headers, timeout=limits, allow_redirects=False) as response:
            status, after = response.status, response.headers.get("retry-after", "")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Failed(f"{type(error).__name__}") from None
    if 200 <= status < 300:
        return
    if 300 <= status < 500 and status not in _AGAIN:
        raise Refused(f"HTTP {status}")
    raise Failed(f"HTTP {status}", float(after[:6]) if after.isdigit() else None)


def target(bot: Bot, token: str) -> tuple[str, bytes]:
    """Return the address of the option `url`, and the key that signs. Raises `ConfigError`."""
    url = bot.options.get("url")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise ConfigError(f"bots.{bot.name}: url: give the http(s) address that messages are sent to")
    if not token:
        raise ConfigError(f"bots.{bot.name}: token: name the secret that signs, as in {{{{secret:NAME}}}}")
    key = key_of(token)
    if not key:
        raise ConfigError(f"bots.{bot.name}: token: the secret is empty behind {_PREFIX}; anybody could sign with it")
    return url, key


def key_of(secret: str) -> bytes:
    """Return the key of a secret: what stands behind `whsec_` in base64, else its text."""
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ConfigError("the secret of a webhook begins with whsec_, and is no base64 behind it") from None


def signature(key: bytes, id: str, stamp: str, body: bytes) -> str:
    """Return the signature of a request by Standard Webhooks."""
    signed = hmac.digest(key, f"{id}.{stamp}.".encode("latin-1", "replace") + body, hashlib.sha256)
    return f"v1,{base64.b64encode(signed).decode()}"


def make(bot: Bot, token: str, hook_secret: str = "") -> Webhook:
    return Webhook(bot, token, hook_secret)
