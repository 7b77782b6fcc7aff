"""Logs to import: long ones, and hostile ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tests.server.conftest import Served

BEGIN = 1_795_000_000.0


def as_file(events: Iterable[dict[str, Any]], title: str | None = None) -> bytes:
    """Return a session in Roost's own format. The first two events are added."""
    spec = {"name": "clerk", "tools": [], "limits": {}}
    head = [
        {"type": "session.created", "agent": "clerk", "version": "1", "spec": spec, "title": title, "at": BEGIN},
        {"type": "session.state", "state": "running", "at": BEGIN},
    ]
    if title is None:
        del head[0]["title"]
    lines = [json.dumps({"seq": n, "event": event}) for n, event in enumerate([*head, *events], 1)]
    header = {"roost": "session", "version": 1, "format": 6, "id": "other", "agent": "clerk", "created_at": BEGIN}
    more = {"exported_at": BEGIN, "events": len(lines), "labels": {}, "checkpoints": 0}
    return "\n".join([json.dumps({**header, **more}), *lines]).encode() + b"\n"


def turns(count: int, *, first: int = 1, at: float = BEGIN) -> Iterator[dict[str, Any]]:
    """Yield turns of ten events: a message, two model calls, two tool calls."""
    for turn in range(first, first + count):
        step, call = 2 * turn - 1, f"call_{turn}"
        usage = {"input": 1200, "output": 80, "cost": 450_000}
        asked = [
            {"kind": "tool_call", "id": f"{call}_{n}", "name": "look", "arguments": '{"what":"a"}'} for n in (1, 2)
        ]
        for event in (
            {"type": "input.received", "input": turn, "parts": [{"kind": "text", "text": f"Question {turn}"}]},
            {"type": "turn.started", "turn": turn, "input": turn},
            {"type": "model.started", "step": step, "model": "stub/long", "context": 900},
            {
                "type": "model.completed",
                "step": step,
                "parts": asked,
                "stop": "tool_calls",
                "usage": usage,
                "seconds": 0.8,
            },
            {
                "type": "tool.started",
                "call": f"{call}_1",
                "name": "look",
                "replay": "safe",
                "key": "k",
                "why": "read_only",
            },
            {
                "type": "tool.completed",
                "call": f"{call}_1",
                "outcome": "ok",
                "parts": [{"kind": "text", "text": "seen"}],
            },
            {"type": "tool.started", "call": f"{call}_2", "name": "look", "replay": "safe", "key": "k"},
            {
                "type": "tool.completed",
                "call": f"{call}_2",
                "outcome": "error",
                "parts": [{"kind": "text", "text": "no"}],
            },
            {"type": "model.started", "step": step + 1, "model": "stub/long", "context": 950},
            {
                "type": "model.completed",
                "step": step + 1,
                "parts": [{"kind": "text", "text": f"Answer {turn}"}],
                "usage": usage,
                "seconds": 0.5,
            },
            {"type": "turn.completed", "turn": turn, "outcome": "answered", "steps": 2, "usage": usage, "seconds": 1.5},
        ):
            at += 0.3
            yield {**event, "at": at}
        at += 60


def imported(served: Served, file: bytes) -> str:
    """Import a file, and return the session."""
    answer = served.request("POST", "/import?format=roost", raw=file, Content_Type="application/octet-stream")
    assert answer.status == 201, answer
    return answer.json["session"]["id"]
