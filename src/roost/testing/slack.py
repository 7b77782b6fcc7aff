"""A strict test double of Slack's Web API and Events API, on loopback.

    with SlackServer() as slack:
        # bots.toml: api = slack.url; the secrets are slack.token and slack.signing_secret
        slack.hook = daemon_url + "/hooks/NAME"
        slack.write("Hello")
        slack.until(lambda: slack.texts() == ["Hello yourself."])

With `SlackServer(socket=True)` it speaks socket mode: the secret of the hook is slack.app_token, and there is no hook.

It checks blocks as Slack's documentation says, limits rates to a message a second in a channel, signs what it sends,
and sends again what was not taken, as Slack does. An address of socket mode is good once; an envelope that is not
acknowledged comes again, over any connection, but for presses of buttons and slash commands."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import secrets
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

from roost.testing.in_thread import InThread
from roost.testing.sockets import ServerSocket

TOKEN = "xoxb-fake-token-of-a-test-double-01"
SIGNING_SECRET = "fake-signing-secret-of-a-double-1"
APP_TOKEN = "xapp-fake-token-of-a-test-double-1"
ME = "UBOT"
_TEXT, _BLOCK_TEXT, _VALUE = 40_000, 4000, 2000
_STYLES = {"bold", "italic", "strike", "code"}
_PARAMETERS = {
    "auth.test": "",
    "chat.postMessage": "channel text blocks thread_ts unfurl_links unfurl_media",
    "chat.update": "channel ts text blocks",
    "chat.postEphemeral": "channel user text thread_ts",
    "apps.connections.open": "",
    "files.getUploadURLExternal": "filename length",
    "files.completeUploadExternal": "files channel_id thread_ts initial_comment",
}
_RETRIES = (0.1, 0.5, 1.0, 2.0, 4.0)


class Posted(NamedTuple):
    """A message of the app, as it is now. said: its text by its blocks. buttons: texts and values."""

    channel: str
    ts: str
    text: str
    said: str
    styles: Sequence[tuple[str, str]]
    buttons: Sequence[tuple[str, str]]
    thread: str = ""
    edits: int = 0


class Uploaded(NamedTuple):
    """A file that the app has shared."""

    channel: str
    name: str
    data: bytes
    thread: str = ""


class _Refused(Exception):
    """A call that Slack would refuse, with its error."""


class Slack:
    """The state of the double, and the ASGI application over it. Its methods may be called from any thread.

    hook: where events go. socket: they go over WebSockets; `ack_seconds`: how long an acknowledgement may take.
    limits: whether rates are limited; burst: so many messages at once."""

    def __init__(self, *, limits: bool = True, burst: int = 3, socket: bool = False, ack_seconds: float = 30.0) -> None:
        self.token, self.signing_secret, self.app_token = TOKEN, SIGNING_SECRET, APP_TOKEN
        self.socket, self.ack_seconds, self.url = socket, ack_seconds, ""
        self.opened = 0
        """Connections of socket mode that there were."""
        self.retried: list[str] = []
        """Why envelopes came again."""
        self.replies: list[str] = []
        """Answers to slash commands that only their person sees."""
        self.lose_acks = 0
        """So many acknowledgements get lost."""
        self._sockets: list[ServerSocket] = []
        self._tickets: set[str] = set()
        self._acks: dict[str, threading.Event] = {}
        self.hook, self.limits, self.burst = "", limits, burst
        self.throttled = 0
        self.whispers: list[str] = []
        """Texts that only the person who pressed a button sees."""
        self.archived: set[str] = set()
        self._lock = threading.RLock()
        self._posted: dict[tuple[str, str], Posted] = {}
        self._numbers = itertools.count(1)
        self._buckets: dict[str, tuple[float, float]] = {}
        self._faults: list[int] = []
        self.uploaded: list[Uploaded] = []
        self._begun: dict[str, tuple[str, int, bytes | None]] = {}
        self._files: dict[str, bytes] = {}

    # What people do

    def write(self, text: str, *, channel: str = "D1", user: str = "U7", thread: str = "", ts: str = "") -> str:
        """A person writes. channel: `D…` is a direct message. ts: of a message that comes again. Return its ts."""
        ts = ts or self._ts()
        kind = "app_mention" if f"<@{ME}>" in text and not channel.startswith("D") else "message"
        event = {"type": kind, "channel": channel, "user": user, "text": text, "ts": ts}
        event |= {"thread_ts": thread} if thread else {}
        event |= {"channel_type": "im" if channel.startswith("D") else "channel"}
        self._push({"type": "event_callback", "event_id": f"Ev{ts}", "event": event})
        return ts

    def send_file(self, data: bytes, name: str, media_type: str, *, text: str = "", user: str = "U7") -> None:
        """A person sends a file in their direct messages."""
        ts = self._ts()
        with self._lock:
            id = f"F{len(self._files)}"
            self._files[id] = data
        url = f"{self.url.rpartition('/')[0]}/files-pri/{id}"
        file = {"id": id, "name": name, "mimetype": media_type, "size": len(data), "url_private_download": url}
        event = {"type": "message", "subtype": "file_share", "channel": "D1", "channel_type": "im", "user": user}
        event |= {"text": text, "ts": ts, "files": [file]}
        self._push({"type": "event_callback", "event_id": f"Ev{ts}", "event": event})

    def press(self, message: Posted, button: str, *, user: str = "U7") -> None:
        """A person presses the button with this text."""
        place = {"ts": message.ts} | ({"thread_ts": message.thread} if message.thread else {})
        payload = {
            "type": "block_actions",
            "user": {"id": user, "name": user.lower()},
            "channel": {"id": message.channel},
            "message": place,
            "actions": [{"action_id": "roost_0", "value": dict(message.buttons)[button], "action_ts": self._ts()}],
        }
        if self.socket:
            self._push(payload, "interactive")
        else:
            self._push(urlencode({"payload": json.dumps(payload)}).encode())

    def command(self, words: str, *, channel: str = "D1", user: str = "U7") -> None:
        """A person gives a slash command."""
        command, _, text = words.partition(" ")
        given = {"command": command, "text": text, "channel_id": channel, "user_id": user, "user_name": user.lower()}
        given |= {"trigger_id": f"1.2.{secrets.token_hex(8)}", "team_id": "T1", "api_app_id": "A1"}
        if self.socket:
            self._push(given, "slash_commands")
        else:
            self._push(urlencode(given).encode())

    def refresh(self) -> None:
        """End all connections of socket mode, with the word before that Slack gives."""
        for one in self._live():
            one.tell({"type": "disconnect", "reason": "refresh_requested", "debug_info": {"host": "double"}})

    def hang_up(self) -> None:
        """End all connections of socket mode without a word."""
        for one in self._live():
            one.close()

    def verify(self) -> Any:
        """Ask the hook for the challenge, as Slack does when its address is entered. Return the answer."""
        return json.loads(self._request({"type": "url_verification", "challenge": "say-this"}, self.signing_secret))

    # What a test sees

    def posted(self, channel: str = "D1") -> list[Posted]:
        with self._lock:
            return [one for one in self._posted.values() if one.channel == channel]

    def texts(self, channel: str = "D1") -> list[str]:
        return [one.said for one in self.posted(channel)]

    def fail(self, *statuses: int) -> None:
        """Let the next messages fail with these statuses."""
        with self._lock:
            self._faults += statuses

    # The API

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await self._connected(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        method = scope["path"].rpartition("/")[2]
        headers, extra = dict(scope["headers"]), list[tuple[bytes, bytes]]()
        if scope["path"].startswith(("/files-pri/", "/upload/")):
            await self._file(scope["path"], headers, body, send)
            return
        status, answer = 200, dict[str, Any]()
        try:
            token = self.app_token if method == "apps.connections.open" else self.token
            if headers.get(b"authorization") != f"Bearer {token}".encode():
                raise _Refused("invalid_auth")
            given = _given(headers, body, method)
            fault = self._faults.pop(0) if self._faults and method == "chat.postMessage" else None
            after = self._throttle(given["channel"]) if method == "chat.postMessage" and fault is None else 0
            if fault is not None or after:
                status = fault or 429
                extra = [(b"retry-after", str(after or 1).encode())] if status == 429 else []
                raise _Refused("ratelimited" if status == 429 else "internal_error")
            answer = {"ok": True} | self._call(method, given)
        except _Refused as error:
            answer = {"ok": False, "error": str(error)}
        data = json.dumps(answer).encode()
        shown = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode()), *extra]
        await send({"type": "http.response.start", "status": status, "headers": shown})
        await send({"type": "http.response.body", "body": data})

    async def _file(self, path: str, headers: Mapping[bytes, bytes], body: bytes, send: Any) -> None:
        """Serve a file of a person to the app, or take one of the app at the place that it was given."""
        _, kind, id = path.split("/")
        status, data = 404, b"not found"
        with self._lock:
            if kind == "files-pri" and headers.get(b"authorization") == f"Bearer {self.token}".encode():
                status, data = (200, self._files[id]) if id in self._files else (404, b"")
            elif kind == "upload" and id in self._begun and len(body) == self._begun[id][1]:
                self._begun[id] = (*self._begun[id][:2], body)
                status, data = 200, b"OK"
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": data})

    def _begin_upload(self, given: dict[str, Any]) -> dict[str, Any]:
        if not given.get("filename") or not str(given.get("length", "")).isdigit() or int(given["length"]) < 1:
            raise _Refused("invalid_arguments")
        id = f"U{len(self._begun)}"
        self._begun[id] = given["filename"], int(given["length"]), None
        return {"upload_url": f"{self.url.rpartition('/')[0]}/upload/{id}", "file_id": id}

    def _end_upload(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["channel_id"] in self.archived:
            raise _Refused("is_archived")
        for one in given["files"]:
            name, _, data = self._begun.get(one["id"], ("", 0, None))
            if data is None:
                raise _Refused("file_not_found")
            self.uploaded.append(Uploaded(given["channel_id"], name, data, given.get("thread_ts", "")))
            del self._begun[one["id"]]
        return {"files": given["files"]}

    def _call(self, method: str, given: dict[str, Any]) -> dict[str, Any]:
        if method not in _PARAMETERS:
            raise _Refused("unknown_method")
        if set(given) - set(_PARAMETERS[method].split()):
            raise _Refused("invalid_arguments")
        with self._lock:
            match method:
                case "auth.test":
                    return {"user_id": ME, "user": "roost", "team": "Test"}
                case "apps.connections.open":
                    self._tickets.add(ticket := secrets.token_hex(8))
                    return {"url": f"{self.url.replace('http', 'ws', 1)}/link/?ticket={ticket}&app_id=A1"}
                case "files.getUploadURLExternal":
                    return self._begin_upload(given)
                case "files.completeUploadExternal":
                    return self._end_upload(given)
                case "chat.postEphemeral":
                    self.whispers.append(given["text"])
                    return {"message_ts": self._ts()}
                case "chat.postMessage":
                    if given["channel"] in self.archived:
                        raise _Refused("is_archived")
                    ts = self._ts()
                    content = check_message(given)
                    thread = given.get("thread_ts", "")
                    self._posted[given["channel"], ts] = Posted(given["channel"], ts, *content, thread=thread)
                    return {"channel": given["channel"], "ts": ts}
                case _:
                    place = given["channel"], given["ts"]
                    if place not in self._posted:
                        raise _Refused("message_not_found")
                    before = self._posted[place]
                    made = Posted(*place, *check_message(given), thread=before.thread, edits=before.edits + 1)
                    self._posted[place] = made
                    return {"channel": place[0], "ts": place[1]}

    def _throttle(self, channel: str) -> int:
        with self._lock:
            now = time.monotonic()
            room, then = self._buckets.get(channel, (float(self.burst), now))
            room = min(float(self.burst), room + now - then)
            if self.limits and room < 1:
                self.throttled += 1
                return 1
            self._buckets[channel] = room - 1, now
            return 0

    def _ts(self) -> str:
        return f"{int(time.time())}.{next(self._numbers):06}"

    async def _connected(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a connection of socket mode."""
        await receive()
        ticket = scope["query_string"].decode().partition("ticket=")[2].partition("&")[0]
        if ticket not in self._tickets:
            await send({"type": "websocket.close", "code": 1008})
            return
        self._tickets.discard(ticket)
        await send({"type": "websocket.accept"})
        hello = {"type": "hello", "num_connections": 1, "connection_info": {"app_id": "A1"}, "debug_info": {}}
        await send({"type": "websocket.send", "text": json.dumps(hello)})
        with self._lock:
            self._sockets.append(one := ServerSocket())
            self.opened += 1
        await one.serve(receive, send, self._acknowledged)

    def _acknowledged(self, given: dict[str, Any]) -> None:
        with self._lock:
            if self.lose_acks:
                self.lose_acks -= 1
                return
            if "payload" in given:
                self.replies.append(given["payload"]["text"])
            self._acks[given["envelope_id"]].set()

    def _live(self) -> list[ServerSocket]:
        with self._lock:
            self._sockets = [one for one in self._sockets if not one.closed]
            return [*self._sockets]

    def _push(self, content: Any, kind: str = "events_api") -> None:
        deliver = self._send if self.socket else self._deliver
        threading.Thread(target=deliver, args=(content, kind), daemon=True).start()

    def _send(self, content: Any, kind: str) -> None:
        """Send an envelope until it is acknowledged; once, if no event is in it. The connection that is newest gets
        it."""
        for attempt, pause in enumerate((*_RETRIES, 8.0, 16.0)):
            id = secrets.token_hex(8)
            envelope: dict[str, Any] = {"envelope_id": id, "type": kind, "payload": content, "retry_attempt": attempt}
            envelope["accepts_response_payload"] = kind == "slash_commands"
            with self._lock:
                acked = self._acks[id] = threading.Event()
            try:
                if self._exchanged(envelope, acked):
                    return
                self.retried.append("timeout")
            except OSError as error:
                self.retried.append(str(error))
            if kind != "events_api" and self._live():
                return
            time.sleep(pause)

    def _exchanged(self, envelope: dict[str, Any], acked: threading.Event) -> bool:
        if not (live := self._live()):
            raise OSError("there is no connection")
        live[-1].tell(envelope)
        deadline = time.monotonic() + self.ack_seconds
        while not live[-1].closed and time.monotonic() < deadline:
            if acked.wait(0.02):
                return True
        return acked.is_set()

    def _deliver(self, content: Any, kind: str) -> None:
        for pause in _RETRIES:
            try:
                self._request(content, self.signing_secret)
                return
            except OSError:
                time.sleep(pause)

    def _request(self, content: Any, secret: str) -> bytes:
        form = isinstance(content, bytes)
        body, stamp = content if form else json.dumps(content).encode(), str(int(time.time()))
        signed = hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
        headers = {
            "content-type": "application/x-www-form-urlencoded" if form else "application/json",
            "x-slack-request-timestamp": stamp,
            "x-slack-signature": f"v0={signed}",
        }
        with urllib.request.urlopen(urllib.request.Request(self.hook, body, headers), timeout=30) as response:
            return response.read()


