"""Reasoning that a server wants back, by account, against servers that are as strict as the real ones."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from roost.log.content import AssistantMessage, Message, Text, Thinking, ToolCall, ToolMessage
from roost.models.http_model import HttpModel
from roost.models.request import Completed, Model
from roost.models.wire import Endpoint
from roost.models.wires import wire
from roost.models.wires.openai_chat.reasoning import SKIP, back_of, vendor
from roost.providers.accounts import Models
from roost.providers.config import AccountEntry
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply
from roost.testing.matrix.tools import TOOLS, answered
from roost.testing.models import ask, completed, failed, run, user
from roost.testing.scripted import Call

CALLS = Reply(text="I look.", thinking="let me think", calls=(Call("look", {"path": "a"}), Call("look", {"path": "b"})))
SAYS = Reply(text="Done.", thinking="that was it")
PLACES = {
    "openrouter": "/openrouter/v1",
    "gemini": "/gemini/v1beta/openai",
    "deepseek": "/deepseek/v1",
}
"""Accounts whose servers the stub has under a path of their own."""


class Account:
    """Models of one account at the stub. `bodies` are the requests."""

    def __init__(self, name: str, script: Callable[[dict[str, Any]], Reply] | None = None) -> None:
        self.name = name
        self.bodies: list[dict[str, Any]] = []
        self._script = script or (lambda body: CALLS)
        self._server = ProviderServer(self._reply)
        self._models = Models(environ={}, dotenv=None)

    def _reply(self, body: dict[str, Any]) -> Reply:
        self.bodies.append(body)
        return self._script(body)

    def model(self, name: str) -> Model:
        return self._models.resolve(f"{self.name}/{name}")

    @property
    def violations(self) -> list[str]:
        return self._server.stats.reasons

    async def __aenter__(self) -> Account:
        self._server.__enter__()
        url = self._server.url.removesuffix("/v1") + PLACES.get(self.name, "/v1")
        self._models.register_account(self.name, AccountEntry(base_url=url), key="key-of-the-account")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._models.close()
        self._server.__exit__(None, None, None)


async def turn(model: Model, talk: list[Message], *, stream: bool = True) -> Completed:
    """One request; its answer and the results of its calls are added to `talk`."""
    _, end = await run(model, ask(*talk, tools=TOOLS, stream=stream))
    assert isinstance(end, Completed), end
    talk += answered(end)
    return end


def last_said(body: dict[str, Any]) -> dict[str, Any]:
    return [message for message in body["messages"] if message["role"] == "assistant"][-1]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", ["google/gemini-4-argon", "anthropic/claude-sonnet-5.5", "moonshotai/kimi-k3"])
async def test_openrouter_gets_its_details_back_as_they_were(name: str, stream: bool) -> None:
    async with Account("openrouter") as account:
        model = account.model(name)
        talk: list[Message] = [user("go")]
        for _ in range(3):
            end = await turn(model, talk, stream=stream)
            assert [part.text for part in end.parts if isinstance(part, Thinking) and part.text] == ["let me think"]
        talk.append(user("and now?"))
        await turn(model, talk, stream=stream)
        assert not account.violations
        said = [message for message in account.bodies[-1]["messages"] if message["role"] == "assistant"]
        assert all(message["reasoning_details"] for message in said)
        assert all("reasoning_content" not in message for message in said)


async def test_google_gets_the_signature_of_its_calls_back() -> None:
    async with Account("gemini") as account:
        model = account.model("gemini-3.5-flash")
        talk: list[Message] = [user("go")]
        for stream in (True, False, True):
            await turn(model, talk, stream=stream)
        assert not account.violations
        first, second = last_said(account.bodies[-1])["tool_calls"]
        assert first["extra_content"]["google"]["thought_signature"].startswith("proof_")
        assert "extra_content" not in second


@pytest.mark.parametrize(("account", "name"), [("gemini", "gemini-3.5-flash"), ("openrouter", "google/gemini-4-argon")])
async def test_calls_of_another_model_are_marked_for_gemini(account: str, name: str) -> None:
    history = (
        user("go"),
        AssistantMessage((Thinking("hm", "other's", "anthropic/anthropic"), ToolCall("c1", "look", '{"path":"a"}'))),
        ToolMessage("c1", "look", (Text("there"),)),
    )
    async with Account(account) as at:
        await completed(at.model(name), ask(*history, tools=TOOLS))
        assert SKIP in json.dumps(at.bodies[-1])
        assert "other's" not in json.dumps(at.bodies[-1])
        assert not at.violations


async def test_a_signature_goes_to_no_other_server_and_no_other_vendor() -> None:
    async with Account("openrouter") as account:
        talk: list[Message] = [user("go")]
        await turn(account.model("google/gemini-4-argon"), talk)
        await turn(account.model("anthropic/claude-sonnet-5.5"), talk)
        said = [message for message in account.bodies[-1]["messages"] if message["role"] == "assistant"]
        assert "reasoning_details" not in said[0]
        async with Account("gemini") as google:
            await turn(google.model("gemini-3.5-flash"), talk)
            assert "proof_" not in json.dumps(google.bodies[-1])
            assert not google.violations
        assert not account.violations


async def test_without_the_signature_the_server_refuses_as_google_does() -> None:
    """The stub is as strict as the server: a client without signatures fails at it."""
    with ProviderServer(lambda _: CALLS) as server:
        url = server.url.removesuffix("/v1") + PLACES["gemini"]
        model = HttpModel(model="gemini-3.5-flash", endpoint=Endpoint(base_url=url), wire=wire("openai_chat"))
        history = (user("go"), AssistantMessage((ToolCall("c", "look", "{}"),)), ToolMessage("c", "look", (Text("x"),)))
        error = (await failed(model, ask(*history, tools=TOOLS))).error
        await model.close()
    assert error.code == "bad_request"
    assert "missing a thought_signature" in error.message


@pytest.mark.parametrize("name", ["deepseek-flash", "deepseek-v4-pro"])
async def test_deepseek_gets_the_reasoning_of_earlier_turns(name: str) -> None:
    async with Account("deepseek") as account:
        model = account.model(name)
        talk: list[Message] = [user("go")]
        await turn(model, talk)
        other = AssistantMessage((ToolCall("of_another", "look", "{}"),))
        talk += [other, ToolMessage("of_another", "look", (Text("x"),)), user("next")]
        await turn(model, talk)
        assert not account.violations
        said = [message for message in account.bodies[-1]["messages"] if message["role"] == "assistant"]
        assert [message["reasoning_content"] for message in said] == ["let me think", ""]


async def test_a_call_is_not_forced_where_the_model_refuses_that() -> None:
    async with Account("deepseek") as account:
        request = ask(tools=TOOLS, tool_choice="required")
        await completed(account.model("deepseek-flash"), request)
        assert account.bodies[-1]["tool_choice"] == "auto"
        assert "call of at least one of the tools" in account.bodies[-1]["messages"][0]["content"]
    async with Account("openrouter") as account:
        await completed(account.model("anthropic/claude-sonnet-5.5"), request)
        assert account.bodies[-1]["tool_choice"] == "auto"
        await completed(account.model("openai/gpt-6-luna"), request)
        assert account.bodies[-1]["tool_choice"] == "required"
    async with Account("anthropic") as account:
        await completed(account.model("claude-sonnet-5-5"), request)
        assert account.bodies[-1]["tool_choice"] == {"type": "auto"}
        assert "call of at least one of the tools" in account.bodies[-1]["system"][-1]["text"]
        await completed(account.model("claude-haiku-5-5"), request)
        assert account.bodies[-1]["tool_choice"] == {"type": "any"}
        assert not account.violations


@pytest.mark.parametrize(
    ("account", "name", "field"),
    [
        ("openrouter", "deepseek/deepseek-v4-pro-0813", "reasoning_details"),
        ("together", "deepseek-ai/DeepSeek-V4-Pro-0813", "reasoning_content"),
        ("together", "moonshotai/Kimi-K3", "reasoning_content"),
        ("novita", "deepseek/deepseek-v4.1-flash", "reasoning_content"),
        ("fireworks", "accounts/fireworks/models/deepseek-v4p1-flash", "reasoning_content"),
        ("fireworks", "accounts/fireworks/models/kimi-k3", "reasoning_content"),
        ("huggingface", "moonshotai/Kimi-K3:together", "reasoning_content"),
        ("mistral", "zai-glm-5-3", None),
        ("groq", "openai/gpt-oss-120b", None),
    ],
)
async def test_what_goes_back_by_account_and_model(account: str, name: str, field: str | None) -> None:
    async with Account(account) as at:
        talk: list[Message] = [user("go")]
        await turn(at.model(name), talk)
        talk.append(user("next"))
        await turn(at.model(name), talk)
        sent = {key for key in last_said(at.bodies[-1]) if key.startswith("reasoning")}
        assert sent == ({field} if field else set())


async def test_a_kimi_account_made_by_hand_needs_no_options() -> None:
    with ProviderServer(lambda _: CALLS) as server:
        models = Models(environ={}, dotenv=None)
        url = server.url.removesuffix("/v1") + "/kimi/v1"
        models.register_account("moonshot", AccountEntry(base_url=url), key="key-of-the-account")
        talk: list[Message] = [user("go")]
        for _ in range(2):
            end = await turn(models.resolve("moonshot/kimi-k3"), talk)
            assert end.usage.input == 100  # it counts inside of the choice
            talk += [AssistantMessage((Text("of another"),)), user("next")]
        await turn(models.resolve("moonshot/kimi-k3"), talk)
        await models.close()
        assert not server.stats.reasons


def test_names_of_models() -> None:
    for name in ("deepseek/deepseek-v4.1-flash", "accounts/fireworks/models/deepseek-v4p1-flash", "moonshotai/Kimi-K3"):
        assert back_of(name) == "all"
    for name in ("kimi-k2-thinking", "kimi-k2.5", "MiniMaxAI/MiniMax-M2.7", "DeepSeek_V5"):
        assert back_of(name) == "all"
    for name in ("gpt-6-luna", "moonshotai/kimi-k2-instruct", "deepseek-chat", "qwen/qwen3.8-max"):
        assert back_of(name) == "none"
    assert (back_of("zai-org/GLM-5.3"), back_of("accounts/fireworks/models/glm-5p3")) == ("turn", "turn")
    assert [vendor(name) for name in ("google/gemini-3.5-flash", "Claude-5", "o7", "")] == ["gemini", "claude", "o", ""]


SESSIONS = [
    ("openrouter", "google/gemini-4-argon"),
    ("openrouter", "anthropic/claude-sonnet-5.5"),
    ("openrouter", "deepseek/deepseek-v4-pro-0813"),
    ("openrouter", "openai/gpt-6-luna"),
    ("gemini", "gemini-3.5-flash"),
    ("google", "gemini-3.5-flash"),
    ("deepseek", "deepseek-flash"),
    ("deepseek", "deepseek-v4-pro"),
    ("together", "moonshotai/Kimi-K3"),
    ("novita", "deepseek/deepseek-v4.1-flash"),
    ("fireworks", "accounts/fireworks/models/kimi-k3"),
    ("groq", "openai/gpt-oss-120b"),
    ("mistral", "mistral-large-4"),
    ("xai", "grok-4.7"),
    ("openai", "gpt-6-luna"),
    ("openai-responses", "gpt-6-luna"),
    ("anthropic", "claude-sonnet-5-5"),
    ("glm", "glm-5.2"),
    ("glm", "glm-5.3"),
    ("minimax", "MiniMax-M3"),
    ("cohere", "command-a-03-2025"),
    ("huggingface", "deepseek-ai/DeepSeek-V4.1-Flash"),
    ("ollama", "qwen3"),
]


@pytest.mark.parametrize(("account", "name"), SESSIONS)
async def test_thirty_requests_keep_their_prefix(account: str, name: str) -> None:
    """Each request of a session begins with all of the one before it, so that the provider's cache holds."""
    asked: list[int] = []

    def script(body: dict[str, Any]) -> Reply:
        asked.append(1)
        return SAYS if len(asked) % 5 == 0 else CALLS

    async with Account(account, script) as at:
        model = at.model(name)
        talk: list[Message] = [user("first")]
        for number in range(30):
            end = await turn(model, talk)
            if end.stop == "end":
                talk.append(user(f"request {number}"))
        assert not at.violations
        prompts = [_prompt(body) for body in at.bodies]
    assert len(prompts) == 30
    broken = [n for n, (one, two) in enumerate(itertools.pairwise(prompts)) if two[: len(one)] != one]
    assert broken == []


