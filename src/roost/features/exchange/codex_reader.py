"""Session logs ("rollouts") of Codex, read.

From Codex's own types: github.com/openai/codex, codex-rs/history/src/lib.rs (`RolloutLine`, `RolloutItem`,
`CompactedItem`) and codex-rs/protocol/src/{models,protocol}.rs (`ResponseItem`, `EventMsg`, `SessionMeta`,
`TurnContextItem`), and the notes on Codex of the projects txcript (docs/formats/codex.md, checked 2026-08-10) and
agent-top-core 0.26 (checked against Codex 0.149 on 2026-09-03); read 2026-11-21. In short:

- Each line is `{timestamp, ordinal?, type, payload}`. `session_meta` comes first; `turn_context` names a turn's model.
- `response_item` is what the model sees: items of the Responses API. `event_msg` is what a person sees: most of it says
  the same again; `token_count` alone has the usage, of the call before it, with `cached_input_tokens` in
  `input_tokens`.
- `compacted` puts a summary, `message`, and a `replacement_history` in the place of what was before.
- `event_msg` `thread_rolled_back` takes the last `num_turns` turns of the user back.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

from roost.features.exchange import codex_items as codex
from roost.features.exchange.conversation_items import Answer, Item, Line, Report, Result, Said, Shortened
from roost.features.exchange.json_lines import count, dicts, mapping, objects, seconds, words
from roost.log.content import AssistantPart, ResultPart, Text, Thinking, ToolCall, Usage

_MIRRORS = {"user_message": "message", "agent_message": "message", "agent_reasoning": "text"}
_SUMMARY = 200_000
"""Most characters of a summary made from a replacement history."""


class Survey:
    """A first pass over a file: its metadata, the text of its items, and which lines were rolled back."""

    title: str | None = None

    def __init__(self, path: Path) -> None:
        self.about: dict[str, Any] = {}
        self.said: set[bytes] = set()
        self.taken_back: list[tuple[int, int]] = []
        turns: list[int] = []
        silent = Report()
        for number, line in objects(path):
            payload = mapping(line.get("payload"))
            match line.get("type"), payload.get("type"):
                case "session_meta", _:
                    self.about = self.about or {
                        name: payload[name] for name in ("id", "cwd") if words(payload.get(name))
                    }
                case "response_item", "message":
                    parts = codex.content(payload.get("content"), silent)
                    self.said.add(_digest("".join(part.text for part in parts if isinstance(part, Text))))
                    if payload.get("role") == "user" and not codex.is_scaffolding(parts):
                        turns.append(number)
                case "response_item", "reasoning":
                    self.said.update(_digest(words(one.get("text"))) for one in dicts(payload.get("summary")))
                case "event_msg", "thread_rolled_back" if turns and count(payload.get("num_turns")):
                    first = max(0, len(turns) - count(payload["num_turns"]))
                    self.taken_back.append((turns[first], number))
                    del turns[first:]
                case _:
                    pass


def read(path: Path, report: Report) -> Iterator[Item]:
    """Yield the items of a log. Raises `Invalid` with a line's number, and `TooLarge`."""
    yield from _Reader(Survey(path), report).read(path)


