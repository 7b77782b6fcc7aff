"""Send an answer of the stub provider: cut into writes, and broken where the script says so."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from email.utils import formatdate
from time import time
from typing import Any, cast

import msgspec
from starlette.responses import JSONResponse, Response

from roost.models.framing import STREAM_TYPES, Framing
from roost.stub.connection_faults import Line
from roost.stub.dialects.base import Asked, Dialect, Ends, Framed
from roost.stub.script import Fault, FaultKind, Reply
from roost.stub.stats import Meter

JSON = "application/json"
INSTEAD: frozenset[FaultKind] = frozenset({"status", "html", "empty", "redirect"})
"""Faults that replace the answer."""
_ENDS: frozenset[FaultKind] = frozenset({"reset", "close", "short", "stall"})
_END = b"data: [DONE]\n\n"
_PAGE = b"<html><body><h1>Sign in</h1> to use this network</body></html>"
_NOISE: dict[Framing, bytes] = {"sse": b": " + b"." * 16_380 + b"\n\n", "ndjson": b"\n" * 16_384}
"""What readers of frames ignore: a comment, blank lines."""
_FRAME_END: dict[Framing, bytes] = {"sse": b"\n\n", "ndjson": b"\n"}


class Body(msgspec.Struct, frozen=True):
    """An answer in its writes. kind: its content type. JSON documents are sent with their length."""

    writes: list[bytes]
    framing: Framing
    kind: str

    @property
    def size(self) -> int:
        return sum(map(len, self.writes))

    @property
    def whole(self) -> bool:
        return self.kind == JSON


def framing_of(dialect: Dialect) -> Framing:
    return dialect.framing if isinstance(dialect, Framed) else "sse"


def refusal(fault: Fault, dialect: Dialect) -> Response:
    match fault.kind:
        case "status":
            return JSONResponse(dialect.error(fault.status, fault.message), fault.status, _retry(fault))
        case "redirect":
            return Response(b"", 307, {"Location": fault.message})
        case "html":
            return Response(_PAGE, media_type="text/html")
        case _:
            return Response(b"", media_type=STREAM_TYPES[framing_of(dialect)])


def located(error: Exception) -> str:
    """Name an error and the line that raised it."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    return f"{said} at {place.filename.rpartition('/')[2]}:{place.lineno}: {place.line}"


def broken(error: Exception) -> Response:
    """Return the answer of a stub whose dialect or script raised `error`. A retry would meet the same bug."""
    message = f"the stub's dialect or script failed: {located(error)}"
    return JSONResponse({"error": {"message": message}}, 500, {"X-Should-Retry": "false"})


def _retry(fault: Fault) -> dict[str, str]:
    if fault.retry_date is not None:
        return {"Retry-After": formatdate(time() + fault.retry_date, usegmt=True)}
    return {"Retry-After": fault.retry_after} if fault.retry_after is not None else {}


def body_of(dialect: Dialect, reply: Reply, asked: Asked, kind: FaultKind | None) -> Body:
    """Return the body, without faults at a position in it."""
    ends = dialect if isinstance(dialect, Ends) else None
    reply = _stopped(reply, ends.stop_words(asked.body)) if ends else reply
    framing = framing_of(dialect)
    if (asked.stream and kind != "json") or (not asked.stream and kind == "stream"):
        frames = dialect.frames(reply, asked, finish=kind != "no_finish")
        # A server that dies does not send its end mark either.
        writes = [frame for frame in frames if frame != _END] if kind == "no_finish" else frames
        return Body(writes, framing, STREAM_TYPES[framing])
    document = dialect.document(reply, asked)
    if kind == "no_finish" and ends:
        document = _unfinished(document, ends.finish_fields)
    return Body([document], framing, JSON)


