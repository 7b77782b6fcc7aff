"""A strict test double of Discord's gateway (v10) and REST API, on loopback.

    with DiscordServer() as discord:
        # bots.toml: api = discord.url; the secret is discord.token
        discord.write("Hello")
        discord.until(lambda: discord.texts() == ["Hello yourself."])

It checks messages, numbers events, repeats those after a sequence number when a session is resumed, ends sessions when
it is told to, wants heartbeats, and limits rates to five messages in five seconds in a channel, with the headers that
Discord sends. A message with a nonce that it has seen makes no second one."""

from __future__ import annotations

import email.parser
import email.policy
import itertools
import json
import secrets
import threading
import time
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from roost.testing.in_thread import InThread
from roost.testing.sockets import ServerSocket

TOKEN = "fake-token-of-a-discord-test-double"
ME, OWNER, DIRECT, CHANNEL, GUILD, APPLICATION = "900", "7", "100", "200", "300", "901"
_EPOCH = 1_420_070_400_000
_CONTENT_INTENT = 1 << 15
_TEXT, _CUSTOM_ID, _LABEL, _NONCE, _FRAME = 2000, 100, 80, 25, 4096
_CREATE = {"content", "nonce", "enforce_nonce", "allowed_mentions", "flags", "components"}
_EDIT = {"content", "allowed_mentions", "flags", "components"}


class Sent(NamedTuple):
    """A message of the bot, as it is now. buttons: labels and data. files: names and contents."""

    channel: str
    id: str
    text: str
    buttons: Sequence[tuple[str, str]] = ()
    files: Sequence[tuple[str, bytes]] = ()
    edits: int = 0
    flags: int = 0


