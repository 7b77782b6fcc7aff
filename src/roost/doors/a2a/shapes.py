"""The requests of A2A, as far as they count here, and the objects of its answers. Unknown fields are ignored, but
in filters."""

from __future__ import annotations

import datetime
from typing import Any, Literal, TypeAlias

import msgspec

from roost.doors.media import base64_data
from roost.errors import Invalid
from roost.log.content import Audio, File, Image, Text, UserPart, Video

State: TypeAlias = Literal["SUBMITTED", "WORKING", "INPUT_REQUIRED", "COMPLETED", "FAILED", "CANCELED"]
Status: TypeAlias = Literal[
    "TASK_STATE_UNSPECIFIED",
    "TASK_STATE_SUBMITTED",
    "TASK_STATE_WORKING",
    "TASK_STATE_INPUT_REQUIRED",
    "TASK_STATE_AUTH_REQUIRED",
    "TASK_STATE_COMPLETED",
    "TASK_STATE_FAILED",
    "TASK_STATE_CANCELED",
    "TASK_STATE_REJECTED",
]
ENDED = ("COMPLETED", "FAILED", "CANCELED")
_MEDIA = {"image": Image, "audio": Audio, "video": Video}


class Part(msgspec.Struct, rename="camel"):
    """A part of a message: one of text, raw (base64), url and data (any JSON)."""

    text: str | None = None
    raw: str | None = None
    url: str | None = None
    data: Any = msgspec.UNSET
    media_type: str | None = None
    filename: str | None = None


class Message(msgspec.Struct, rename="camel"):
    message_id: str
    parts: list[Part]
    role: str = "ROLE_USER"
    context_id: str | None = None
    task_id: str | None = None


class Configuration(msgspec.Struct, rename="camel"):
    return_immediately: bool | None = None
    history_length: int | None = None
    task_push_notification_config: Any = None


class SendMessage(msgspec.Struct, rename="camel"):
    message: Message
    configuration: Configuration = msgspec.field(default_factory=Configuration)


class GetTask(msgspec.Struct, rename="camel"):
    """Also names the task to cancel, and to subscribe to."""

    id: str
    history_length: int | None = None


class NamedConfig(msgspec.Struct, rename="camel"):
    """Names a config for push notifications of a task."""

    task_id: str
    id: str = ""


class ListTasks(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """An unknown field is refused: it would be a filter that nobody applies."""

    tenant: str | None = None
    context_id: str | None = None
    status: Status | None = None
    status_timestamp_after: datetime.datetime | None = None
    page_size: int | None = None
    page_token: str | None = None
    history_length: int | None = None
    include_artifacts: bool | None = None


def user_parts(message: Message) -> tuple[UserPart, ...]:
    """Return the parts for a session. Raises `Invalid`."""
    if message.role not in ("ROLE_USER", "user"):
        raise Invalid(f"message.role: {message.role!r} is not ROLE_USER")
    if not message.parts:
        raise Invalid("message.parts: a message has at least one part")
    return tuple(_user_part(part, f"message.parts[{at}]") for at, part in enumerate(message.parts))


def _user_part(part: Part, where: str) -> UserPart:
    if part.text is not None:
        return Text(part.text)
    if part.data is not msgspec.UNSET:
        return Text(msgspec.json.encode(part.data).decode())
    media_type = part.media_type or "application/octet-stream"
    kind = _MEDIA.get(media_type.partition("/")[0], File)
    if part.url is not None and part.url.startswith(("http://", "https://")):
        return kind(media_type, url=part.url)
    if part.raw is None:
        raise Invalid(f"{where}: give text, data, raw or an http(s) url")
    data = base64_data(part.raw, f"{where}.raw")
    return File(media_type, data, name=part.filename) if kind is File else kind(media_type, data)


def part_of(part: UserPart) -> dict[str, Any]:
    """Return a part of a session's message in the shape of A2A."""
    if isinstance(part, Text):
        return {"text": part.text}
    where = {"url": part.url} if part.url else {"raw": part.data}
    return {**where, "mediaType": part.media_type}


def status(state: State, at: float | None = None, message: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a task's status. at: wall time, seconds."""
    told: dict[str, Any] = {"state": f"TASK_STATE_{state}"}
    if at is not None:
        moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
        told["timestamp"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if message is not None:
        told["message"] = message
    return told


def agent_message(id: str, context: str, task: str, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"messageId": id, "contextId": context, "taskId": task, "role": "ROLE_AGENT", "parts": list(parts)}


def artifact(text: str) -> dict[str, Any]:
    """Return the artifact that is the agent's answer, or a piece of it."""
    return {"artifactId": "answer", "name": "answer", "parts": [{"text": text}]}