def _prompt(body: dict[str, Any]) -> list[str]:
    """The parts of the prompt in the order in which a server renders them, without the marks for its cache."""
    turns = body.get("messages") or body.get("contents") or body.get("input") or []
    system = [body.get(field) for field in ("tools", "system", "systemInstruction", "instructions")]
    return [json.dumps(_unmarked(part)) for part in (*system, *turns)]


def _unmarked(value: Any) -> Any:
    if isinstance(value, list):
        return [_unmarked(item) for item in value]
    if isinstance(value, dict):
        return {key: _unmarked(item) for key, item in value.items() if key != "cache_control"}
    return value


async def test_claude_by_openrouter_is_marked_for_the_cache() -> None:
    async with Account("openrouter") as account:
        model = account.model("anthropic/claude-sonnet-5.5")
        talk: list[Message] = [user("go")]
        for _ in range(3):
            await turn(model, talk)
        system, *turns = account.bodies[-1]["messages"]
        assert system["content"][-1]["cache_control"] == {"type": "ephemeral"}
        given = [message for message in turns if message["role"] != "assistant"]
        marks = [any("cache_control" in part for part in message["content"]) for message in given]
        assert marks == [False] * (len(given) - 2) + [True, True]
        await turn(account.model("openai/gpt-6-luna"), talk)
        assert "cache_control" not in json.dumps(account.bodies[-1])
        assert not account.violations
