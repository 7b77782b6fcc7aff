"""What was brought in goes on at every provider: each request is one that a strict one takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roost.agent.definition import Agent
from roost.kernel.config import KernelConfig
from roost.providers.accounts import Models
from roost.providers.config import AccountEntry, ModelEntry, ModelsConfig
from roost.runtime import Runtime
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply

from .claude_log import ClaudeLog
from .codex_log import CodexLog

WIRES = ("openai_chat", "openai_responses", "anthropic", "gemini")


@pytest.mark.parametrize("log", [ClaudeLog(11), CodexLog(11)], ids=["claude-code", "codex"])
async def test_it_goes_on_at_every_provider(tmp_path: Path, log: Any) -> None:
    path = log.session(12).write(tmp_path / "x.jsonl")
    with ProviderServer(lambda _: Reply(text="I go on.")) as server:
        accounts = {wire: AccountEntry(base_url=server.url, wire=wire) for wire in WIRES}
        models = {f"{wire}/m": ModelEntry(window=200_000, max_output=1000, images=True) for wire in WIRES}
        config = ModelsConfig(accounts=accounts, models=models)
        agents = [Agent(wire, model=f"{wire}/m", tools=["read_file"]) for wire in WIRES]
        settings = KernelConfig(linger=0.05, scan=0.2, lease=3.0)
        async with Runtime(
            tmp_path / "home", agents=agents, models=Models(environ={}, config=config), config=settings
        ) as runtime:
            for wire in WIRES:
                brought = await runtime.exchange.read(path, agent=wire)
                assert await runtime.open(brought.session.id).ask("go on") == "I go on.", wire
