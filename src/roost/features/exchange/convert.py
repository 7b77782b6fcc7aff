"""Convert a foreign log to Roost's own format, and detect a file's format. Blocks: it reads and writes files."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from roost.agent.definition import AgentSpec, encode_spec
from roost.errors import Invalid
from roost.features.exchange import claude_reader, codex_reader, native_format
from roost.features.exchange.conversation_items import Foreign, Report, Source
from roost.features.exchange.items_to_events import Composer
from roost.features.exchange.json_lines import OBJECT, decoded, mapping, raw_lines, words
from roost.features.exchange.line_errors import fields_of, wrong_line
from roost.log import events as ev

_CODEX = ("session_meta", "response_item", "event_msg", "turn_context", "compacted")
_LOOK = 50
"""Lines after which detection gives up."""


def format_of(path: Path) -> Source:
    """Detect a file's format by its first lines. Raises `Invalid`."""
    first = "the file is empty"
    for number, line, whole in raw_lines(path):
        if number == 1 and native_format.is_own(line):
            return "roost"
        try:
            found = decoded(line)
        except (ValueError, RecursionError) as error:
            first = str(wrong_line(number, line, error, expected=OBJECT, whole=whole))
            break
        if number == 1:
            first = f"line 1 has the fields {fields_of(found)}"
        if found.get("type") in _CODEX and isinstance(found.get("payload"), dict):
            return "codex"
        if words(found.get("sessionId")) or words(found.get("leafUuid")) or "parentUuid" in found:
            return "claude-code"
        if found.get("type") in ("user", "assistant") and mapping(found.get("message")):
            return "claude-code"
        if number >= _LOOK:
            break
    raise Invalid(
        f"this is no session that Roost, Claude Code or Codex wrote as JSONL: {first}. Roost's begin with a line"
        ' {"roost":"session",...}, lines of Claude Code have "sessionId" and "parentUuid", those of Codex "type" and'
        ' "payload". If it is one of these, name its format (--format)',
        code="unknown_format",
    )


def convert(path: Path, format: Foreign, spec: AgentSpec, target: Path) -> Report:
    """Write a foreign log as a session of the agent `spec` to `target`. Raises `Invalid` with a line's number, and
    `TooLarge`."""
    reading = claude_reader if format == "claude-code" else codex_reader
    report = Report(format=format)
    composer = Composer(format, report)
    survey = reading.Survey(path)
    body = target.with_name(f"{target.name}.events")
    seq, at, first = 1, 0.0, None
    with body.open("wb") as out:
        for item in reading.read(path, report):
            at = item.at
            first = at if first is None else first
            for event in composer.feed(item):
                seq += 1
                out.write(native_format.event_line(seq, ev.encode_event(event)))
        for event in composer.end(at):
            seq += 1
            out.write(native_format.event_line(seq, ev.encode_event(event)))
    if not report.messages:
        raise Invalid("there is no conversation in this file", code="empty_session")
    created = ev.SessionCreated(
        at=first or 0.0, agent=spec.name, version=spec.version, spec=msgspec.Raw(encode_spec(spec)), title=survey.title
    )
    header = native_format.Header(
        id=words(survey.about.get("sessionId")) or words(survey.about.get("id")) or "unknown",
        agent=spec.name,
        created_at=first or 0.0,
        exported_at=time.time(),
        title=survey.title,
        events=seq,
    )
    with target.open("wb") as out, body.open("rb") as rest:
        out.write(native_format.header_line(header))
        out.write(native_format.event_line(1, ev.encode_event(created)))
        while chunk := rest.read(1024 * 1024):
            out.write(chunk)
    body.unlink()
    return report