class _Refused(Exception):
    """A request that Discord would refuse. status, code: of HTTP, and Discord's own."""

    def __init__(self, status: int, code: int, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status, self.body = status, {"message": message, "code": code, **more}


class _Session:
    """A session of the gateway. events: all of it, each with its sequence number."""

    def __init__(self, intents: int) -> None:
        self.id, self.intents = secrets.token_hex(8), intents
        self.events: list[dict[str, Any]] = []
        self.socket: ServerSocket | None = None


class Discord:
    """The state of the double, and the ASGI application over it. Its methods may be called from any thread.

    interval: seconds between heartbeats. limits: whether rates are limited. content: whether the bot may have the
    intent for the content of all messages."""

    def __init__(self, *, interval: float = 40.0, limits: bool = True, content: bool = True) -> None:
        self.token, self.interval, self.limits, self.content = TOKEN, interval, limits, content
        self.url = ""
        self.identified = self.resumed = self.beats = self.throttled = self.repeated = 0
        self.deaf = False
        """Whether heartbeats get no answer."""
        self.whispers: list[str] = []
        """Answers to interactions, which one person sees."""
        self.commands: list[str] = []
        self._lock = threading.RLock()
        self._ids = itertools.count(1)
        self._session: _Session | None = None
        self._written: dict[str, list[dict[str, Any]]] = {}
        self._sent: dict[str, Sent] = {}
        self._nonces: dict[tuple[str, str], str] = {}
        self._interactions: dict[str, bool] = {}
        self._taken: dict[str, list[float]] = {}
        self._faults: list[int] = []
        self._files: dict[str, bytes] = {}

    # What people do

    def write(
        self, text: str, *, channel: str = DIRECT, user: str = OWNER, file: tuple[str, str, bytes] | None = None
    ) -> str:
        """A person writes. channel: `DIRECT` is a direct message. file: a name, a media type and content. Return the
        message's id."""
        with self._lock:
            message = self._message(text, channel, user)
            if file is not None:
                self._files[message["id"]] = file[2]
                url = f"{self.url}/files/{message['id']}"
                about = {"id": message["id"], "filename": file[0], "content_type": file[1], "size": len(file[2])}
                message["attachments"] = [{**about, "url": url}]
            self._written.setdefault(channel, []).append(message)
            self._tell("MESSAGE_CREATE", message)
            return message["id"]

    def rewrite(self, id: str, text: str) -> None:
        """A person edits a message."""
        with self._lock:
            message = next(one for each in self._written.values() for one in each if one["id"] == id)
            message["content"], message["edited_timestamp"] = text, "2026-11-23T10:00:00.123000+00:00"
            self._tell("MESSAGE_UPDATE", message)

    def press(self, message: Sent, button: str, *, user: str = OWNER) -> None:
        """A person presses the button with this label."""
        data = {"component_type": 2, "custom_id": dict(message.buttons)[button]}
        self._interaction(3, data, message.channel, user)

    def command(self, name: str, *, channel: str = DIRECT, user: str = OWNER) -> None:
        """A person gives a slash command that the bot has registered."""
        assert name in self.commands, f"no command {name}: {self.commands}"
        self._interaction(2, {"id": "1", "name": name, "type": 1}, channel, user)

    # What the network and Discord do

    def hang_up(self, code: int = 4000) -> None:
        """Close the connection."""
        with self._lock:
            if self._session is not None and self._session.socket is not None and not self._session.socket.closed:
                self._session.socket.close(code)

    def reconnect(self) -> None:
        """Ask the bot to connect again."""
        with self._lock:
            assert self._session is not None
            assert self._session.socket is not None
            self._session.socket.tell({"op": 7, "d": None, "s": None, "t": None})

    def invalidate(self) -> None:
        """End the session: it cannot be resumed."""
        with self._lock:
            socket, self._session = (None if self._session is None else self._session.socket), None
            if socket is not None and not socket.closed:
                socket.tell({"op": 9, "d": False, "s": None, "t": None})

    def fail(self, *statuses: int) -> None:
        """Let the next messages fail with these statuses. -1: the message is made, and its answer gets lost."""
        with self._lock:
            self._faults += statuses

    # What a test sees

    def sent(self, channel: str = DIRECT) -> list[Sent]:
        with self._lock:
            return [one for one in self._sent.values() if one.channel == channel]

    def texts(self, channel: str = DIRECT) -> list[str]:
        return [one.text for one in self.sent(channel)]

    # The gateway

    async def _connected(self, receive: Any, send: Any, query: bytes) -> None:
        await receive()
        if parse_qs(query.decode()) != {"v": ["10"], "encoding": ["json"]}:
            await send({"type": "websocket.close", "code": 4012})
            return
        await send({"type": "websocket.accept"})
        socket = ServerSocket()
        socket.tell({"op": 10, "d": {"heartbeat_interval": self.interval * 1000}, "s": None, "t": None})
        await socket.serve(receive, send, lambda given: self._heard(socket, given))

    def _heard(self, socket: ServerSocket, given: dict[str, Any]) -> None:
        with self._lock:
            known = self._session is not None and self._session.socket is socket
            if len(json.dumps(given)) > _FRAME:
                socket.close(4002, "Decode error")
            elif given["op"] == 1:
                self.beats += 1
                if not self.deaf:
                    socket.tell({"op": 11, "d": None, "s": None, "t": None})
            elif given["op"] not in (2, 6):
                socket.close(4001, "Unknown opcode")
            elif known:
                socket.close(4005, "Already authenticated")
            elif given["d"].get("token") != self.token:
                socket.close(4004, "Authentication failed")
            elif given["op"] == 2:
                self._identify(socket, given["d"])
            else:
                self._resume(socket, given["d"])

    def _identify(self, socket: ServerSocket, given: dict[str, Any]) -> None:
        if set(given["properties"]) != {"os", "browser", "device"}:
            return socket.close(4002, "Decode error")
        if given["intents"] & _CONTENT_INTENT and not self.content:
            return socket.close(4014, "Disallowed intent(s)")
        self.identified += 1
        self._session = _Session(given["intents"])
        self._session.socket = socket
        me = {"id": ME, "username": "roost", "bot": True}
        ready: dict[str, Any] = {
            "v": 10,
            "user": me,
            "guilds": [],
            "session_id": self._session.id,
            "application": {"id": APPLICATION},
        }
        self._tell("READY", ready | {"resume_gateway_url": f"{self._gateway}/resumed"})
        return None

    def _resume(self, socket: ServerSocket, given: dict[str, Any]) -> None:
        if self._session is None or self._session.id != given["session_id"]:
            return socket.tell({"op": 9, "d": False, "s": None, "t": None})
        if given["seq"] > len(self._session.events):
            self._session = None
            return socket.close(4007, "Invalid seq")
        self.resumed += 1
        self._session.socket = socket
        for one in self._session.events[given["seq"] :]:
            socket.tell(one)
        self._tell("RESUMED", {})
        return None

    def _tell(self, kind: str, content: dict[str, Any]) -> None:
        """Give an event to the session, which keeps it until it is resumed. The lock is held."""
        if (session := self._session) is None:
            return
        if kind.startswith("MESSAGE"):
            content = self._shown(content, session.intents)
        event = {"op": 0, "d": content, "s": len(session.events) + 1, "t": kind}
        session.events.append(event)
        if session.socket is not None and not session.socket.closed:
            session.socket.tell(event)

    @staticmethod
    def _shown(message: dict[str, Any], intents: int) -> dict[str, Any]:
        """Return a message as the bot may see it."""
        mine = "guild_id" not in message or any(one["id"] == ME for one in message["mentions"])
        return message if mine or intents & _CONTENT_INTENT else message | {"content": "", "attachments": []}

    @property
    def _gateway(self) -> str:
        return self.url.replace("http", "ws", 1)

    # The API

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await self._connected(receive, send, scope["query_string"])
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers: dict[bytes, bytes] = dict(scope["headers"])
        status, answer, extra = 200, b"", list[tuple[bytes, bytes]]()
        try:
            found = self._asked(scope, headers, body, extra)
            answer = found if isinstance(found, bytes) else b"" if found is None else json.dumps(found).encode()
            status = 204 if found is None else 200
        except _Refused as error:
            status, answer = error.status, json.dumps(error.body).encode()
        kind = (b"content-type", b"application/json")
        await send({"type": "http.response.start", "status": status, "headers": [kind, *extra]})
        await send({"type": "http.response.body", "body": answer})

    def _asked(self, scope: Any, headers: dict[bytes, bytes], body: bytes, extra: list[tuple[bytes, bytes]]) -> Any:
        method, parts = scope["method"], scope["path"].removeprefix("/api/v10/").split("/")
        if parts[0] == "files":
            return self._files[parts[1]]
        if parts[0] == "interactions":
            return self._answered(parts[1], json.loads(body))
        if headers.get(b"authorization") != f"Bot {self.token}".encode():
            raise _Refused(401, 0, "401: Unauthorized")
        with self._lock:
            match method, *parts:
                case "GET", "users", "@me":
                    return {"id": ME, "username": "roost", "bot": True}
                case "GET", "gateway", "bot":
                    return {"url": self._gateway, "shards": 1, "session_start_limit": {"remaining": 1000}}
                case "PUT", "applications", application, "commands" if application == APPLICATION:
                    self.commands = [one["name"] for one in json.loads(body) if one["description"]]
                    return json.loads(body)
                case "GET", "channels", channel, "messages":
                    return self._page(channel, parse_qs(scope["query_string"].decode()))
                case "POST", "channels", channel, "messages":
                    return self._posted(channel, *_parsed(headers, body), extra)
                case "PATCH", "channels", channel, "messages", id:
                    return self._edited(channel, id, json.loads(body))
                case "POST", "channels", _, "typing":
                    return None
                case _:
                    raise _Refused(404, 0, "404: Not Found")

    def _page(self, channel: str, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        """Return the messages after one, the newest first, as Discord does. They do not name their server."""
        limit, after = int(query["limit"][0]), int(query["after"][0])
        if not 1 <= limit <= 100:
            raise _Refused(400, 50035, "Invalid Form Body")
        later = [one for one in self._written.get(channel, []) if int(one["id"]) > after][:limit]
        return [{name: value for name, value in one.items() if name != "guild_id"} for one in reversed(later)]

    def _posted(
        self, channel: str, given: dict[str, Any], files: list[tuple[str, bytes]], extra: list[tuple[bytes, bytes]]
    ) -> Any:
        fault = self._faults.pop(0) if self._faults else 0
        if fault > 0:
            raise _Refused(fault, 0, "a fault", **({"retry_after": 0.3, "global": False} if fault == 429 else {}))
        self._throttle(channel, extra)
        buttons = _checked(given, _CREATE, files)
        nonce = (channel, str(given.get("nonce", "")))
        if given.get("enforce_nonce") and nonce in self._nonces:
            self.repeated += 1
            return {"id": self._nonces[nonce], "channel_id": channel}
        id = self._id()
        self._sent[id] = Sent(channel, id, given.get("content", ""), buttons, files, 0, given.get("flags", 0))
        self._nonces[nonce] = id
        me = {"id": ME, "username": "roost", "bot": True}
        own = self._message(given.get("content", ""), channel, ME) | {"id": id, "author": me}
        self._tell("MESSAGE_CREATE", own)
        if fault < 0:
            raise _Refused(502, 0, "Bad Gateway")
        return {"id": id, "channel_id": channel}

    def _edited(self, channel: str, id: str, given: dict[str, Any]) -> Any:
        known = self._sent.get(id)
        if known is None or known.channel != channel:
            raise _Refused(404, 10008, "Unknown Message")
        buttons = _checked(given, _EDIT, [])
        self._sent[id] = known._replace(text=given["content"], buttons=buttons, edits=known.edits + 1)
        return {"id": id}

    def _answered(self, id: str, given: dict[str, Any]) -> None:
        with self._lock:
            if self._interactions.get(id, True):
                raise _Refused(404, 10062, "Unknown interaction")
            self._interactions[id] = True
            self.whispers.append(given["data"]["content"])

    def _throttle(self, channel: str, extra: list[tuple[bytes, bytes]]) -> None:
        now = time.monotonic()
        taken = self._taken[channel] = [one for one in self._taken.get(channel, []) if now - one < 5.0]
        left = 5 - len(taken)
        reset = 5.0 - (now - taken[0]) if taken else 5.0
        if self.limits and left <= 0:
            self.throttled += 1
            raise _Refused(429, 0, "You are being rate limited.", retry_after=reset, **{"global": False})
        taken.append(now)
        if self.limits:
            extra += [
                (b"x-ratelimit-limit", b"5"),
                (b"x-ratelimit-remaining", str(left - 1).encode()),
                (b"x-ratelimit-reset-after", f"{reset:.3f}".encode()),
                (b"x-ratelimit-bucket", b"messages"),
            ]

    # Shapes

    def _message(self, text: str, channel: str, user: str) -> dict[str, Any]:
        mentions = [{"id": ME, "username": "roost"}] if f"<@{ME}>" in text else []
        author = {"id": user, "username": f"user{user}", "global_name": f"User {user}"}
        shape: dict[str, Any] = {"id": self._id(), "channel_id": channel, "author": author, "content": text, "type": 0}
        shape |= {"mentions": mentions, "attachments": [], "edited_timestamp": None}
        return shape | ({} if channel == DIRECT else {"guild_id": GUILD})

    def _interaction(self, kind: int, data: dict[str, Any], channel: str, user: str) -> None:
        with self._lock:
            about = {"id": user, "username": f"user{user}", "global_name": f"User {user}"}
            who = {"user": about} if channel == DIRECT else {"member": {"user": about}, "guild_id": GUILD}
            id = self._id()
            self._interactions[id] = False
            given = {"id": id, "application_id": APPLICATION, "type": kind, "token": secrets.token_hex(8), "data": data}
            self._tell("INTERACTION_CREATE", {**given, "channel_id": channel, **who})

    def _id(self) -> str:
        return str(((int(time.time() * 1000) - _EPOCH) << 22) + next(self._ids))


class DiscordServer(Discord, InThread):
    """The double, served in a thread of this process: `with DiscordServer() as discord: discord.url`."""

    def __init__(self, *, port: int = 0, **more: Any) -> None:
        super().__init__(**more)
        self.listen_at(port, "/api/v10")

    def said(self) -> list[Any]:
        return list(self._sent.values())


def _parsed(headers: dict[bytes, bytes], body: bytes) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    """Return the JSON of a message, and its files."""
    kind = headers.get(b"content-type", b"")
    if not kind.startswith(b"multipart/form-data"):
        return json.loads(body), []
    whole = b"Content-Type: " + kind + b"\r\n\r\n" + body
    given, files = dict[str, Any](), list[tuple[str, bytes]]()
    for part in email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(whole).iter_parts():
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        if name == "payload_json":
            given = json.loads(data)
        else:
            files.append((part.get_filename() or "", data))
    return given, files


def _checked(given: dict[str, Any], known: set[str], files: Sequence[Any]) -> list[tuple[str, str]]:
    """Check a message as Discord does. Return its buttons."""
    if set(given) - known:
        raise _Refused(400, 50035, f"Invalid Form Body: {sorted(set(given) - known)}")
    content = given.get("content", "")
    if not content.strip() and not files:
        raise _Refused(400, 50006, "Cannot send an empty message")
    if len(content) > _TEXT or len(str(given.get("nonce", ""))) > _NONCE:
        raise _Refused(400, 50035, "Invalid Form Body")
    if given.get("allowed_mentions") != {"parse": []}:
        raise _Refused(400, 0, "this double lets no bot mention anybody")
    buttons = list[tuple[str, str]]()
    for row in given.get("components", []):
        for one in row["components"]:
            good = row["type"] == 1 and one["type"] == 2 and one["style"] in range(1, 5)
            if not good or not 1 <= len(one["custom_id"]) <= _CUSTOM_ID or not 1 <= len(one["label"]) <= _LABEL:
                raise _Refused(400, 50035, "Invalid Form Body")
            buttons.append((one["label"], one["custom_id"]))
    return buttons
