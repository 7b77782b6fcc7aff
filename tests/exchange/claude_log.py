"""A session log as Claude Code writes it, of any length: what is in it is known beside it.

Shapes as public readers document them (`roost.features.exchange.claude_reader` names these).
"""

from __future__ import annotations

import json
import random
import uuid
from pathlib import Path
from typing import Any

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SESSION = "3f2a9c1e-5b7d-4f7e-9d55-0c1f6a2b8e11"
FOLDER = "/home/ann/app"


class ClaudeLog:
    """`lines` is the file; `said` its conversation in order: (role, block); `aside` are the other lines."""

    def __init__(self, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.lines: list[dict[str, Any]] = []
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.aside: list[dict[str, Any]] = []
        self.usage = {"input": 0, "output": 0}
        self.leaf: str | None = None
        self._clock = 1_790_000_000_000
        self._number = 0

    def write(self, path: Path) -> Path:
        path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self.lines))
        return path

    def session(self, turns: int) -> ClaudeLog:
        self.put(type="mode", mode="normal", sessionId=SESSION)
        self.put(type="file-history-snapshot", messageId=self.id(), snapshot={"trackedFileBackups": {}})
        for turn in range(turns):
            self.turn(turn)
        self.put(type="ai-title", aiTitle="Tidy the parser", sessionId=SESSION)
        self.put(type="last-prompt", leafUuid=self.leaf, sessionId=SESSION)
        return self

    def turn(self, turn: int) -> None:
        if turn % 7 == 3:
            self.meta("<local-command-caveat>Caveat: made by local commands</local-command-caveat>")
        self.prompt(f"Please look at part {turn}: ünïcode “quotes” 部分 {turn}", picture=turn % 11 == 5)
        if turn % 13 == 6:
            self.branch(turn)
        if turn % 9 == 4:
            self.sidechain(turn)
        for step in range(self.random.randint(1, 4)):
            calls = self.random.choice([1, 1, 2, 3])
            self.answer(f"Step {step} of {turn}.", calls, thinking=step == 0)
            self.put(type="progress", data={"type": "hook_progress", "hookEvent": "PostToolUse"}, sessionId=SESSION)
        if turn % 17 == 8:
            self.failure()
        self.answer(f"Part {turn} is done.", 0)
        self.aside_in_chain(type="system", subtype="turn_duration", durationMs=88947, isMeta=False)
        if turn % 40 == 39:
            self.compaction(turn)

    def prompt(self, text: str, *, picture: bool = False) -> None:
        content: Any = text
        blocks = [{"type": "text", "text": text}]
        if picture:
            blocks.append(
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}  # type: ignore[dict-item]
            )
            content = blocks
        self.chained(type="user", message={"role": "user", "content": content}, permissionMode="default", todos=[])
        self.said += [("user", block) for block in blocks]

    def meta(self, text: str) -> None:
        self.chained(type="user", isMeta=True, message={"role": "user", "content": text})
        self.said.append(("meta", {"type": "text", "text": text}))

    def answer(self, text: str, calls: int, *, thinking: bool = False) -> None:
        blocks: list[dict[str, Any]] = []
        if thinking:
            blocks.append({"type": "thinking", "thinking": "Let me think.", "signature": f"EqQB{self.id()}"})
        blocks.append({"type": "text", "text": text})
        used = [self.call() for _ in range(calls)]
        usage = {
            "input_tokens": self.random.randint(1, 50),
            "cache_creation_input_tokens": self.random.randint(0, 900),
            "cache_read_input_tokens": self.random.randint(0, 90_000),
            "output_tokens": self.random.randint(1, 900),
            "service_tier": "standard",
        }
        self.usage["input"] += sum(value for name, value in usage.items() if "input" in name)  # type: ignore[misc]
        self.usage["output"] += usage["output_tokens"]  # type: ignore[operator]
        message = {
            "model": "claude-opus-5",
            "id": f"msg_{self.id()[:20]}",
            "type": "message",
            "role": "assistant",
            "stop_reason": "tool_use" if calls else "end_turn",
            "stop_sequence": None,
            "usage": usage,
        }
        results: list[tuple[str, dict[str, Any], Any]] = []
        for block in [*blocks, *used]:
            self.chained(type="assistant", requestId="req_1", message={**message, "content": [block]})
            self.said.append(("assistant", block))
            if block["type"] == "tool_use":
                results.append((self.leaf or "", *self.result(block["id"])))
        last = None
        for parent, block, more in results:  # each hangs at its own call, the last one goes on
            content = [block]
            last = self.line(type="user", parentUuid=parent, message={"role": "user", "content": content}, **more)
            self.said.append(("user", block))
        if last is not None:
            self.leaf = last["uuid"]

    def call(self) -> dict[str, Any]:
        name, given = self.random.choice(
            [
                ("Bash", {"command": "grep -rn 'ü' . | head", "description": "Search"}),
                ("Read", {"file_path": f"{FOLDER}/src/a.py", "offset": 1, "limit": 2000}),
                ("mcp__tracker__find", {"query": {"open": True, "score": 1.5, "big": 12345678901234567890123}}),
            ]
        )
        return {"type": "tool_use", "id": f"toolu_01{self.id()[:18]}", "name": name, "input": given}

    def result(self, id: str) -> tuple[dict[str, Any], dict[str, Any]]:
        choice = self.random.random()
        block: dict[str, Any] = {
            "tool_use_id": id,
            "type": "tool_result",
            "content": "     1→line\n     2→" + "x" * 200,
        }
        more: dict[str, Any] = {"toolUseResult": {"stdout": "line", "stderr": "", "interrupted": False}}
        if choice < 0.1:
            block |= {"content": "Error: no such file", "is_error": True}
            more = {"toolUseResult": "Error: no such file"}
        elif choice < 0.15:
            source = {"type": "base64", "media_type": "image/png", "data": PNG}
            block["content"] = [{"type": "text", "text": "a picture"}, {"type": "image", "source": source}]
        return block, more

    def branch(self, turn: int) -> None:
        """A prompt that was taken back and answered before: the tree goes on beside it."""
        parent = self.lines[-1]["parentUuid"]
        user = {"role": "user", "content": f"never mind {turn}"}
        one = self.line(type="user", parentUuid=parent, message=user)
        answer = {
            "id": f"msg_b{turn}",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [{"type": "text", "text": "no"}],
        }
        two = self.line(type="assistant", parentUuid=one["uuid"], message=answer)
        self.aside += [one, two]

    def sidechain(self, turn: int) -> None:
        text = {"role": "user", "content": f"sub-task {turn}"}
        one = self.line(type="user", parentUuid=None, isSidechain=True, agentId="a1", message=text)
        answer = {
            "id": f"msg_s{turn}",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [{"type": "text", "text": "ok"}],
        }
        two = self.line(type="assistant", parentUuid=one["uuid"], isSidechain=True, agentId="a1", message=answer)
        self.aside += [one, two]

    def failure(self) -> None:
        content = [{"type": "text", "text": "API Error: 529 overloaded"}]
        message = {"id": self.id(), "type": "message", "model": "<synthetic>", "role": "assistant", "content": content}
        self.aside_in_chain(type="assistant", isApiErrorMessage=True, message=message)

    def compaction(self, turn: int) -> None:
        former, self.leaf = self.leaf, None
        self.chained(
            type="system",
            subtype="compact_boundary",
            content="Conversation compacted",
            logicalParentUuid=former,
            compactMetadata={"trigger": "auto", "preTokens": 155_025, "postTokens": 9_000},
        )
        text = f"This session is being continued. Summary up to {turn}."
        self.chained(type="user", isCompactSummary=True, message={"role": "user", "content": text})
        self.said.append(("summary", {"type": "text", "text": text}))

    def aside_in_chain(self, **line: Any) -> None:
        self.aside.append(self.chained(**line))

    def put(self, **line: Any) -> None:
        self.lines.append(line)
        self.aside.append(line)

    def chained(self, **line: Any) -> dict[str, Any]:
        made = self.line(**{"parentUuid": self.leaf, **line})
        self.leaf = made["uuid"]
        return made

    def line(self, **line: Any) -> dict[str, Any]:
        self._clock += 1_234
        seconds, milliseconds = divmod(self._clock, 1000)
        import time

        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{milliseconds:03d}Z"
        common = {
            "isSidechain": False,
            "userType": "external",
            "cwd": FOLDER,
            "sessionId": SESSION,
            "version": "2.1.259",
        }
        made = {**common, "gitBranch": "main", **line, "uuid": self.id(), "timestamp": stamp}
        self.lines.append(made)
        return made

    def id(self) -> str:
        self._number += 1
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))


def said_in(lines: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """The conversation of a file without branches, as `ClaudeLog.said` has it."""
    found: list[tuple[str, dict[str, Any]]] = []
    for line in lines:
        if line.get("type") not in ("user", "assistant"):
            continue
        role = "summary" if line.get("isCompactSummary") else "meta" if line.get("isMeta") else line["type"]
        content = line["message"]["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        found += [(role, block) for block in blocks]
    return found
