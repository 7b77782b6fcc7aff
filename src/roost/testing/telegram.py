"""A strict test double of Telegram's Bot API, on loopback.

    with TelegramServer() as telegram:
        # bots.toml: api = telegram.url, and the bot's token is telegram.token
        telegram.write("Hello")
        telegram.until(lambda: telegram.texts() == ["Hello yourself."])

It checks each request as Telegram's documentation says, and refuses what Telegram would refuse: entities that do not
fit the text, data of buttons above 64 bytes, a second poller. It limits rates as Telegram does, and makes the
faults that are asked for. What a bot has acknowledged is forgotten, what it has not comes again."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, Literal, NamedTuple, TypeAlias
from urllib.parse import unquote

from roost.testing.in_thread import InThread

TOKEN = "123456789:AAfake-token-of-a-test-double-0123456"
Fault: TypeAlias = Literal["500", "429", "drop", "lost", "html"]
"""500, 429: the status. drop: the connection ends before the request is looked at. lost: it takes effect, and the
connection ends before the answer. html: a proxy's page with status 502."""
_TEXT, _DATA, _ENTITIES = 4096, 64, 100
_FILE, _PHOTO = 50_000_000, 10_000_000
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")
_KINDS = frozenset("bold italic underline strikethrough spoiler blockquote code pre text_link".split())
_PARAMETERS = {
    "getMe": "",
    "getUpdates": "offset limit timeout allowed_updates",
    "setWebhook": "url secret_token allowed_updates max_connections drop_pending_updates",
    "deleteWebhook": "drop_pending_updates",
    "sendMessage": "chat_id message_thread_id text entities link_preview_options reply_markup disable_notification",
    "editMessageText": "chat_id message_id text entities link_preview_options reply_markup",
    "sendChatAction": "chat_id message_thread_id action",
    "answerCallbackQuery": "callback_query_id text show_alert",
    "getFile": "file_id",
    "sendDocument": "chat_id message_thread_id document caption disable_notification",
    "sendPhoto": "chat_id message_thread_id photo caption disable_notification",
}


class SentFile(NamedTuple):
    """A file of the bot. kind: photo or document."""

    kind: str
    name: str
    media_type: str
    data: bytes


class Sent(NamedTuple):
    """A message of the bot, as it is now. edits: how often it was changed. buttons: texts and data."""

    id: int
    chat: int
    text: str
    entities: Sequence[Mapping[str, Any]] = ()
    buttons: Sequence[tuple[str, str]] = ()
    edits: int = 0
    thread: int | None = None
    at: float = 0.0
    file: SentFile | None = None

    def styled(self, kind: str) -> list[str]:
        """Return the parts of the text that have a style."""
        data = self.text.encode("utf-16-le")
        return [
            data[2 * one["offset"] : 2 * (one["offset"] + one["length"])].decode("utf-16-le")
            for one in self.entities
            if one["type"] == kind
        ]


