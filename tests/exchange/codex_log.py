"""A session log ("rollout") as Codex writes it, of any length: what is in it is known beside it.

Shapes as of Codex's own types (`roost.features.exchange.codex_reader` names these).
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

from .claude_log import PNG

SESSION = "0199a213-81a0-7d2e-8c3f-2f6f5a1e7b10"


class CodexLog:
    """`lines` is the file; `items` what of it the model sees of the conversation, `aside` the lines that are none."""

    def __init__(self, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.lines: list[dict[str, Any]] = []
        self.items: list[dict[str, Any]] = []
        self.aside: list[dict[str, Any]] = []
        self.total = {"input_tokens": 0, "cached_input_tokens": 0, "output_tokens": 0}
        self._clock = 1_790_000_000_000
        self._calls = 0

    def write(self, path: Path) -> Path:
        path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self.lines))
        return path

    def session(self, turns: int) -> CodexLog:
        git = {"commit_hash": "abc", "branch": "main"}
        meta = {
            "id": SESSION,
            "timestamp": "2026-09-21T14:13:20.000Z",
            "cwd": "/home/ann/app",
            "originator": "codex_cli",
        }
        self.put("session_meta", {**meta, "cli_version": "0.149.0", "model_provider": "openai", "git": git})
        self.put(
            "response_item", _message("developer", "<permissions instructions>sandboxed</permissions instructions>")
        )
        self.put(
            "response_item",
            _message("user", "<environment_context>\n  <cwd>/home/ann/app</cwd>\n</environment_context>"),
        )
        for turn in range(turns):
            self.turn(turn)
        return self

    def turn(self, turn: int) -> None:
        self.put("event_msg", {"type": "task_started", "turn_id": f"t{turn}", "model_context_window": 272_000})
        policy = {"type": "workspace-write", "network_access": False}
        self.put(
            "turn_context",
            {"turn_id": f"t{turn}", "cwd": "/home/ann/app", "model": "gpt-5.2-codex", "sandbox_policy": policy},
        )
        self.prompt(f"Look at part {turn} 部分 “ü”", picture=turn % 11 == 5)
        for step in range(self.random.randint(1, 4)):
            self.step(turn, step)
        self.say(f"Part {turn} is done.")
        self.count()
        self.put("event_msg", {"type": "task_complete", "turn_id": f"t{turn}", "last_agent_message": None})
        if turn % 40 == 39:
            self.compaction(turn)
        if turn % 23 == 11:
            self.taken_back(turn)

    def prompt(self, text: str, *, picture: bool = False) -> None:
        message = _message("user", text)
        if picture:
            message["content"].append({"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"})
        self.item(message)
        self.line("event_msg", {"type": "user_message", "message": text, "images": []})

    def step(self, turn: int, step: int) -> None:
        thought = {"type": "summary_text", "text": f"**Looking** at {turn}.{step}"}
        sealed = f"gAAAA{self.random.getrandbits(64):x}"
        self.item({"type": "reasoning", "summary": [thought], "content": None, "encrypted_content": sealed})
        self.line("event_msg", {"type": "agent_reasoning", "text": thought["text"]})
        if step % 2:
            self.say(f"Now {turn}.{step}.")
        outputs = [self.call() for _ in range(self.random.choice([1, 1, 2]))]
        self.count()
        for output in outputs:
            if output is not None:
                self.item(output)

    def call(self) -> dict[str, Any] | None:
        self._calls += 1
        id = f"call_{self._calls:06d}"
        text = "Chunk ID: 1\nProcess exited with code 0\nOutput:\nfound"
        match self._calls % 9:
            case 1:
                patch = "*** Begin Patch\n*** Add File: a.py\n+x = 'ü'\n*** End Patch"
                self.item(
                    {
                        "type": "custom_tool_call",
                        "status": "completed",
                        "call_id": id,
                        "name": "apply_patch",
                        "input": patch,
                    }
                )
                return {
                    "type": "custom_tool_call_output",
                    "call_id": id,
                    "output": "Success. Updated the following files:\nA a.py",
                }
            case 2:
                action = {"type": "exec", "command": ["ls", "-l"], "timeout_ms": 1000, "working_directory": None}
                self.item({"type": "local_shell_call", "call_id": id, "status": "completed", "action": action})
            case 3:
                self.item(
                    {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "roost"}}
                )
                return None
            case 4:
                self.item(
                    {"type": "function_call", "name": "view_image", "arguments": '{"path":"a.png"}', "call_id": id}
                )
                picture = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}
                return {"type": "function_call_output", "call_id": id, "output": [picture]}
            case 5:
                text = "Chunk ID: 1\nProcess exited with code 2\nOutput:\nno such file"
                self.exec(id)
            case _:
                self.exec(id)
        return {"type": "function_call_output", "call_id": id, "output": text}

    def exec(self, id: str) -> None:
        arguments = '{"cmd": "grep -rn ü .",  "workdir": "/home/ann/app"}'  # as the model wrote it, blanks included
        self.item({"type": "function_call", "name": "exec_command", "arguments": arguments, "call_id": id})
        self.put("event_msg", {"type": "exec_command_end", "call_id": id, "exit_code": 0, "aggregated_output": "found"})

    def say(self, text: str) -> None:
        self.item({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]})
        self.line("event_msg", {"type": "agent_message", "message": text})

    def count(self) -> None:
        last = {
            "input_tokens": self.random.randint(1, 9000),
            "cached_input_tokens": 0,
            "output_tokens": 77,
            "reasoning_output_tokens": 7,
        }
        last["cached_input_tokens"] = last["input_tokens"] // 2
        last["total_tokens"] = last["input_tokens"] + 77
        for name in self.total:
            self.total[name] += last[name]
        self.line(
            "event_msg",
            {"type": "token_count", "info": {"total_token_usage": dict(self.total), "last_token_usage": last}},
        )

    def compaction(self, turn: int) -> None:
        history = [_message("user", f"Another model began with this: summary of {turn}")]
        payload = {"message": f"summary of {turn}", "replacement_history": history, "window_number": turn}
        self.line("compacted", payload)
        self.items.append({"type": "compacted", **payload})

    def taken_back(self, turn: int) -> None:
        """A turn that the user took back: it stays in the file."""
        before = len(self.items), len(self.lines)
        self.prompt(f"never mind {turn}")
        self.say("I will not.")
        self.put("event_msg", {"type": "thread_rolled_back", "num_turns": 1})
        del self.items[before[0] :]
        self.aside += self.lines[before[1] : -1]

    def item(self, payload: dict[str, Any]) -> None:
        self.line("response_item", payload)
        self.items.append(payload)

    def put(self, kind: str, payload: dict[str, Any]) -> None:
        self.aside.append(self.line(kind, payload))

    def line(self, kind: str, payload: dict[str, Any]) -> dict[str, Any]:
        self._clock += 777
        seconds, milliseconds = divmod(self._clock, 1000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{milliseconds:03d}Z"
        made = {"timestamp": stamp, "type": kind, "payload": payload}
        self.lines.append(made)
        return made


def _message(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def items_in(lines: list[dict[str, Any]], aside: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What of a file the model sees of the conversation, as `CodexLog.items` has it."""
    found: list[dict[str, Any]] = []
    for line in lines:
        if line in aside:
            continue
        if line["type"] == "response_item":
            found.append(line["payload"])
        elif line["type"] == "compacted":
            found.append({"type": "compacted", **line["payload"]})
    return found
