"""The shapes of the protocol `roost.v1`. Every message is one JSON object in a text frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from roost.api.shapes import Position
from roost.errors import Invalid
from roost.log.frames import Frame
from roost.server.problems import Problem, Refused
from roost.server.responses import encode
from roost.server.validation_messages import said

T = TypeVar("T")
_CHUNK = 64 * 1024

FrameId: TypeAlias = Annotated[str, Meta(max_length=128)] | int


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client asks. id: chosen by the client, repeated in the answer. op: `subscribe`, `unsubscribe`, or an
    operation of the API by its name in the client library, such as `inputs.send`. key: the idempotency key."""

    op: Annotated[str, Meta(max_length=128)]
    id: FrameId | None = None
    key: str | None = None
    args: dict[str, Any] = {}


class Subscribe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """after: the position in the session's log behind which the events begin."""

    session: str
    after: Position = 0
    deltas: bool = True


class Unsubscribe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    session: str


class Result(msgspec.Struct, frozen=True, tag_field="type", tag="result"):
    """The answer to a request. status: that of the same request over HTTP. body: its JSON."""

    id: FrameId | None
    status: int
    body: Any


class Failure(msgspec.Struct, frozen=True, tag_field="type", tag="error", omit_defaults=True):
    """The answer to a request that failed. id: None when the message could not be read. retry_after: seconds."""

    id: FrameId | None
    problem: Problem | msgspec.Raw
    retry_after: int | None = None


class End(msgspec.Struct, frozen=True, tag_field="type", tag="end"):
    """The end of a subscription, or with `session` None of the connection."""

    session: str | None
    problem: Problem


class ChannelEvent(msgspec.Struct, frozen=True, tag_field="type", tag="channel"):
    """Something other than output that a channel tells."""

    channel: int
    event: dict[str, Any]


class ChannelEnd(msgspec.Struct, frozen=True, tag_field="type", tag="end"):
    """The end of a channel by an error."""

    channel: int
    problem: Problem


_requests = msgspec.json.Decoder(Request)


def read_request(text: str) -> Request:
    """Decode a client's message. Raises `Refused` (not JSON) and `Invalid` (JSON of another shape)."""
    try:
        return _requests.decode(text)
    except msgspec.ValidationError as error:
        raise Invalid(said(error, "the message")) from None
    except RecursionError:
        raise Invalid("the message is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Refused(400, "invalid_json", f"the message is not JSON: {error}") from None


def id_of(text: str) -> FrameId | None:
    """Return the id of a message that is no request otherwise, if it has one."""
    try:
        return msgspec.json.decode(text, type=_Id).id
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None


class _Id(msgspec.Struct):
    id: FrameId | None = None


def written(message: Result | Failure | End | ChannelEvent | ChannelEnd) -> str:
    return encode(message).decode()


def output(channel: int, head: Mapping[str, Any], data: bytes) -> bytes:
    """Encode output of a channel as a binary message: a line of JSON, and the bytes."""
    return encode({"type": "output", "channel": channel, **head}) + b"\n" + data


def arguments(asked: Request, shape: type[T]) -> T:
    """Return the arguments of a request that changes nothing. Raises `Invalid`."""
    if asked.key is not None:
        raise Invalid(f"{asked.op} takes no key: it changes nothing")
    try:
        return msgspec.convert(asked.args, shape)
    except msgspec.ValidationError as error:
        raise Invalid(f"args: {said(error, 'the arguments')}") from None


def events(session: str, frames: Sequence[Frame]) -> Iterator[str]:
    """Encode frames of a session's stream as messages, many frames to a message. Only events of the log have a `seq`,
    with which a client resumes."""
    head = b'{"type":"events","session":%b,"events":[' % encode(session)
    parts: list[bytes] = []
    size = 0
    for seq, body in frames:
        parts.append(b'{"event":%b}' % body if seq is None else b'{"seq":%d,"event":%b}' % (seq, body))
        size += len(parts[-1])
        if size >= _CHUNK:
            yield (head + b",".join(parts) + b"]}").decode()
            parts.clear()
            size = 0
    if parts:
        yield (head + b",".join(parts) + b"]}").decode()