class _Refused(Exception):
    def __init__(self, status: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        self.status, self.description, self.parameters = status, description, parameters


class Telegram:
    """The state of the double, and the ASGI application over it. Its methods may be called from any thread.

    limits: whether rates are limited: so many messages to a chat at once, then one a second; a group gets 20 a minute;
    all chats together `whole` a second.
    """

    def __init__(
        self, token: str = TOKEN, *, username: str = "roost_bot", limits: bool = True, burst: int = 3, whole: int = 30
    ) -> None:
        self.token, self.username, self.limits, self.burst = token, username, limits, burst
        self.whole = whole
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.conflicts = self.throttled = 0
        self.presses: dict[str, str] = {}
        """The answers to presses of buttons, by their ids."""
        self.actions: list[int] = []
        self.watch: Callable[[str, str], None] = lambda method, moment: None
        """Called with the method of each request `before` it takes effect and `after`, before its answer is sent."""
        self.blocked: set[int] = set()
        """Chats whose people have blocked the bot."""
        self.migrated: dict[int, int] = {}
        """Groups that have become supergroups: by their former ids, the new ones."""
        self.no_styles: set[int] = set()
        """Chats where styles are refused, as Telegram does when it cannot read them."""
        self._recent: deque[float] = deque()
        self.files_wait = False
        """While it is true, no file is served: as if it were large."""
        self._lock = threading.RLock()
        self._sent: dict[int, Sent] = {}
        self._updates: list[dict[str, Any]] = []
        self._all: list[dict[str, Any]] = []
        self._numbers, self._messages = itertools.count(1000), itertools.count(1)
        self._files: dict[str, bytes] = {}
        self._faults: list[tuple[Fault, str, float]] = []
        self._buckets: dict[int, tuple[float, float]] = {}
        self.webhook: tuple[str, str] | None = None
        self._poll = 0
        self._pollers: dict[int, asyncio.Event] = {}

    # What people do

    def write(self, text: str = "", *, user: int = 7, name: str = "Ada", chat: int | None = None, **more: Any) -> int:
        """A person writes. chat: a group (below zero); by default their own chat. Return the message's id."""
        return self._enter("message", self._message(text, user, name, chat, **more))

    def edit(self, message: int, text: str, *, user: int = 7, name: str = "Ada", chat: int | None = None) -> None:
        """A person edits their message."""
        given = self._message(text, user, name, chat)
        self._enter("edited_message", {**given, "message_id": message, "edit_date": int(time.time())})

    def send_file(self, kind: str, data: bytes, *, user: int = 7, name: str = "Ada", **more: Any) -> int:
        """A person sends a file. kind: photo, document, voice, audio, video or sticker."""
        with self._lock:
            id = f"file-{len(self._files)}"
            self._files[id] = data
        file = {"file_id": id, "file_unique_id": f"u{id}", "file_size": len(data), **more.pop("file", {})}
        content: Any = [{**file, "width": 9, "height": 9}] if kind == "photo" else file
        return self._enter("message", self._message("", user, name, None, **{kind: content}, **more))

    def album(
        self, *files: bytes, caption: str = "", user: int = 7, name: str = "Ada", apart: float = 0.0
    ) -> list[int]:
        """A person sends photos as one album. apart: seconds between its updates; without it they come at once. Return
        the ids of its messages."""
        group = f"group-{next(self._messages)}"

        def part(number: int, data: bytes) -> int:
            time.sleep(apart if number else 0.0)
            more: dict[str, Any] = {"media_group_id": group} | ({"caption": caption} if caption and not number else {})
            return self.send_file("photo", data, user=user, name=name, **more)

        with contextlib.nullcontext() if apart else self._lock:
            return [part(number, data) for number, data in enumerate(files)]

    def migrate(self, group: int, to: int) -> None:
        """A group becomes a supergroup: it has another id from now on."""
        given = self._message("", 7, "Ada", group)
        given["chat"]["type"] = "group"
        self.migrated[group] = to
        self._enter("message", {**given, "migrate_to_chat_id": to})

    def press(self, message: Sent, button: str, *, user: int = 7, name: str = "Ada") -> str:
        """A person presses the button with this text. Return the id of the press."""
        data = dict(message.buttons)[button]
        chat = {"id": message.chat, "type": "private" if message.chat > 0 else "supergroup"}
        shown = {"message_id": message.id, "chat": chat, "date": int(time.time()), "text": message.text}
        with self._lock:
            id = f"press-{next(self._messages)}"
        person = {"id": user, "is_bot": False, "first_name": name}
        self._enter("callback_query", {"id": id, "from": person, "message": shown, "data": data})
        return id

    def repeat(self, number: int = -1) -> None:
        """Let an update come again although it was acknowledged, as after a failure at Telegram's side."""
        with self._lock:
            self._updates.append(dict(self._all[number]))

    # What a test sees

    def sent(self, chat: int = 7) -> list[Sent]:
        """Return the bot's messages in a chat, as they are now, the oldest first."""
        with self._lock:
            return [one for one in self._sent.values() if one.chat == chat]

    def texts(self, chat: int = 7) -> list[str]:
        return [one.text for one in self.sent(chat)]

    @property
    def waiting(self) -> int:
        """How many updates are not acknowledged."""
        with self._lock:
            return len(self._updates)

    @property
    def polls(self) -> bool:
        """Whether a bot waits for updates now."""
        with self._lock:
            return bool(self._pollers)

    def fail(self, fault: Fault, method: str = "sendMessage", *, times: int = 1, after: float = 0.2) -> None:
        """Let the next calls of a method fail. after: seconds that a 429 asks for."""
        with self._lock:
            for _ in range(times):
                self._faults.append((fault, method, after))

    # The API

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        start, _, method = unquote(scope["path"]).rpartition("/")
        if start.startswith(f"/file/bot{self.token}"):
            return await self._file(method, send)
        fault = self._fault(method)
        if fault == "drop":
            raise ConnectionAbortedError("a fault that the test asked for")
        self.watch(method, "before")
        kind = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1")
        status, answer = await self._answer(start, method, _given(kind, body), fault)
        self.watch(method, "after")
        if fault == "lost":
            raise ConnectionAbortedError("a fault that the test asked for")
        await _respond(send, status, answer if isinstance(answer, bytes) else json.dumps(answer).encode())
        return None

    async def _answer(self, start: str, method: str, given: dict[str, Any], fault: str | None) -> tuple[int, Any]:
        try:
            if start != f"/bot{self.token}":
                raise _Refused(401, "Unauthorized")
            if fault == "html":
                return 502, b"<html>Bad Gateway</html>"
            if fault == "500":
                raise _Refused(500, "Internal Server Error")
            if fault is not None and fault.startswith("429"):
                after = float(fault.partition(" ")[2])
                raise _Refused(429, f"Too Many Requests: retry after {after:g}", retry_after=after)
            return 200, {"ok": True, "result": await self._call(method, given)}
        except _Refused as error:
            told = {"ok": False, "error_code": error.status, "description": error.description}
            return error.status, told | ({"parameters": error.parameters} if error.parameters else {})

    async def _call(self, method: str, given: dict[str, Any]) -> Any:
        if method not in _PARAMETERS:
            raise _Refused(404, "Not Found")
        if unknown := set(given) - set(_PARAMETERS[method].split()):
            raise _Refused(400, f"Bad Request: {method} has no parameter {min(unknown)}")
        with self._lock:
            self.calls.append((method, given))
        match method:
            case "getMe":
                return {"id": 42, "is_bot": True, "first_name": "Roost", "username": self.username}
            case "getUpdates":
                return await self._get_updates(given)
            case "setWebhook":
                self.webhook = (given["url"], given.get("secret_token", ""))
                return True
            case "deleteWebhook":
                self.webhook = None
                return True
            case "sendMessage":
                return self._send(given)
            case "sendPhoto" | "sendDocument":
                return self._send_file(method.removeprefix("send").lower(), given)
            case "editMessageText":
                return self._change(given)
            case "getFile":
                return self._get_file(given)
            case "answerCallbackQuery":
                self.presses[given["callback_query_id"]] = given.get("text", "")
                return True
            case _:
                self.actions.append(given["chat_id"])
                return True

    async def _get_updates(self, given: dict[str, Any]) -> list[Any]:
        if self.webhook is not None:
            raise _Refused(409, "Conflict: can't use getUpdates method while webhook is active")
        with self._lock:
            if (offset := given.get("offset")) is not None:
                self._updates = [one for one in self._updates if one["update_id"] >= offset]
            self._poll += 1
            mine, cut = self._poll, asyncio.Event()
            for other in self._pollers.values():
                other.set()
                self.conflicts += 1
            self._pollers[mine] = cut
        deadline = time.monotonic() + given.get("timeout", 0)
        try:
            while True:
                if cut.is_set():
                    raise _Refused(409, "Conflict: terminated by other getUpdates request")
                with self._lock:
                    found = self._updates[: given.get("limit", 100)]
                if found or time.monotonic() >= deadline:
                    return found
                await asyncio.sleep(0.01)
        finally:
            with self._lock:
                self._pollers.pop(mine, None)

    def _chat(self, given: dict[str, Any]) -> int:
        chat = given.get("chat_id")
        if not isinstance(chat, int):
            raise _Refused(400, "Bad Request: chat not found")
        if chat in self.blocked:
            raise _Refused(403, "Forbidden: bot was blocked by the user")
        if (to := self.migrated.get(chat)) is not None:
            why = "Bad Request: group chat was upgraded to a supergroup chat"
            raise _Refused(400, why, migrate_to_chat_id=to)
        return chat

    def _send_file(self, kind: str, given: dict[str, Any]) -> Any:
        chat, file = self._chat(given), given.get(kind)
        if not isinstance(file, SentFile) or not file.data:
            raise _Refused(400, f"Bad Request: there is no {kind} in the request")
        if len(file.data) > (_PHOTO if kind == "photo" else _FILE):
            raise _Refused(413, "Request Entity Too Large")
        if kind == "photo" and not file.data.startswith(_PICTURES):
            raise _Refused(400, "Bad Request: IMAGE_PROCESS_FAILED")
        with self._lock:
            self._limit(chat)
            id, file = next(self._messages), file._replace(kind=kind)
            self._sent[id] = Sent(id, chat, "", thread=given.get("message_thread_id"), at=time.monotonic(), file=file)
        return {"message_id": id, "date": int(time.time()), "chat": {"id": chat}}

    def _send(self, given: dict[str, Any]) -> Any:
        chat = self._chat(given)
        content = check_content(given)
        if content[1] and chat in self.no_styles:
            raise _Refused(400, "Bad Request: can't parse MessageEntity: this chat takes no styles")
        with self._lock:
            self._limit(chat)
            id = next(self._messages)
            self._sent[id] = Sent(id, chat, *content, thread=given.get("message_thread_id"), at=time.monotonic())
        return {"message_id": id, "date": int(time.time()), "chat": {"id": chat}, "text": content[0]}

    def _change(self, given: dict[str, Any]) -> Any:
        content = check_content(given)
        with self._lock:
            known = self._sent.get(given.get("message_id", 0))
            if known is None or known.chat != given.get("chat_id"):
                raise _Refused(400, "Bad Request: message to edit not found")
            if (known.text, list(known.buttons)) == (content[0], list(content[2])):
                raise _Refused(400, "Bad Request: message is not modified: specified new message content is the same")
            text, entities, buttons = content
            self._sent[known.id] = known._replace(text=text, entities=entities, buttons=buttons, edits=known.edits + 1)
        return {"message_id": known.id, "date": int(time.time()), "chat": {"id": known.chat}, "text": text}

    def _limit(self, chat: int) -> None:
        if not self.limits:
            return
        rate, burst = (20 / 60, 20.0) if chat < 0 else (1.0, float(self.burst))
        now = time.monotonic()
        room, then = self._buckets.get(chat, (burst, now))
        room = min(burst, room + (now - then) * rate)
        if room < 1:
            self.throttled += 1
            after = max(1, round((1 - room) / rate))
            raise _Refused(429, f"Too Many Requests: retry after {after}", retry_after=after)
        while self._recent and self._recent[0] <= now - 1.0:
            self._recent.popleft()
        if len(self._recent) >= self.whole:
            self.throttled += 1
            raise _Refused(429, "Too Many Requests: retry after 1", retry_after=1)
        self._recent.append(now)
        self._buckets[chat] = (room - 1, now)

    def _get_file(self, given: dict[str, Any]) -> Any:
        id = given.get("file_id", "")
        if id not in self._files:
            raise _Refused(400, "Bad Request: wrong file_id or the file is temporarily unavailable")
        return {"file_id": id, "file_path": id, "file_size": len(self._files[id])}

    async def _file(self, name: str, send: Any) -> None:
        data = self._files.get(name)
        while True:
            if not self.files_wait:
                break
            await asyncio.sleep(0.01)
        await _respond(send, 404 if data is None else 200, data or b"")

    def _fault(self, method: str) -> str | None:
        with self._lock:
            for at, (fault, of, after) in enumerate(self._faults):
                if of == method:
                    del self._faults[at]
                    return f"429 {after}" if fault == "429" else fault
        return None

    # Updates

    def _message(self, text: str, user: int, name: str, chat: int | None, **more: Any) -> dict[str, Any]:
        place = user if chat is None else chat
        kind: dict[str, Any] = {"type": "private"} if place > 0 else {"type": "supergroup", "title": "The group"}
        found: dict[str, Any] = {
            "message_id": next(self._messages),
            "date": int(time.time()),
            "from": {"id": user, "is_bot": False, "first_name": name},
            "chat": {"id": place, **kind},
        }
        if text:
            found |= {"text": text, "entities": _found_entities(text)}
        return found | more

    def _enter(self, kind: str, content: dict[str, Any]) -> int:
        with self._lock:
            update = {"update_id": next(self._numbers), kind: content}
            self._all.append(update)
            hook = self.webhook
            if hook is None:
                self._updates.append(update)
        if hook is not None:
            threading.Thread(target=_push, args=(*hook, update), daemon=True).start()
        return int(content.get("message_id", 0))


class TelegramServer(Telegram, InThread):
    """The double, served in a thread of this process: `with TelegramServer() as telegram: telegram.url`."""

    def __init__(self, token: str = TOKEN, *, port: int = 0, **more: Any) -> None:
        super().__init__(token, **more)
        self.listen_at(port)

    def said(self) -> list[Any]:
        return list(self._sent.values())


def check_content(given: dict[str, Any]) -> tuple[str, list[Any], list[tuple[str, str]]]:
    """Check the content of a message as Telegram does, and return its text, entities and buttons. Raises for what
    Telegram would refuse."""
    text = given.get("text")
    if not isinstance(text, str) or not text.strip():
        raise _Refused(400, "Bad Request: message text is empty")
    size = len(text.encode("utf-16-le")) // 2
    if size > _TEXT:
        raise _Refused(400, "Bad Request: message is too long")
    entities = given.get("entities", [])
    if len(entities) > _ENTITIES:
        raise _Refused(400, "Bad Request: too many entities")
    for one in entities:
        _check_entity(text, size, one)
    rows = given.get("reply_markup", {}).get("inline_keyboard", [])
    buttons = [(one["text"], one["callback_data"]) for row in rows for one in row]
    if any(not 1 <= len(data.encode()) <= _DATA for _, data in buttons):
        raise _Refused(400, "Bad Request: BUTTON_DATA_INVALID")
    return text, entities, buttons


def _given(kind: str, body: bytes) -> dict[str, Any]:
    """Return the parameters of a request: of JSON, or of a form with files."""
    if not kind.startswith("multipart/form-data"):
        return json.loads(body or b"{}")
    found: dict[str, Any] = {}
    form = BytesParser(policy=HTTP).parsebytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + body)
    for part in form.iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        file = part.get_filename()
        found[name] = json.loads(data) if file is None else SentFile("", file, part.get_content_type(), data)
    return found


