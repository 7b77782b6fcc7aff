"""Make a response of the Responses API: its items, and the events of its stream.

The number of an event says how much of the response was sent up to it: it counts events and, in a delta, characters.
So it is the same however a text is cut into deltas, and a stream that is made again from the log, after a restart of
the daemon, goes on behind any number. The lower bits of a number are a checksum of all texts up to there: a client that
holds a text which is no longer the answer is told so."""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from roost.doors.openai.errors import error_of
from roost.doors.openai.response_items import CUSTOM
from roost.errors import Conflict
from roost.log.content import ToolCall, Usage
from roost.server.problems import Problem
from roost.server.responses import encode

Kind: TypeAlias = Literal["text", "thinking"]
Status: TypeAlias = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
Phase: TypeAlias = Literal["commentary", "final_answer"]
_BITS = 12
_CHECK = (1 << _BITS) - 1
_TOP = 2**53
DEFAULTS: dict[str, Any] = {
    "background": False, "error": None, "incomplete_details": None, "instructions": None, "max_output_tokens": None,
    "max_tool_calls": None, "metadata": {}, "parallel_tool_calls": True, "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None}, "service_tier": "default", "store": True, "temperature": None,
    "text": {"format": {"type": "text"}}, "tool_choice": "auto", "top_p": None, "truncation": "disabled", "usage": None,
}  # fmt: skip


class End(NamedTuple):
    """How a response ended. reason: why it is incomplete. at: when; None: now."""

    status: Status
    usage: Usage | None = None
    problem: Problem | None = None
    reason: str | None = None
    at: float | None = None


def head_of(
    id: str, model: str, shown: Mapping[str, Any], tools: list[dict[str, Any]] | None, created: float
) -> dict[str, Any]:
    """Return what all states of a response have in common. shown: what it shows of its request."""
    fixed = {"id": id, "object": "response", "created_at": int(created), "model": model}
    return {**fixed, **DEFAULTS, **shown, "tools": msgspec.Raw(encode(tools or []))}


def usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.written},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.thinking},
        "total_tokens": usage.input + usage.output,
    }