def faulty(body: Body, fault: Fault | None, dialect: Dialect, chunk: int | None) -> Body:
    """Return `body` with the faults that change its content, cut into writes."""
    writes, kind = body.writes, body.kind
    at = 0 if fault is None else place(fault, body.size)
    match fault.kind if fault else None:
        case "malformed":
            writes = [_split(writes[0], at, b"\0{")] if body.whole else _put(_broken(body, at), writes, at)
        case "error" if fault is not None:
            error = msgspec.json.encode(dialect.error(fault.status, fault.message))
            frame = dialect.error_frame(fault.status, fault.message)
            writes = [error] if body.whole else _put(frame, writes, at, last=True)
        case "plain":
            kind = "text/plain"
        case "trickle":
            chunk = max(1, body.size // 50)
        case _:
            pass
    return Body(writes if chunk is None else _cut(writes, chunk), body.framing, kind)


def _stopped(reply: Reply, words: Sequence[str]) -> Reply:
    """End the answer before the first stop word."""
    ends = [at for word in words if (at := reply.text.find(word)) >= 0]
    return msgspec.structs.replace(reply, text=reply.text[: min(ends)], calls=()) if ends else reply


def place(fault: Fault, size: int) -> int:
    return fault.at if fault.at >= 0 else max(0, size + fault.at)


async def send(body: Body, fault: Fault | None, pace: float, line: Line, meter: Meter) -> bool:
    """Send the body. Returns whether it was written to its end."""
    kind = fault.kind if fault else None
    if fault is not None and kind in ("reset", "close") and not place(fault, body.size):
        return await line.abort(reset=kind == "reset")
    if fault is not None and kind == "head":
        return await line.behead(fault.at)
    if fault is not None and kind == "trickle":
        pace = fault.seconds / max(1, len(body.writes))
    elif body.whole:
        pace = 0.0  # a document has no deltas
    await line.start(body.kind, body.size if body.whole and kind != "short" else None)
    for step in _steps(body, fault):
        if isinstance(step, bytes):
            meter.add(len(step))
            await line.write(step)
            if line.gone or (pace and await line.wait(pace)):
                return False
        elif step.kind == "short":
            break
        elif step.kind != "stall":
            return await line.abort(reset=step.kind == "reset")
        elif await line.wait(step.seconds):
            return False
    await line.write(b"", more=False)
    return kind != "short"


def _steps(body: Body, fault: Fault | None) -> Iterator[bytes | Fault]:
    """Yield the writes, and the fault at its position among them."""
    if fault is None or fault.kind not in (*_ENDS, "flood"):
        yield from body.writes
        return
    flood = fault.kind == "flood"
    before, after = _halves(body.writes, place(fault, body.size), frames=flood)
    yield from before
    if not flood:
        yield fault
    elif not body.whole:
        noise = _NOISE[body.framing]
        yield from (noise for _ in range(0, fault.size, len(noise)))
    yield from after


def _halves(writes: list[bytes], at: int, *, frames: bool) -> tuple[list[bytes], list[bytes]]:
    """Split the writes at byte `at`; with `frames` no write is split."""
    passed = 0
    for index, write in enumerate(writes):
        if passed + len(write) >= at:
            cut = len(write) if frames else at - passed
            return [*writes[:index], write[:cut]], [write[cut:], *writes[index + 1 :]]
        passed += len(write)
    return writes, []


def _broken(body: Body, at: int) -> bytes:
    """Return half of the frame that holds byte `at`."""
    passed, end = 0, _FRAME_END[body.framing]
    for frame in body.writes:
        passed += len(frame)
        if passed > at:
            return frame[: max(len(frame) // 2, frame.find(b"{") + 2)].rstrip() + end
    return (b"data: {" if body.framing == "sse" else b"{") + end


def _put(frame: bytes, frames: list[bytes], at: int, *, last: bool = False) -> list[bytes]:
    """Insert `frame` after the one that holds byte `at`, but never after the end. `last`: drop all that follows."""
    passed, index = 0, len(frames) - 1
    for number, other in enumerate(frames):
        passed += len(other)
        if passed > at:
            index = number + 1
            break
    return [*frames[:index], frame, *([] if last else frames[index:])]


def _split(data: bytes, at: int, between: bytes) -> bytes:
    at = min(at, len(data) - 1)
    return data[:at] + between + data[at:]


def _cut(frames: list[bytes], size: int) -> list[bytes]:
    whole = b"".join(frames)
    return [whole[at : at + size] for at in range(0, len(whole), size)]


def _unfinished(document: bytes, finish_fields: frozenset[str]) -> bytes:
    """Return the document without its finish reason."""

    def strip(value: Any, depth: int) -> Any:
        if depth == 3:
            return value
        if isinstance(value, list):
            return [strip(item, depth + 1) for item in cast("list[Any]", value)]
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            return {key: strip(item, depth + 1) for key, item in fields.items() if key not in finish_fields}
        return value

    return msgspec.json.encode(strip(msgspec.json.decode(document), 0))
