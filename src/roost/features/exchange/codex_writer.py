"""Write session logs of Codex: the items that the model sees, and the events that a person sees, since Codex reads both
when it resumes. `codex_reader` describes the format and its sources."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any, assert_never

from roost.features.exchange import codex_items as codex
from roost.features.exchange.conversation_items import Answer, Item, Line, Report, Result, Said, Shortened
from roost.features.exchange.json_lines import mapping, stamp, words
from roost.log.content import Text, Thinking, ToolCall, Usage, UserPart

VERSION = "0.149.0"
"""Version of Codex that is written when the session did not come from a log that names one."""


class Writer:
    """Write one session; `folder` is where it worked."""

    def __init__(self, session: str, folder: str, report: Report) -> None:
        self._report = report
        self._session, self._folder = session, folder
        self._begun = False
        self._model: str | None = None
        self._notes: dict[str, dict[str, Any]] = {}
        self._compacted: dict[str, Any] = {}
        self._total = Usage()

    def write(self, item: Item) -> Iterator[dict[str, Any]]:
        own = isinstance(item, Line) and item.data.get("type") == "session_meta"
        if not self._begun and not own:
            yield _line(item.at, "session_meta", self._meta(item.at))
        self._begun = True
        match item:
            case Said():
                content = codex.of_content(item.parts, self._report)
                yield _item(item.at, {"type": "message", "role": "user", "content": content})
                yield _event(item.at, "user_message", message=_text(item.parts), images=[])
            case Answer():
                yield from self._answer(item)
            case Result():
                yield from self._result(item)
            case Shortened():
                note, self._compacted = self._compacted, {}
                message = words(note.get("message")) if note else item.summary
                yield _line(item.at, "compacted", {"message": message, **mapping(note.get("rest"))})
            case Line():
                yield from self._kept(item)
            case _:
                assert_never(item)

    def _answer(self, item: Answer) -> Iterator[dict[str, Any]]:
        if item.model and item.model != self._model:
            yield _line(item.at, "turn_context", self._context(item.model))
        if item.stop in ("length", "refusal"):
            self._report.leave_out("that an answer was cut off or refused")
        for part in item.parts:
            yield from self._part(part, item.at)
        self._total += item.usage
        info = {"total_token_usage": _tokens(self._total), "last_token_usage": _tokens(item.usage)}
        yield _event(item.at, "token_count", info={**info, "model_context_window": None}, rate_limits=None)

    def _part(self, part: object, at: float) -> Iterator[dict[str, Any]]:
        match part:
            case Text():
                content = [{"type": "output_text", "text": part.text}]
                yield _item(at, {"type": "message", "role": "assistant", "content": content})
                yield _event(at, "agent_message", message=part.text)
            case Thinking():
                found = codex.of_reasoning(part)
                if found is None:
                    self._report.leave_out("reasoning that OpenAI has not signed")
                    return
                yield _item(at, found)
                if part.text:
                    yield _event(at, "agent_reasoning", text=part.text)
            case ToolCall():
                yield _item(at, codex.of_call(part, self._notes.get(part.id)))
            case _:
                self._report.leave_out("media of the model")

    def _result(self, item: Result) -> Iterator[dict[str, Any]]:
        kind = words(self._notes.pop(item.call, {}).get("kind"))
        if kind == "web_search_call":
            return
        found = codex.of_output(item.call, item.parts, self._report, custom=kind == "custom_tool_call")
        if item.error and not codex.output(found, Report())[1]:
            self._report.leave_out("that a call failed, where its text does not say so")
        yield _item(item.at, found)

    def _kept(self, item: Line) -> Iterator[dict[str, Any]]:
        match item.data.get("note"):
            case "call":
                self._notes[words(item.data.get("call"))] = item.data
            case "compacted":
                self._compacted = item.data
            case _:
                if item.data.get("type") == "turn_context":
                    self._model = words(mapping(item.data.get("payload")).get("model")) or self._model
                yield item.data

    def _meta(self, at: float) -> dict[str, Any]:
        """Return the metadata. With `model_provider` null, Codex refuses to resume (txcript's notes, 2026-08-10)."""
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"roost:{self._session}")),
            "timestamp": stamp(at),
            "cwd": self._folder,
            "originator": "roost",
            "cli_version": VERSION,
            "source": "cli",
            "model_provider": "openai",
            "base_instructions": None,
        }

    def _context(self, model: str) -> dict[str, Any]:
        self._model = model
        return {
            "cwd": self._folder,
            "approval_policy": "on-request",
            "sandbox_policy": {"type": "workspace-write"},
            "model": model,
            "summary": "auto",
        }


def _line(at: float, kind: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {"timestamp": stamp(at), "type": kind, "payload": payload}


def _item(at: float, payload: dict[str, Any]) -> dict[str, Any]:
    return _line(at, "response_item", payload)


def _event(at: float, kind: str, **payload: Any) -> dict[str, Any]:
    return _line(at, "event_msg", {"type": kind, **payload})


def _text(parts: Sequence[UserPart]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text))


def _tokens(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.input,
        "cached_input_tokens": usage.cached,
        "cache_write_input_tokens": usage.written,
        "output_tokens": usage.output,
        "reasoning_output_tokens": usage.thinking,
        "total_tokens": usage.input + usage.output,
    }
