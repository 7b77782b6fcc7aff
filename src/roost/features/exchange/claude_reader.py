"""Session logs of Claude Code, read.

Anthropic calls the format internal (https://code.claude.com/docs/en/sessions). This follows what public readers of it
document of versions up to 2.1.259: the notes on Claude Code of the projects txcript (docs/formats/claude-code.md,
checked there 2026-08-10), agent-top-core 0.26 (harness/claude.rs, 2026-09-03) and cc-session-io (April 2026), and
transcripts in the tests of such; read 2026-11-21. In short:

- Each line has a `type`. `user` and `assistant` lines hold a `message` as of the Anthropic Messages API. One answer is
  several lines, a content block each, with the same `message.id` and the same `usage`.
- `uuid` and `parentUuid` link lines to a tree; what leads to the newest line is the conversation, other branches were
  abandoned. Results of calls made in parallel hang beside the chain, not in it. Where no message names a parent, all of
  them are the conversation, in their order.
- `isSidechain`: a sub-agent's. `isMeta`: not by the user. `isApiErrorMessage`, or the model `<synthetic>`: not by a
  model.
- A compaction is a `system` line `compact_boundary`, whose `parentUuid` is null and whose `logicalParentUuid` goes on,
  then a `user` line with `isCompactSummary`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from roost.features.exchange import claude_blocks as blocks
from roost.features.exchange.conversation_items import Answer, Item, Line, Report, Result, Said, Shortened
from roost.features.exchange.json_lines import count, dicts, mapping, objects, seconds, words
from roost.log.content import AssistantPart, StopReason, ToolCall, Usage

_ABOUT = ("sessionId", "cwd", "version", "gitBranch")
_TITLES = {"custom-title": "customTitle", "agent-name": "agentName", "ai-title": "aiTitle", "summary": "summary"}
_STOPS: dict[str, StopReason] = {"tool_use": "tool_calls", "max_tokens": "length", "refusal": "refusal"}


class Survey:
    """A first pass over a file: the lines of its conversation, its metadata, and its title."""

    def __init__(self, path: Path) -> None:
        self.about: dict[str, Any] = {}
        self._titles: dict[str, str] = {}
        self.chain: set[str] = set()
        self.answers: set[str] = set()
        """The `message.id`s in the conversation."""
        self._look(path)

    @property
    def title(self) -> str | None:
        return next((self._titles[kind] for kind in _TITLES if kind in self._titles), None)

    def _look(self, path: Path) -> None:
        parents: dict[str, str | None] = {}
        ids: dict[str, str] = {}
        leaf = before = None
        linked = False
        for _, line in objects(path):
            kind, uuid = words(line.get("type")), words(line.get("uuid"))
            if kind in _TITLES and (title := words(line.get(_TITLES[kind]))):
                self._titles[kind] = title[:200]
            for name in _ABOUT:
                if name not in self.about and words(line.get(name)):
                    self.about[name] = line[name]
            if not uuid or line.get("isSidechain") is True:
                continue
            parent = words(line.get("parentUuid")) or words(line.get("logicalParentUuid")) or None
            parents[uuid] = parent if parent is None or parent in parents else before
            if kind in ("user", "assistant"):
                leaf = before = uuid
                linked = linked or bool(words(line.get("parentUuid")))
                ids[uuid] = words(mapping(line.get("message")).get("id"))
        if not linked:
            self.chain, self.answers, leaf = set(ids), set(ids.values()), None
        while leaf is not None and leaf not in self.chain:
            self.chain.add(leaf)
            self.answers.add(ids.get(leaf, ""))
            leaf = parents.get(leaf)
        self.answers.discard("")


def read(path: Path, report: Report) -> Iterator[Item]:
    """Yield the items of a log. Raises `Invalid` with a line's number, and `TooLarge`."""
    yield from _Reader(Survey(path), report).read(path)


