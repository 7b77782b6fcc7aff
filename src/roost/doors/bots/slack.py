"""Slack: apps by the Events API and the Web API. Slack sends events, presses of buttons and slash commands to
`/hooks/BOT`, or over a WebSocket (`slack_socket.py`).

Text goes out as `rich_text` blocks, which have styles as data: nothing in a text is markup, nor mentions a channel."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec

from roost.doors.bots.commands import NAMES as COMMANDS
from roost.doors.bots.downloads import download
from roost.doors.bots.platform import (
    Address,
    Attachment,
    Failed,
    Heard,
    Inbound,
    Limits,
    Malformed,
    OutFile,
    Outgoing,
    Person,
    Pressed,
    Refused,
    Take,
    Unauthorized,
    Written,
    number,
)
from roost.doors.bots.rich_text import Rich
from roost.errors import ConfigError
from roost.features.bots.bots_file import Bot
from roost.version import version

if TYPE_CHECKING:
    import aiohttp

URL = "https://slack.com/api"
TOLERANCE = 300.0
"""Seconds by which the time of a request may differ from now."""
_SECONDS = 30.0
_UPLOAD_SECONDS = 300.0
_LIMITS = Limits(text=3000, edits=3.0, pace=1.05, file=100_000_000)
_CONTENT = frozenset(("invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "block_mismatch"))
"""What Slack says of styles that it does not take."""
_STYLES = {"bold": "bold", "italic": "italic", "strike": "strike", "code": "code"}
_NOW = frozenset(("internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"))
_ACCESS = frozenset(("invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired"))
_MARK = re.compile(r"<([^<>|]+)(?:\|([^<>]*))?>")
_ENTITIES = (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))
_KINDS = {"image": "image", "audio": "audio", "video": "video"}
_APP_TOKEN = "xapp-"
_SLASHES = 256


class _File(msgspec.Struct):
    url_private_download: str = ""
    mimetype: str = "application/octet-stream"
    name: str = "file"
    size: int = 0


class _Edited(msgspec.Struct):
    ts: str = ""


class _Event(msgspec.Struct):
    type: str
    channel: str = ""
    user: str = ""
    text: str = ""
    ts: str = ""
    thread_ts: str = ""
    channel_type: str = ""
    subtype: str = ""
    bot_id: str = ""
    files: list[_File] = []
    message: _Event | None = None
    edited: _Edited | None = None


class _Envelope(msgspec.Struct):
    type: str
    challenge: str = ""
    event: _Event | None = None


class _Id(msgspec.Struct):
    id: str
    name: str = ""


class _Place(msgspec.Struct):
    ts: str = ""
    thread_ts: str = ""


class _Action(msgspec.Struct):
    value: str = ""
    action_ts: str = "0"


class _Payload(msgspec.Struct):
    type: str
    user: _Id
    channel: _Id | None = None
    message: _Place | None = None
    actions: list[_Action] = []


class _Slash(msgspec.Struct):
    command: str
    channel_id: str
    user_id: str
    trigger_id: str
    text: str = ""
    user_name: str = ""


class Slack:
    """One app. token: of the bot, `xoxb-…`. hook_secret: the signing secret of the app, or its app-level token
    (`xapp-…`), which makes it use socket mode."""

    limits = _LIMITS

    def __init__(self, bot: Bot, token: str, hook_secret: str = "") -> None:
        if extra := set(bot.options) - {"api", "pace_seconds", "edit_seconds"}:
            raise ConfigError(f"bots.{bot.name}: a Slack bot has no {min(extra)!r}")
        if not token or not hook_secret:
            raise ConfigError(
                f"bots.{bot.name}: a Slack bot needs token (xoxb-…), and as hook_secret its signing secret or its "
                "app-level token (xapp-…)"
            )
        pace = number(bot, "pace_seconds", _LIMITS.pace)
        edits = number(bot, "edit_seconds", _LIMITS.edits or 0)
        self.limits = _LIMITS._replace(edits=edits, pace=pace)
        self._url, self._token = str(bot.options.get("api", URL)).rstrip("/"), token
        self._secret = hook_secret.encode()
        self._app_token = hook_secret if hook_secret.startswith(_APP_TOKEN) else ""
        self._me = ""
        self._slashes: dict[str, int] = {}
        """When the newest slash commands came, by their trigger: Slack gives them no time."""
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> str:
        found = await self._call("auth.test")
        self._me = str(found["user_id"])
        return f"@{found.get('user', self._me)}"

    async def receive(self, take: Take) -> None:
        if self._app_token:
            from roost.doors.bots.slack_socket import SocketMode

            await SocketMode(self._socket, self.read, take).run()
        await asyncio.Event().wait()

    async def _socket(self) -> str:
        """Return the address of a new connection of socket mode, which is good once."""
        url = str((await self._call("apps.connections.open", token=self._app_token))["url"])
        if not url.startswith("wss://" if self._url.startswith("https://") else ("ws://", "wss://")):
            raise Refused("Slack names an address for its WebSocket that is not encrypted")
        return url

    def heard(self, headers: Mapping[bytes, bytes], body: bytes) -> Heard:
        """Return what a request says. Raises `Refused` if it is not signed by Slack."""
        stamp = headers.get(b"x-slack-request-timestamp", b"")
        if self._app_token:
            raise Refused("this app uses socket mode: it takes no requests")
        if not stamp.isdigit() or abs(time.time() - int(stamp[:12])) > TOLERANCE:
            raise Refused("x-slack-request-timestamp is missing, or too far from now")
        if not hmac.compare_digest(headers.get(b"x-slack-signature", b""), signature(self._secret, stamp, body)):
            raise Refused("x-slack-signature does not fit")
        if not headers.get(b"content-type", b"").startswith(b"application/x-www-form-urlencoded"):
            return self.read("events_api", body)
        try:
            form = {name: given[0] for name, given in parse_qs(body.decode()).items()}
        except (UnicodeDecodeError, ValueError):
            raise Refused("this request is none of Slack's") from None
        if "payload" in form:
            return self.read("interactive", form["payload"].encode())
        return self.read("slash_commands", msgspec.json.encode(form))

    def read(self, kind: str, body: bytes) -> Heard:
        """Return what a payload says, of the kinds of socket mode. Raises `Refused`."""
        try:
            if kind == "interactive":
                return Heard(self._pressed(msgspec.json.decode(body, type=_Payload)), {})
            if kind == "slash_commands":
                return self._slash(msgspec.json.decode(body, type=_Slash))
            found = msgspec.json.decode(body, type=_Envelope)
        except msgspec.MsgspecError:
            raise Refused("this request is none of Slack's") from None
        if found.type == "url_verification":
            return Heard((), {"challenge": found.challenge})
        return Heard(() if found.event is None else self._written(found.event), {})

    def _slash(self, given: _Slash) -> Heard:
        """Return a slash command as a message: `/new` and `/roost new` are the same. Slack has none in threads."""
        if not given.channel_id.startswith("D"):
            return _whisper("Write this to me in a direct message. In a thread, mention me.")
        words = f"{given.command} {given.text}".split()
        if words[0].lower() not in COMMANDS:
            words = [f"/{words[1].lstrip('/')}", *words[2:]] if len(words) > 1 else ["/help"]
            if words[0].lower() not in COMMANDS:
                words = [given.text]
        number = self._slashes.setdefault(given.trigger_id, time.time_ns() // 1000)
        if len(self._slashes) > _SLASHES:
            del self._slashes[next(iter(self._slashes))]
        written = Written(
            number=number,
            id=f"slash:{given.trigger_id}",
            chat=Address(given.channel_id),
            sender=Person(given.user_id, given.user_name or given.user_id),
            text=" ".join(words),
        )
        return Heard((written,), _whisper(escaped(" ".join(words))[:200]).reply)

    def _written(self, event: _Event) -> Sequence[Inbound]:
        edit = event.subtype == "message_changed"
        said = event.message if edit and event.message is not None else event
        known = event.type in ("message", "app_mention") and event.subtype in ("", "file_share", "message_changed")
        if not known or not said.user or said.bot_id or said.user == self._me or not said.ts:
            return ()
        if edit and (said.edited is None or not said.edited.ts):
            return ()  # Slack has unfolded a link
        group = event.channel_type != "im" and not event.channel.startswith("D")
        meant = not group or event.type == "app_mention" or f"<@{self._me}>" in said.text
        thread = said.thread_ts or (said.ts if group else "")
        changed = said.edited.ts if edit and said.edited is not None else ""
        written = Written(
            number=_number(changed or said.ts),
            id=f"{said.ts}:{changed}" if edit else said.ts,
            chat=Address(event.channel, thread, group),
            sender=Person(said.user, said.user),
            text=self._plain(said.text),
            meant=meant,
            attachments=tuple(_attachment(one) for one in said.files if one.url_private_download),
            edit=edit,
        )
        return (written,) if written.text or written.attachments else ()

    def _pressed(self, given: _Payload) -> Sequence[Inbound]:
        if given.type != "block_actions" or given.channel is None or given.message is None or not given.actions:
            return ()
        group = not given.channel.id.startswith("D")
        chat = Address(given.channel.id, given.message.thread_ts, group)
        action, sender = given.actions[0], Person(given.user.id, given.user.name or given.user.id)
        ref = f"{given.channel.id}/{given.user.id}/{given.message.thread_ts}"
        return (Pressed(number=_number(action.action_ts), chat=chat, sender=sender, data=action.value, ref=ref),)

    def _plain(self, text: str) -> str:
        """Return a text without Slack's marks."""

        def shown(found: re.Match[str]) -> str:
            target, label = found[1], found[2]
            if target == f"@{self._me}":
                return ""
            return f"{label} ({target})" if label and target.startswith("http") else label or target

        found = _MARK.sub(shown, text)
        for mark, letter in _ENTITIES:
            found = found.replace(mark, letter)
        return found.strip()

    async def send(self, to: Address, message: Outgoing, *, key: str) -> str:
        thread = {"thread_ts": to.thread} if to.thread else {}
        sent = await self._call("chat.postMessage", channel=to.id, **thread, **_content(message), **_NO_PREVIEW)
        return str(sent["ts"])

    async def send_file(self, to: Address, file: OutFile, *, quiet: bool, key: str) -> str:
        """Upload a file and share it in a chat."""
        place = await self._call("files.getUploadURLExternal", form={"filename": file.name, "length": len(file.data)})
        await self._upload(str(place["upload_url"]), file)
        shared = {"channel_id": to.id} | ({"thread_ts": to.thread} if to.thread else {})
        named = [{"id": str(place["file_id"]), "title": file.name}]
        await self._call("files.completeUploadExternal", files=named, **shared)
        return str(place["file_id"])

    async def _upload(self, url: str, file: OutFile) -> None:
        import aiohttp

        if not _is_slacks(url, self._url):
            raise Refused("Slack names a place for the file that is not its own")
        limits = aiohttp.ClientTimeout(total=_UPLOAD_SECONDS)
        try:
            async with self._client().post(url, data=file.data, timeout=limits, allow_redirects=False) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Failed(f"a file: {type(error).__name__}") from None
        if status != 200:
            raise (Failed if status >= 500 or status == 429 else Refused)(f"a file: HTTP {status}")

    async def edit(self, to: Address, ref: str, message: Outgoing) -> None:
        await self._call("chat.update", channel=to.id, ts=ref, **_content(message))

    async def typing(self, to: Address) -> None:
        return None

    async def answer_press(self, ref: str, text: str) -> None:
        channel, user, thread = ref.split("/", 2)
        more = {"thread_ts": thread} if thread else {}
        await self._call("chat.postEphemeral", channel=channel, user=user, text=escaped(text), **more)

    async def fetch(self, ref: str, most: int) -> bytes:
        if not _is_slacks(ref, self._url):
            raise Refused("a file that is not at Slack")
        return await download(self._client(), ref, most, {"Authorization": f"Bearer {self._token}"})

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _client(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            agent, limits = {"User-Agent": f"roost/{version()}"}, aiohttp.ClientTimeout(total=_SECONDS)
            self._session = aiohttp.ClientSession(headers=agent, cookie_jar=aiohttp.DummyCookieJar(), timeout=limits)
        return self._session

    async def _call(self, method: str, *, token: str = "", form: Any = None, **given: Any) -> dict[str, Any]:
        """Call a method of the Web API. token: instead of the bot's. form: parameters of a method that takes no JSON.
        Raises `Failed`, `Refused`."""
        import aiohttp

        kind = "application/json; charset=utf-8" if form is None else "application/x-www-form-urlencoded"
        headers = {"Authorization": f"Bearer {token or self._token}", "content-type": kind}
        body = msgspec.json.encode(given) if form is None else urlencode(form).encode()
        try:
            async with self._client().post(f"{self._url}/{method}", data=body, headers=headers) as response:
                after = response.headers.get("retry-after", "")
                if response.status == 429:
                    raise Failed(f"{method}: 429 ratelimited", float(after[:6]) if after.isdigit() else None)
                if response.status != 200:
                    raise Failed(f"{method}: HTTP {response.status}")
                found = msgspec.json.decode(await response.read(), type=dict[str, Any])
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError) as error:
            raise Failed(f"{method}: {type(error).__name__}") from None
        if found.get("ok") is True:
            return found
        why = str(found.get("error", "unknown"))
        if why in _ACCESS:
            raise Unauthorized(f"{method}: {why}")
        raise (Failed if why in _NOW else Malformed if why in _CONTENT else Refused)(f"{method}: {why}")