def _check_entity(text: str, size: int, one: Any) -> None:
    start, length = one.get("offset"), one.get("length")
    if one.get("type") not in _KINDS or not isinstance(start, int) or not isinstance(length, int):
        raise _Refused(400, f"Bad Request: can't parse MessageEntity {one}")
    if start < 0 or length < 1 or start + length > size:
        raise _Refused(400, f"Bad Request: entity {one} begins or ends outside the text")
    try:
        text.encode("utf-16-le")[2 * start : 2 * (start + length)].decode("utf-16-le")
    except UnicodeDecodeError:
        raise _Refused(400, f"Bad Request: entity {one} begins or ends in the middle of a character") from None
    if one["type"] == "text_link" and not str(one.get("url", "")).startswith(("http://", "https://", "tg://")):
        raise _Refused(400, "Bad Request: wrong URL of a text_link")


def _found_entities(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    at = 0
    for word in text.split(" "):
        kind = "mention" if word.startswith("@") else "bot_command" if word.startswith("/") else ""
        if kind:
            offset = len(text[:at].encode("utf-16-le")) // 2
            found.append({"type": kind, "offset": offset, "length": len(word)})
        at += len(word) + 1
    return found


def _push(url: str, secret: str, update: dict[str, Any]) -> None:
    """Send an update to a webhook, until it is taken."""
    headers = {"content-type": "application/json", "x-telegram-bot-api-secret-token": secret}
    for pause in (0.1, 0.2, 0.5, 1, 1, 1, 1, 1, 1, 1):
        try:
            request = urllib.request.Request(url, json.dumps(update).encode(), headers)
            with urllib.request.urlopen(request, timeout=30) as response:
                if response.status == 200:
                    return
        except OSError:
            pass
        time.sleep(pause)


async def _respond(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
