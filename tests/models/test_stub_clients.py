"""The stub takes what the real servers take of other people's clients, and refuses what they refuse.

The clients run where they are on the PATH: `npm i @anthropic-ai/claude-code @openai/codex`."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from roost.models.http import HttpClient
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

SECONDS = 120
CLAUDE: dict[str, Any] = {
    "model": "claude-opus-4-8",
    "max_tokens": 64000,
    "stream": False,
    "metadata": {"user_id": '{"device_id":"d","session_id":"s"}'},
    "thinking": {"type": "adaptive"},
    "output_config": {"effort": "high"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "system": [{"type": "text", "text": "x-anthropic-billing-header: cc_version=2"}],
    "tools": [
        {"name": "Bash", "input_schema": {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}},
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
    ],
    "messages": [{"role": "user", "content": "Hello"}, {"role": "system", "content": "The date is today."}],
}
"""A request as Claude Code 2.1 makes it."""
BETAS = "claude-code-20250219,context-management-2025-06-27,mid-conversation-system-2026-04-07,effort-2025-11-24"
CODEX: dict[str, Any] = {
    "model": "gpt-6-luna",
    "stream": False,
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "reasoning": {"summary": "auto"},
    "prompt_cache_key": "k",
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "client_metadata": {"x-codex-installation-id": "i"},
    "tools": [
        {"type": "function", "name": "exec_command", "strict": False, "parameters": {"type": "object"}},
        {"type": "namespace", "name": "multi_agent_v1", "tools": []},
        {"type": "web_search"},
        {"type": "custom", "name": "apply_patch", "format": {"type": "grammar"}},
    ],
    "input": [
        {
            "type": "message",
            "role": "developer",
            "id": "msg_1",
            "content": [{"type": "input_text", "text": "Be good."}],
        },
        {"type": "message", "role": "user", "id": "msg_2", "content": [{"type": "input_text", "text": "Hello"}]},
    ],
}
"""A request as Codex 0.169 makes it."""


async def posted(client: HttpClient, url: str, body: dict[str, Any], **headers: str) -> tuple[int, str]:
    send = {"Content-Type": "application/json", **headers}
    async with client.stream("POST", url, send, json.dumps(body).encode()) as response:
        return response.status, (await response.read_all(100_000)).decode()


async def test_what_claude_code_sends(client: HttpClient) -> None:
    version = {"anthropic-version": "2023-06-01"}
    with ProviderServer() as server:
        url = f"{server.url}/messages?beta=true"
        status, said = await posted(client, url, CLAUDE, **version, **{"anthropic-beta": BETAS})
        assert (status, "You said: Hello" in said) == (200, True), said
        # Without their betas the same fields are unknown.
        status, said = await posted(client, url, CLAUDE, **version)
        assert (status, "context_management" in said) == (400, True), said
        plain = {key: value for key, value in CLAUDE.items() if key != "context_management"}
        status, said = await posted(client, url, plain, **version)
        assert (status, "unexpected role 'system'" in said) == (400, True), said


async def test_what_codex_sends(client: HttpClient) -> None:
    with ProviderServer() as server:
        url = f"{server.url}/responses"
        status, said = await posted(client, url, CODEX)
        assert (status, "You said: Hello" in said) == (200, True), said
        lost = copy.deepcopy(CODEX)
        lost["input"].insert(0, {"type": "reasoning", "id": "rs_1", "summary": []})
        status, said = await posted(client, url, lost)
        assert (status, "not found" in said) == (400, True), said
        status, said = await posted(client, url, {**CODEX, "no_such_field": 1})
        assert (status, "Unknown parameter" in said) == (400, True), said


def task(tool: str, arguments: dict[str, Any]) -> Script:
    calls = Reply(text="I look.", calls=(Call(tool, arguments),))
    return Script(
        rules=(Rule(when="USE IT", answers=(calls, Reply(text="TASK DONE"))), Rule(answers=(Reply(text="ok"),)))
    )


def ran(command: list[str], home: Path, **env: str) -> str:
    clean = {"PATH": os.environ["PATH"], "HOME": str(home), "IS_SANDBOX": "1", **env}
    done = subprocess.run(
        command, cwd=home, env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS
    )
    return done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("claude") is None, reason="Claude Code is not on the PATH")
def test_claude_code_finishes_a_task(tmp_path: Path) -> None:
    with ProviderServer(task("Bash", {"command": "echo hi", "description": "say hi"})) as server:
        quiet = dict.fromkeys(
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER"), "1"
        )
        where = {"ANTHROPIC_BASE_URL": server.url.removesuffix("/v1"), "ANTHROPIC_API_KEY": "sk-dummy"}
        command = ["claude", "-p", "USE IT please", "--output-format", "json", "--allowedTools", "Bash"]
        said = ran(command, tmp_path, **quiet, **where)
        assert "TASK DONE" in said, said
        assert not server.stats.violations, server.stats.reasons


@pytest.mark.skipif(shutil.which("codex") is None, reason="Codex is not on the PATH")
def test_codex_finishes_a_task(tmp_path: Path) -> None:
    with ProviderServer(task("exec_command", {"cmd": "echo hi"})) as server:
        provider = f'{{name="stub", base_url="{server.url}", env_key="STUB_KEY", wire_api="responses"}}'
        settings = ['model="stubbed"', 'model_provider="stub"', f"model_providers.stub={provider}"]
        settings += ['approval_policy="never"', 'sandbox_mode="danger-full-access"']
        options = [word for setting in settings for word in ("-c", setting)]
        command = ["codex", "exec", "--skip-git-repo-check", *options, "USE IT please"]
        said = ran(command, tmp_path, CODEX_HOME=str(tmp_path), STUB_KEY="k")
        assert "TASK DONE" in said, said
        assert not server.stats.violations, server.stats.reasons