class _Reader:
    def __init__(self, survey: Survey, report: Report) -> None:
        self._survey = survey
        self._report = report
        self._at = self._answered = 0.0
        self._model = self._by = ""
        self._parts: list[AssistantPart] = []
        self._after: list[Result | Line] = []
        """Items that follow the answer, in order."""
        self._ended = False
        """The answer is complete: further text of the model begins another."""
        self._usage: Usage | None = None
        self._calls = 0
        self._searched: list[str] = []
        """Calls that the provider made itself, in the middle of its answer."""

    def read(self, path: Path) -> Iterator[Item]:
        back = self._survey.taken_back
        for number, line in objects(path, self._report):
            self._at = seconds(line.get("timestamp"), self._at)
            payload = mapping(line.get("payload"))
            if any(first <= number <= last for first, last in back):
                yield from self._aside(line)
                continue
            match line.get("type"):
                case "response_item":
                    yield from self._item(line, payload)
                case "event_msg":
                    yield from self._event(line, payload)
                case "compacted":
                    yield from self._compacted(payload)
                case "turn_context":
                    self._model = words(payload.get("model")) or self._model
                    yield from self._aside(line)
                case _:
                    yield from self._aside(line)
        yield from self._flush()

    def _item(self, line: dict[str, Any], payload: dict[str, Any]) -> Iterator[Item]:
        match payload.get("type"), payload.get("role"):
            case "message", "user":
                parts = codex.content(payload.get("content"), self._report)
                if codex.is_scaffolding(parts):
                    yield from self._aside(line)
                    return
                yield from self._flush()
                yield Said(at=self._at, parts=parts)
            case "message", "assistant":
                parts = codex.content(payload.get("content"), self._report)
                yield from self._add(*(part for part in parts if isinstance(part, Text)))
                if payload.get("phase"):
                    self._report.leave_out("phase of an answer")
            case "reasoning", _:
                yield from self._add(codex.reasoning(payload))
            case (("function_call_output" | "custom_tool_call_output"), _):
                parts, failed = codex.output(payload, self._report)
                self._result(words(payload.get("call_id")), parts, failed)
            case _:
                yield from self._call(line, payload)

    def _call(self, line: dict[str, Any], payload: dict[str, Any]) -> Iterator[Item]:
        found = codex.call(payload, self._calls)
        if found is None:
            yield from self._aside(line)
            return
        self._calls += 1
        call, note = found
        yield from self._add(call)
        if note is not None:
            yield Line(at=self._at, format="codex", data=note)
        if payload.get("type") == "web_search_call":
            self._searched.append(call.id)

    def _event(self, line: dict[str, Any], payload: dict[str, Any]) -> Iterator[Item]:
        kind = words(payload.get("type"))
        if kind in _MIRRORS and _digest(words(payload.get(_MIRRORS[kind]))) in self._survey.said:
            self._report.mirrors += 1
        elif kind == "token_count" and self._parts and (last := _last_usage(payload)) is not None:
            self._usage = last
        else:
            yield from self._aside(line)

    def _compacted(self, payload: dict[str, Any]) -> Iterator[Item]:
        yield from self._flush()
        history = dicts(payload.get("replacement_history"))
        summary = words(payload.get("message"))
        if not summary:
            texts = (part for one in history for part in codex.content(one.get("content"), Report()))
            summary = "\n\n".join(part.text for part in texts if isinstance(part, Text))[-_SUMMARY:]
        rest = {key: value for key, value in payload.items() if key != "message"}
        if rest or summary != words(payload.get("message")):
            note = {"note": "compacted", "message": words(payload.get("message")), "rest": rest}
            yield Line(at=self._at, format="codex", data=note)
        yield Shortened(at=self._at, summary=summary)

    def _add(self, *parts: Text | Thinking | ToolCall) -> Iterator[Item]:
        """Add parts to the unfinished answer; after its usage or its results, a new answer begins."""
        if self._ended or self._usage is not None:
            yield from self._flush()
        self._parts += parts
        self._answered = self._at
        self._by = self._model

    def _flush(self) -> Iterator[Item]:
        if self._parts:
            calls = any(isinstance(part, ToolCall) for part in self._parts)
            yield Answer(
                at=self._answered,
                parts=tuple(self._parts),
                model=self._by,
                stop="tool_calls" if calls else "end",
                usage=self._usage or Usage(cost=None),
            )
        for call in self._searched:
            yield Result(at=self._answered, call=call, parts=(Text(codex.SEARCHED),))
        self._searched = []
        yield from self._after
        self._parts, self._after, self._usage, self._ended = [], [], None, False

    def _result(self, call: str, parts: tuple[ResultPart, ...], failed: bool = False) -> None:
        self._after.append(Result(at=self._at, call=call, parts=parts, error=failed))
        self._ended = True

    def _aside(self, line: dict[str, Any]) -> Iterator[Item]:
        aside = Line(at=self._at, format="codex", data=line)
        if self._parts:
            self._after.append(aside)
        else:
            yield aside


def _last_usage(payload: dict[str, Any]) -> Usage | None:
    last = mapping(mapping(payload.get("info")).get("last_token_usage"))
    if not last:
        return None
    return Usage(
        count(last.get("input_tokens")),
        count(last.get("output_tokens")),
        count(last.get("cached_input_tokens")),
        None,
        count(last.get("cache_write_input_tokens")),
        count(last.get("reasoning_output_tokens")),
    )


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