class _Reader:
    def __init__(self, survey: Survey, report: Report) -> None:
        self._survey = survey
        self._report = report
        self._at = 0.0
        self._answer: dict[str, Any] | None = None
        """The newest line of the unfinished answer."""
        self._answered = 0.0
        self._parts: list[AssistantPart] = []
        self._after: list[Result | Line] = []
        """Items that follow the answer, in order."""
        self._calls: set[str] = set()
        self._boundary: dict[str, Any] | None = None

    def read(self, path: Path) -> Iterator[Item]:
        about = {"note": "about", **self._survey.about}
        first = True
        for _, line in objects(path, self._report):
            self._at = seconds(line.get("timestamp"), self._at)
            if first:
                first = False
                yield Line(at=self._at, format="claude-code", data=about)
            match line.get("type"):
                case "user" if self._counts(line):
                    yield from self._user(line)
                case "assistant" if self._counts(line) and not _is_synthetic(line):
                    yield from self._assistant(line)
                case "system" if line.get("subtype") == "compact_boundary" and line.get("isSidechain") is not True:
                    yield from self._flush()
                    self._boundary = mapping(line.get("compactMetadata"))
                    if self._boundary.get("preservedMessages") or self._boundary.get("preservedSegment"):
                        self._report.leave_out("messages that a compaction kept: they are in the log alone")
                case _:
                    aside = Line(at=self._at, format="claude-code", data=line)
                    if self._answer is None:
                        yield aside
                    else:
                        self._after.append(aside)
        yield from self._flush()

    def _counts(self, line: dict[str, Any]) -> bool:
        """Return whether the line belongs to the conversation."""
        if line.get("isSidechain") is True:
            return False
        uuid, message = words(line.get("uuid")), mapping(line.get("message"))
        if not uuid or uuid in self._survey.chain or words(message.get("id")) in self._survey.answers:
            return True
        results = [one for one in dicts(message.get("content")) if one.get("type") == "tool_result"]
        return any(words(one.get("tool_use_id")) in self._calls for one in results)

    def _user(self, line: dict[str, Any]) -> Iterator[Item]:
        content = mapping(line.get("message")).get("content")
        if line.get("isCompactSummary") is True:
            yield from self._flush(summary=blocks.text_of(content))
            return
        if "toolUseResult" in line:
            self._report.leave_out("toolUseResult: the same results in another form")
        given = [{"type": "text", "text": content}] if isinstance(content, str) else dicts(content)
        for block in given:
            if block.get("type") == "tool_result":
                self._after.append(blocks.result(block, self._at, self._report))
        rest = [block for block in given if block.get("type") != "tool_result"]
        if rest or not given:
            yield from self._flush()
            yield Said(at=self._at, parts=blocks.user_parts(rest, self._report), meta=line.get("isMeta") is True)

    def _assistant(self, line: dict[str, Any]) -> Iterator[Item]:
        message = mapping(line.get("message"))
        id = words(message.get("id"))
        if self._answer is None or not id or id != words(self._answer.get("id")):
            yield from self._flush()
        parts = blocks.assistant_parts(message.get("content"), self._report)
        self._calls.update(part.id for part in parts if isinstance(part, ToolCall))
        self._parts += parts
        self._answer, self._answered = message, self._at

    def _flush(self, summary: str | None = None) -> Iterator[Item]:
        """Yield the finished answer and the items after it."""
        if (message := self._answer) is not None:
            stop = _STOPS.get(words(message.get("stop_reason")), "end")
            calls = any(isinstance(part, ToolCall) for part in self._parts)
            yield Answer(
                at=self._answered,
                parts=tuple(self._parts),
                model=words(message.get("model")),
                stop="tool_calls" if calls and stop == "end" else stop,
                usage=_usage(mapping(message.get("usage"))),
            )
        yield from self._after
        self._answer, self._parts, self._after = None, [], []
        if summary is not None or self._boundary is not None:
            boundary = self._boundary or {}
            self._boundary = None
            yield Shortened(
                at=self._at,
                summary=summary or "",
                before=count(boundary.get("preTokens")),
                after=count(boundary.get("postTokens")),
            )


def _is_synthetic(line: dict[str, Any]) -> bool:
    return line.get("isApiErrorMessage") is True or mapping(line.get("message")).get("model") == "<synthetic>"


def _usage(usage: dict[str, Any]) -> Usage:
    """Convert usage. Their `input_tokens` excludes tokens read from and written to a cache; ours includes them."""
    cached, written = count(usage.get("cache_read_input_tokens")), count(usage.get("cache_creation_input_tokens"))
    plain = count(usage.get("input_tokens"))
    return Usage(plain + cached + written, count(usage.get("output_tokens")), cached, None, written)