class _Item:
    """An item that is being said."""

    def __init__(self, kind: Kind, step: int, index: int, id: str) -> None:
        self.kind: Kind = kind
        self.step, self.index, self.id = step, index, id
        self.texts: list[str] = []
        self.seal: str | None = None
        if kind == "text":
            place: dict[str, Any] = {"output_index": index, "item_id": id, "content_index": 0, "logprobs": []}
        else:
            place = {"output_index": index, "item_id": id, "summary_index": 0}
        self.place = place
        self.type = "response.output_text" if kind == "text" else "response.reasoning_summary_text"
        self.delta = _Delta(self.type + ".delta", place)

    def shown(self, text: str | None, phase: Phase | None = None) -> dict[str, Any]:
        """Return the item. text: None while it is being said."""
        status = "in_progress" if text is None else "completed"
        if self.kind == "thinking":
            summary = [{"type": "summary_text", "text": text}] if text else []
            item: dict[str, Any] = {"id": self.id, "type": "reasoning", "summary": summary, "status": status}
            return item | ({"encrypted_content": self.seal} if self.seal is not None else {})
        content = [] if text is None else [self.part(text)]
        item = {"id": self.id, "type": "message", "role": "assistant", "status": status, "content": content}
        return item | ({"phase": phase} if phase is not None else {})

    def part(self, text: str) -> dict[str, Any]:
        if self.kind == "thinking":
            return {"type": "summary_text", "text": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


class _Delta:
    """How the deltas of one text are encoded. place: what they say of where it stands."""

    def __init__(self, kind: str, place: dict[str, Any]) -> None:
        self._head = b'event: %b\ndata: {"type":"%b","sequence_number":' % (kind.encode(), kind.encode())
        self._place = b"," + encode(place)[1:-1] + b',"delta":'

    def event(self, number: int, text: str) -> bytes:
        return b"%b%d%b%b}\n\n" % (self._head, number, self._place, encode(text))


class ResponseWriter:
    """Make one response. head: from `head_of`. streams: also make the events; else only the items. after: leave out the
    events up to this number. holds: an item ends only with the response, because its seal comes last."""

    def __init__(
        self,
        head: dict[str, Any],
        *,
        streams: bool,
        after: int | None = None,
        custom: frozenset[str] = frozenset(),
        holds: bool = False,
    ) -> None:
        self.head = head
        self.output: list[dict[str, Any]] = []
        self._id = str(head["id"]).partition("_")[2]
        self._streams, self._custom, self._holds = streams, custom, holds
        self._chunks: list[bytes] = []
        self._open: dict[Kind, _Item] = {}
        self._said = 0
        self._check = 0
        self._after = -1 if after is None else min(after, _TOP) >> _BITS
        self._expected = None if after is None else after & _CHECK

    def take(self) -> bytes:
        """Return the events since the last call."""
        if not (chunks := self._chunks):
            return b""
        self._chunks = []
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def begin(self) -> None:
        state = msgspec.Raw(encode(self.state(End("in_progress")))) if self._streams else None
        self._event("response.created", {"response": state})
        self._event("response.in_progress", {"response": state})

    def say(self, kind: Kind, text: str, step: int = 0) -> None:
        """Add a piece of what the model says in call `step`."""
        item = self._open.get(kind)
        if item is None or item.step != step:
            item = self._begin_item(kind, step)
        elif len(self._open) > 1 and not self._holds:
            self._close_others(kind, step)
        item.texts.append(text)
        if self._streams:
            self._delta(item.delta, text)

    def seal(self, seal: str) -> None:
        """Give the open reasoning its `encrypted_content`, or add an item that has nothing else."""
        item = self._open.get("thinking") or self._begin_item("thinking", 0)
        item.seal = seal

    def add_seal(self, seal: str) -> None:
        """Add an item of reasoning that shows nothing, and end it."""
        item = self._begin_item("thinking", 0)
        item.seal = seal
        self._close(item, None)

    def close(self, phase: Phase) -> None:
        """End the open items, in their order."""
        for item in sorted(self._open.values(), key=lambda item: item.index):
            self._close(item, phase)

    def call(self, call: ToolCall) -> None:
        """Add a call that the client is to run."""
        index, custom = len(self.output), call.name in self._custom
        kind, field = ("custom_tool_call", "input") if custom else ("function_call", "arguments")
        id = f"{'ctc' if custom else 'fc'}_{self._id}.{index}"
        text = _input(call.arguments) if custom else call.arguments
        item = {"id": id, "type": kind, "call_id": call.id, "name": call.name}
        whole = {**item, field: text, "status": "completed"}
        self.output.append(whole)
        place = {"output_index": index, "item_id": id}
        event = "response.custom_tool_call_input" if custom else "response.function_call_arguments"
        empty = {**item, field: "", "status": "in_progress"}
        self._event("response.output_item.added", {"output_index": index, "item": empty})
        if text and self._streams:
            self._delta(_Delta(event + ".delta", place), text)
        self._event(event + ".done", {**place, field: text, **({} if custom else {"name": call.name})})
        self._event("response.output_item.done", {"output_index": index, "item": whole})

    def end(self, end: End) -> None:
        """End the response. Raises `Conflict` when the events to leave out are more than it has."""
        self.close("final_answer")
        kind = "failed" if end.status == "cancelled" else end.status
        self._event(f"response.{kind}", {"response": self.state(end)})
        if self._said <= self._after:
            raise _changed()

    def error(self, problem: Problem) -> bytes:
        """Return the event that ends a stream without its response."""
        error = error_of(problem)
        body = {"type": "error", "sequence_number": self._said << _BITS | self._check & _CHECK, "param": None}
        return b"event: error\ndata: %b\n\n" % encode(body | {"code": error["code"], "message": error["message"]})

    def state(self, end: End) -> dict[str, Any]:
        """Return the response as it is."""
        more: dict[str, Any] = {"status": end.status, "output": self.output}
        if end.status == "completed":
            more["completed_at"] = int(time.time() if end.at is None else end.at)
        if end.usage is not None:
            more["usage"] = usage_of(end.usage)
        if end.reason is not None:
            more["incomplete_details"] = {"reason": end.reason}
        if end.problem is not None:
            error = error_of(end.problem)
            more["error"] = {"code": error["code"], "message": error["message"]}
        return {**self.head, **more}

    def _begin_item(self, kind: Kind, step: int) -> _Item:
        self._close_others(kind, step)
        index = len(self.output)
        item = self._open[kind] = _Item(kind, step, index, f"{'msg' if kind == 'text' else 'rs'}_{self._id}.{index}")
        self.output.append(item.shown(None))
        self._event("response.output_item.added", {"output_index": index, "item": self.output[index]})
        part = {"output_index": index, "item_id": item.id, "part": item.part("")}
        if kind == "text":
            self._event("response.content_part.added", {**part, "content_index": 0})
        else:
            self._event("response.reasoning_summary_part.added", {**part, "summary_index": 0})
        return item

    def _close_others(self, kind: Kind, step: int) -> None:
        if self._holds:
            return
        for item in list(self._open.values()):
            if item.kind != kind or item.step != step:
                self._close(item, "commentary")

    def _close(self, item: _Item, phase: Phase | None) -> None:
        del self._open[item.kind]
        text = "".join(item.texts)
        whole = self.output[item.index] = item.shown(text, phase)
        if not self._streams:
            return
        self._event(item.type + ".done", {**item.place, "text": text})
        part = {key: value for key, value in item.place.items() if key != "logprobs"} | {"part": item.part(text)}
        name = "content_part" if item.kind == "text" else "reasoning_summary_part"
        self._event(f"response.{name}.done", part)
        self._event("response.output_item.done", {"output_index": item.index, "item": whole})

    def _event(self, kind: str, fields: dict[str, Any]) -> None:
        if not self._streams:
            return
        number, said = self._said << _BITS | self._check & _CHECK, self._said
        self._said += 1
        if said <= self._after:
            self._compare(said)
            return
        body = encode({"type": kind, "sequence_number": number, **fields})
        self._chunks.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), body))

    def _delta(self, form: _Delta, text: str) -> None:
        """Make a delta, without what the client has of it."""
        if self._said <= self._after:
            have = min(self._after - self._said + 1, len(text))
            self._count(text[:have])
            self._said += have
            self._compare(self._said - 1)
            text = text[have:]
            if not text:
                return
        self._count(text)
        self._said += len(text)
        self._chunks.append(form.event((self._said - 1) << _BITS | self._check & _CHECK, text))

    def _count(self, text: str) -> None:
        self._check = zlib.crc32(text.encode("utf-8", "replace"), self._check) & 0xFFFFFFFF

    def _compare(self, said: int) -> None:
        """Check the text that the client has. Raises `Conflict`."""
        if said == self._after and self._expected != self._check & _CHECK:
            raise _changed()


def _changed() -> Conflict:
    why = "the answer is no longer the one that this number is of: read it without `starting_after`"
    return Conflict(why, code="answer_changed")


def _input(arguments: str) -> str:
    """Return the text that a custom tool is called with."""
    try:
        return msgspec.json.decode(arguments, type=dict[str, str]).get(CUSTOM, arguments)
    except msgspec.MsgspecError:
        return arguments