def _whisper(text: str) -> Heard:
    """Return an answer that only the person sees who has given a command."""
    return Heard((), {"response_type": "ephemeral", "text": text})


_NO_PREVIEW: dict[str, Any] = {"unfurl_links": False, "unfurl_media": False}


def signature(secret: bytes, stamp: bytes, body: bytes) -> bytes:
    """Return the signature of a request of Slack."""
    return b"v0=" + hmac.new(secret, b"v0:" + stamp + b":" + body, hashlib.sha256).hexdigest().encode()


def escaped(text: str) -> str:
    """Return a text in which nothing mentions anybody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _content(message: Outgoing) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = [{"type": "rich_text", "elements": _elements(message.rich)}]
    if message.buttons:
        buttons = [
            {
                "type": "button",
                "text": {"type": "plain_text", "text": one.text},
                "action_id": f"roost_{number}",
                "value": one.data,
            }
            for number, one in enumerate(message.buttons)
        ]
        blocks.append({"type": "actions", "elements": buttons})
    return {"text": escaped(message.rich.text), "blocks": blocks}


def _elements(rich: Rich) -> list[dict[str, Any]]:
    """Return the elements of a `rich_text` block."""
    points = sorted({0, len(rich.text), *(one.start for one in rich.spans), *(one.end for one in rich.spans)})
    found: list[dict[str, Any]] = []
    for start, end in itertools.pairwise(points):
        inside = [one for one in rich.spans if one.start <= start and end <= one.end]
        kinds = {one.kind for one in inside}
        outer = "preformatted" if "pre" in kinds else "quote" if "quote" in kinds else "section"
        style = {} if outer == "preformatted" else {_STYLES[one]: True for one in sorted(kinds) if one in _STYLES}
        piece: dict[str, Any] = {"type": "text", "text": rich.text[start:end]}
        if outer != "preformatted" and "link" in kinds:
            url = next(one.more for one in inside if one.kind == "link")
            piece = {"type": "link", "url": url, "text": rich.text[start:end]}
        if style:
            piece["style"] = style
        if not found or found[-1]["type"] != f"rich_text_{outer}":
            found.append({"type": f"rich_text_{outer}", "elements": []})
        found[-1]["elements"].append(piece)
    return found


def _is_slacks(url: str, api: str) -> bool:
    """Whether an address of a file is one of Slack's: the token goes nowhere else. A message may have files that other
    apps keep, with addresses of their own."""
    try:
        given, own = urlsplit(url), urlsplit(api)
        slacks = given.scheme == "https" and (given.hostname or "").endswith(".slack.com") and given.port in (None, 443)
    except ValueError:
        return False
    return slacks or (given.scheme, given.netloc) == (own.scheme, own.netloc)


def _attachment(one: _File) -> Attachment:
    kind: Any = _KINDS.get(one.mimetype.partition("/")[0], "file")
    return Attachment(kind, one.url_private_download, one.mimetype, one.name[:200], one.size)


def _number(ts: str) -> int:
    """Return a time of Slack, as in `1764000000.000100`, in microseconds."""
    seconds, _, rest = ts.partition(".")
    return int(seconds or 0) * 1_000_000 + int(f"{rest:0<6}"[:6] or 0) if (seconds + rest).isdigit() else 0


def make(bot: Bot, token: str, hook_secret: str = "") -> Slack:
    return Slack(bot, token, hook_secret)