class SlackServer(Slack, InThread):
    """The double, served in a thread of this process: `with SlackServer() as slack: slack.url`."""

    def __init__(self, *, port: int = 0, **more: Any) -> None:
        super().__init__(**more)
        self.listen_at(port, "/api")

    def said(self) -> list[Any]:
        return list(self._posted.values())


def _given(headers: Mapping[bytes, bytes], body: bytes, method: str) -> dict[str, Any]:
    """Return the parameters of a call. The place for an upload is asked for by a form, as Slack wants it."""
    form = headers.get(b"content-type", b"").startswith(b"application/x-www-form-urlencoded")
    if method == "files.getUploadURLExternal" and not form:
        raise _Refused("invalid_arguments")
    return dict(parse_qsl(body.decode())) if form else json.loads(body or b"{}")


def check_message(given: dict[str, Any]) -> tuple[str, str, list[tuple[str, str]], list[tuple[str, str]]]:
    """Check a message as Slack does. Return its fallback text, the text and styles of its blocks, and its buttons."""
    text, said = given.get("text", ""), ""
    if not text.strip():
        raise _Refused("no_text")
    if len(text) > _TEXT:
        raise _Refused("msg_too_long")
    if "<!" in text or "<@" in text:
        raise _Refused("this double lets no app mention anybody")
    styles, buttons = list[tuple[str, str]](), list[tuple[str, str]]()
    for block in given.get("blocks", []):
        if block["type"] == "actions":
            buttons += [(one["text"]["text"], one["value"]) for one in block["elements"]]
        elif block["type"] == "rich_text":
            for outer in block["elements"]:
                said += _rich(outer, styles)
        else:
            raise _Refused("invalid_blocks")
    if len(said) > _BLOCK_TEXT or any(not 1 <= len(value) <= _VALUE for _, value in buttons):
        raise _Refused("invalid_blocks")
    return text, said, styles, buttons


def _rich(outer: Any, styles: list[tuple[str, str]]) -> str:
    kind, said = outer["type"].removeprefix("rich_text_"), ""
    if kind not in ("section", "preformatted", "quote") or not outer["elements"]:
        raise _Refused("invalid_blocks")
    for one in outer["elements"]:
        style = set(one.get("style", {}))
        good = one["type"] in ("text", "link") and isinstance(one["text"], str) and one["text"]
        if not good or style - _STYLES or (kind == "preformatted" and style):
            raise _Refused("invalid_blocks")
        if one["type"] == "link" and not one["url"].startswith(("http://", "https://")):
            raise _Refused("invalid_blocks")
        said += one["text"]
        styles += [(name, one["text"]) for name in sorted(style)]
        if one["type"] == "link" or kind != "section":
            styles.append(("link" if one["type"] == "link" else kind, one["text"]))
    return said
