"""A secret's value by every way from a tool or a model into the log: no byte of it is in the home afterwards."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.errors import SandboxError
from roost.log import events as ev
from roost.policy.hooks import Answer as Said
from roost.policy.hooks import Moment, PythonHook
from roost.policy.loading import Policy
from roost.policy.vault import SecretSource
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step
from roost.tools.base import Tool, ToolContext
from roost.tools.errors import ToolError
from roost.tools.function import tool

from .policies import found, under
from .support import events

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
VALUE = "tok_4f9a7c1e8b2d4f6a9c3e5b7d"


def leaky() -> list[Tool]:
    """Each lets the value out in its own way."""

    @tool(safety="safe_write", secrets=["KEY"])
    async def result(context: ToolContext) -> str:
        """In the result."""
        return f"the key is {context.secret('KEY')}."

    @tool(safety="safe_write", secrets=["KEY"])
    async def error(context: ToolContext) -> str:
        """In an error for the model."""
        raise ToolError(f"401: {context.secret('KEY')} is not welcome")

    @tool(safety="safe_write", secrets=["KEY"])
    async def fault(context: ToolContext) -> str:
        """In an exception with a cause."""
        try:
            raise KeyError(context.secret("KEY"))
        except KeyError as cause:
            raise SandboxError(f"no {cause}") from cause

    @tool(safety="safe_write", secrets=["KEY"])
    async def progress(context: ToolContext) -> str:
        """In an event, as a name and as a value."""
        await context.emit("told", {context.secret("KEY"): [context.secret("KEY")]})
        return "told"

    @tool(safety="safe_write", secrets=["KEY"])
    async def command(context: ToolContext) -> str:
        """By a command: a file that is written and read, the environment, the command line, what it says on stderr."""
        key, root = context.secret("KEY"), str(context.workspace.root)
        script = 'printf %s "$K" > kept; cat kept; env; tr "\\0" " " < /proc/$$/cmdline; "$K"; rm kept'
        done = await context.sandbox.exec(["sh", "-c", script, "sh", key], cwd=root, env={"K": key})
        assert done.stdout.count(key) >= 3
        assert key in done.stderr
        return done.stdout + done.stderr

    @tool(safety="safe_write", secrets=["KEY"])
    async def header(context: ToolContext) -> str:
        """As a header that a server repeats."""
        return f"GET / HTTP/1.1\r\nAuthorization: Bearer {context.secret('KEY')}\r\n\r\n"

    @tool(safety="safe_write", secrets=["KEY"])
    async def logged(context: ToolContext) -> str:
        """In a line for the operator."""
        logging.getLogger("roost.test").warning("the key is %s", context.secret("KEY"))
        return "logged"

    @tool(safety="safe_write")
    async def told(text: str) -> str:
        """What the model says."""
        return f"heard {text}"

    return [result, error, fault, progress, command, header, logged, told]


async def test_no_byte_of_a_value_is_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", VALUE)
    seen: list[str] = []

    async def look(moment: Moment) -> Said | None:
        seen.append(f"{moment.text} {moment.arguments} {moment.outcome}")
        return Said(decision="modify", text=f"{moment.text} {VALUE}") if moment.on == "post_tool" else None

    tools = leaky()
    calls = [Call(each.name, {"text": f"I know {VALUE}"} if each.name == "told" else {}) for each in tools]
    script = [
        *(Answer(text=f"now {VALUE}", thinking=f"hm, {VALUE}", calls=(call,)) for call in calls),
        Answer(text=f"it was {VALUE}", thinking=VALUE),
    ]
    model = ScriptedModel(by_step(script))
    hooks = [PythonHook(look, on=["pre_tool", "post_tool", "pre_model", "post_model", "turn_start", "turn_end"])]
    agent = Agent("a", model=model, tools=tools, permissions="all", hooks=hooks)
    policy = Policy(secrets={"KEY": SecretSource(source="env:MY_KEY", hosts=("api.example.com",))})
    async with under(tmp_path / "home", agent, policy) as runtime:
        session = await runtime.session("a")
        assert await session.ask(f"use {VALUE}") == "it was [secret:KEY]"
        log = await events(session, runtime)
        done = found(log, ev.ToolCompleted)
        assert [event.outcome for event in done].count("ok") == len(tools) - 2
        assert all("[secret:KEY]" in event.parts[0].text for event in done)
        assert VALUE not in str(model.requests)
        assert VALUE not in str(seen)
    for file in await asyncio.to_thread(lambda: [path for path in (tmp_path / "home").rglob("*") if path.is_file()]):
        assert VALUE.encode() not in await asyncio.to_thread(file.read_bytes), file
