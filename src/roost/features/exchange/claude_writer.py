"""Write session logs of Claude Code. `claude_reader` describes the format and its sources.

Each content block of an answer gets a line, as in Claude Code, and one chain leads from the first line to the last. A
tool's result must be text or blocks, a call's input an object, and `leafUuid` an existing line, or `claude --resume`
refuses the file (txcript's notes, 2026-08-10).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, assert_never

from roost.features.exchange import claude_blocks as blocks
from roost.features.exchange.conversation_items import Answer, Item, Line, Report, Result, Said, Shortened
from roost.features.exchange.json_lines import stamp, words
from roost.log.content import StopReason, Text, ToolCall, Usage

VERSION = "2.1.259"
"""Version of Claude Code that is written when the session did not come from a log that names one."""
_STOPS: dict[StopReason, str] = {
    "end": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "refusal": "refusal",
}  # fmt: skip


class Writer:
    """Write one session; `folder` is where it worked."""

    def __init__(self, session: str, folder: str, report: Report) -> None:
        self._report = report
        self._about: dict[str, Any] = {
            "cwd": folder,
            "sessionId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"roost:{session}")),
            "version": VERSION,
            "gitBranch": "",
        }
        self._name = uuid.uuid5(uuid.NAMESPACE_URL, f"roost:{session}:lines")
        self._last: str | None = None
        self._written: set[str] = set()
        self._answers = 0

    def write(self, item: Item) -> Iterator[dict[str, Any]]:
        match item:
            case Said():
                found = blocks.of_user(item.parts, self._report)
                plain = len(item.parts) == 1 and isinstance(item.parts[0], Text)
                message = {"role": "user", "content": found[0]["text"] if plain else found}
                yield self._line("user", item.at, message=message, **({"isMeta": True} if item.meta else {}))
            case Answer():
                yield from self._answer(item)
            case Result():
                message = {"role": "user", "content": [blocks.of_result(item, self._report)]}
                yield self._line("user", item.at, message=message)
            case Shortened():
                yield from self._shortened(item)
            case Line():
                yield from self._kept(item.data)
            case _:
                assert_never(item)

    def _answer(self, item: Answer) -> Iterator[dict[str, Any]]:
        self._answers += 1
        found = [block for part in item.parts if (block := blocks.of_answer(part, self._report)) is not None]
        calls = any(isinstance(part, ToolCall) for part in item.parts)
        for block in found or [{"type": "text", "text": "(no answer)"}]:
            message = {
                "model": item.model,
                "id": f"msg_{uuid.uuid5(self._name, f'answer {self._answers}').hex[:24]}",
                "type": "message",
                "role": "assistant",
                "content": [block],
                "stop_reason": "tool_use" if calls and item.stop == "end" else _STOPS[item.stop],
                "stop_sequence": None,
                "usage": _usage(item.usage),
            }
            yield self._line("assistant", item.at, message=message)

    def _shortened(self, item: Shortened) -> Iterator[dict[str, Any]]:
        counts = {"preTokens": item.before, "postTokens": item.after}
        given = {name: tokens for name, tokens in counts.items() if tokens}
        former, self._last = self._last, None
        boundary = self._line(
            "system",
            item.at,
            subtype="compact_boundary",
            content="Conversation compacted",
            level="info",
            isMeta=False,
            compactMetadata={"trigger": "auto", **given},
        )
        yield {**boundary, "logicalParentUuid": former}
        if item.summary:
            message = {"role": "user", "content": item.summary}
            yield self._line("user", item.at, message=message, isCompactSummary=True, isVisibleInTranscriptOnly=True)

    def _line(self, kind: str, at: float, **more: Any) -> dict[str, Any]:
        id = str(uuid.uuid5(self._name, f"{len(self._written)}"))
        line = {
            "parentUuid": self._last,
            "isSidechain": False,
            "userType": "external",
            **self._about,
            "type": kind,
            **more,
            "uuid": id,
            "timestamp": stamp(at),
        }
        self._written.add(id)
        self._last = id
        return line

    def _kept(self, data: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Write a kept line. Its links named lines that have other names now: they lead to the line before it."""
        if data.get("note") == "about":
            self._about |= {name: data[name] for name in self._about if words(data.get(name))}
            return
        line = dict(data)
        own = words(line.get("uuid"))
        for link in ("parentUuid", "logicalParentUuid", "leafUuid"):
            if words(line.get(link)) and line[link] not in self._written:
                line[link] = self._last
        if own:
            self._written.add(own)
            if line.get("type") in ("system", "attachment") and line.get("isSidechain") is not True:
                line["parentUuid"], self._last = self._last, own
        yield line


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": max(0, usage.input - usage.cached - usage.written),
        "cache_creation_input_tokens": usage.written,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
    }
