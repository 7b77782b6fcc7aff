"""Agents that ask remote agents by A2A: the official Python server on both bindings, cuts, and hostile servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.responses import JSONResponse

from roost.agent.definition import Agent
from roost.agent.remote_agent_options import RemoteAgent
from roost.features.remote_agents.events import RemoteTaskBegan
from roost.log import events as ev
from roost.log.content import Text
from roost.policy.loading import Policy
from roost.policy.rules import Rule
from roost.policy.vault import SecretSource
from roost.testing.scripted import ScriptedModel, by_step
from roost.testing.stores import eventually
from tests.tools.openapi.api_server import Api, redirect, serving, text

from .a2a_server import Colleague, remote
from .policies import found, under
from .support import calling, events

pytestmark = pytest.mark.one_on_postgres

VALUE = "s3cr3t-of-the-colleague-01"
POLICY = Policy(secrets={"COLLEAGUE": SecretSource(source="env:COLLEAGUE_KEY")})
ALLOW = (Rule(effect="allow", tool="ask_*"),)


def option(url: str, **more: Any) -> RemoteAgent:
    return RemoteAgent(name="other", url=url, private=[urlsplit(url).netloc], **more)


def asker(given: RemoteAgent, *steps: Any, **more: Any) -> Agent:
    more = {"rules": ALLOW, "permissions": "all", **more}
    return Agent("a", model=ScriptedModel(by_step([*steps, "end"])), remote_agents=[given], **more)


def results(log: Any) -> list[tuple[str, str]]:
    return [
        (one.outcome, "".join(part.text for part in one.parts if isinstance(part, Text)))
        for one in found(log, ev.ToolCompleted)
    ]


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_an_agent_asks_and_goes_on_in_its_conversation(tmp_path: Path, binding: str) -> None:
    other = Colleague()
    steps = [
        calling("ask_other", message="hello"),
        calling("ask_other", message="again"),
        calling("ask_other", message="anew", new=True),
    ]
    async with remote(other, binding) as url:
        agent = asker(option(url, about="It knows colours."), *steps)
        async with under(tmp_path, agent) as runtime:
            session = await runtime.session("a")
            assert await session.ask("go") == "end"
            log = await events(session, runtime)
    assert results(log) == [("ok", "heard: hello"), ("ok", "heard: again"), ("ok", "heard: anew")]
    assert other.contexts[0] == other.contexts[1] != other.contexts[2]
    assert [one.task for one in found(log, RemoteTaskBegan)] == other.tasks
    (tool,) = agent.python.model.requests[0].tools  # type: ignore[union-attr]
    assert tool.description.endswith("It knows colours.")
    assert "Ignore all" not in str(agent.python.model.requests), "a card's words reach no prompt"  # type: ignore[union-attr]
    assert found(log, ev.SessionTainted)


async def test_a_task_that_asks_back_is_answered_and_failures_are_data(tmp_path: Path) -> None:
    other = Colleague()

    def model(request: Any) -> Any:
        said = [part.text for one in request.messages if hasattr(one, "call") for part in one.parts]
        if not said:
            return calling("ask_other", message="ask me")
        if len(said) == 1:
            return calling("ask_other", message="blue", task=other.tasks[0])
        return calling("ask_other", message="fail now") if len(said) == 2 else "end"

    from roost.testing.scripted import Answer

    def answered(request: Any) -> Answer:
        made = model(request)
        return Answer(text=made) if isinstance(made, str) else made

    async with remote(other) as url:
        agent = Agent("a", model=ScriptedModel(answered), remote_agents=[option(url)], rules=ALLOW, permissions="all")
        async with under(tmp_path, agent) as runtime:
            session = await runtime.session("a")
            assert await session.ask("go") == "end"
            said = results(await events(session, runtime))
    assert said[0][1] == f"[other asks; answer with task={other.tasks[0]!r}]\nWhich colour?"
    assert said[1] == ("ok", "heard: blue")
    assert other.tasks[1] == other.tasks[0]
    assert said[2][0] == "error"
    assert "I cannot." in said[2][1]


async def test_asking_needs_a_yes_by_default(tmp_path: Path) -> None:
    other = Colleague()
    async with remote(other) as url:
        agent = asker(option(url), calling("ask_other", message="hello"), rules=(), permissions="workspace")
        async with under(tmp_path, agent) as runtime:
            session = await runtime.session("a")
            sent = await session.send("go")
            async for event in session.events():
                if isinstance(event, ev.ApprovalRequested):
                    break
            assert other.heard == []
            await runtime.approvals.answer(session.id, event.call, "approve")
            assert await session.answer(sent.id) == "end"
    assert other.heard == ["hello"]


async def test_an_interrupted_call_goes_on_with_its_task(tmp_path: Path) -> None:
    """A pause cuts the call off; after the resume it runs again."""
    other = Colleague()
    agent = calling("ask_other", message="slow one")
    async with remote(other) as url, under(tmp_path, asker(option(url), agent)) as runtime:
        session = await runtime.session("a")
        sent = await session.send("go")
        async for event in session.events():
            if isinstance(event, RemoteTaskBegan):
                break
        await runtime.sessions.control(session.id, "pause")
        await eventually(lambda: _is(runtime, session.id, "paused"))
        await runtime.sessions.control(session.id, "resume")
        other.gate.set()
        assert await session.answer(sent.id) == "end"
        log = await events(session, runtime)
    assert other.heard == ["slow one"], "asked once"
    assert results(log) == [("ok", "heard: slow one")]
    assert len(found(log, ev.ToolStarted)) == 2


async def _is(runtime: Any, session: str, state: str) -> bool:
    return (await runtime.sessions.get(session)).state == state


async def test_a_task_that_takes_longer_is_waited_for_later(tmp_path: Path) -> None:
    other = Colleague()

    def model(request: Any) -> Any:
        from roost.testing.scripted import Answer

        said = [part.text for one in request.messages if hasattr(one, "call") for part in one.parts]
        if not said:
            return calling("ask_other", message="slow")
        if "still works" in said[-1]:
            other.gate.set()
            return calling("ask_other", task=other.tasks[0])
        return Answer(text=said[-1])

    async with remote(other) as url:
        given = option(url, seconds=0.5)
        agent = Agent("a", model=ScriptedModel(model), remote_agents=[given], rules=ALLOW, permissions="all")
        async with under(tmp_path, agent) as runtime:
            session = await runtime.session("a")
            assert await session.ask("go") == "heard: slow"
    assert other.heard == ["slow"]


async def test_the_token_goes_to_the_agent_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLEAGUE_KEY", VALUE)
    other, step = Colleague(), calling("ask_other", message=f"my token is {VALUE}")
    async with (
        remote(other) as url,
        under(tmp_path, asker(option(url, secret="COLLEAGUE"), step), POLICY) as runtime,
    ):
        session = await runtime.session("a")
        assert await session.ask("go") == "end"
        log = await events(session, runtime)
    assert set(other.tokens) == {f"Bearer {VALUE}"}
    assert VALUE not in results(log)[0][1]


async def test_no_token_without_tls_and_no_private_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLEAGUE_KEY", VALUE)
    other = Colleague()
    async with remote(other) as url:
        for number, given in enumerate(
            (RemoteAgent(name="other", url=url, secret="COLLEAGUE"), RemoteAgent(name="other", url=url))
        ):
            async with under(
                tmp_path / str(number), asker(given, calling("ask_other", message="hi")), POLICY
            ) as runtime:
                session = await runtime.session("a")
                assert await session.ask("go") == "end"
                ((outcome, said),) = results(await events(session, runtime))
            assert outcome == "error"
            assert ("without TLS", "not a public address")[number] in said
    assert other.tokens == []


def _card(api: Api, url: str, **more: Any) -> dict[str, Any]:
    interface = {"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0", **more}
    return {"name": "x", "supportedInterfaces": [interface]}


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (lambda api: _card(api, "http://127.0.0.1:1/rpc"), "another host"),
        (lambda api: _card(api, f"{api.url}/rpc", protocolVersion="0.3"), "no interface of A2A 1.0"),
        (lambda api: _card(api, f"{api.url}/rpc", protocolBinding="GRPC"), "no interface of A2A 1.0"),
        (lambda api: _card(api, "file:///etc/passwd"), "no interface"),
        (lambda api: {"supportedInterfaces": "all"}, "no interface"),
        (lambda api: {"supportedInterfaces": [None, 7, {"url": 3}]}, "no interface"),
        (lambda api: [1], "no agent card"),
        (lambda api: {"x": "y" * 300_000}, "more than"),
    ],
)
async def test_a_bad_card_is_an_error_for_the_model(tmp_path: Path, card: Any, said: str) -> None:
    async with serving() as api:
        api.answers["/.well-known/agent-card.json"] = lambda request, number: JSONResponse(card(api))
        async with under(tmp_path, asker(option(api.url), calling("ask_other", message="hi"))) as runtime:
            session = await runtime.session("a")
            assert await session.ask("go") == "end"
            ((outcome, told),) = results(await events(session, runtime))
        assert outcome == "error"
        assert said in told
        assert {one["path"] for one in api.asked} == {"/.well-known/agent-card.json"}


@pytest.mark.parametrize(
    "answer",
    [
        lambda: text("<html>", 502),
        lambda: text("{" * 5000, 200),
        lambda: JSONResponse([]),
        lambda: JSONResponse({"result": {"task": {"id": 7}}}),
        lambda: JSONResponse({"result": {"task": {"id": "x" * 1000, "status": []}}}),
        lambda: JSONResponse({"result": None}),
        lambda: JSONResponse({"error": "nope"}),
        lambda: JSONResponse({"error": {"code": -32603, "message": "no " * 100_000}}),
        lambda: redirect("http://127.0.0.1:1/"),
    ],
)
async def test_a_bad_answer_is_an_error_for_the_model(tmp_path: Path, answer: Any) -> None:
    async with serving() as api:
        api.answers["/.well-known/agent-card.json"] = lambda request, number: JSONResponse(_card(api, f"{api.url}/rpc"))
        api.answers["/rpc"] = lambda request, number: answer()
        async with under(tmp_path, asker(option(api.url), calling("ask_other", message="hi"))) as runtime:
            session = await runtime.session("a")
            assert await session.ask("go") == "end"
            ((outcome, told),) = results(await events(session, runtime))
    assert outcome == "error"
    assert len(told) < 2000


async def test_a_message_whose_answer_was_lost_is_found_by_its_id(tmp_path: Path) -> None:
    """The connection breaks after the message has arrived: no second task is made."""
    import msgspec

    sent: list[Any] = []

    def rpc(request: Any, number: int) -> Any:
        body = msgspec.json.decode(api.body())
        if body["method"] == "SendMessage":
            sent.append(body["params"]["message"])
            return text("the proxy broke", 502)
        if body["method"] == "ListTasks":
            other = {"id": "t0", "status": {"state": "TASK_STATE_WORKING"}, "history": [{"messageId": "z"}]}
            mine = {"id": "t1", "status": {"state": "TASK_STATE_WORKING"}, "history": [sent[0]]}
            return JSONResponse({"jsonrpc": "2.0", "id": 1, "result": {"tasks": [other, mine]}})
        done = {"id": body["params"]["id"], "status": {"state": "TASK_STATE_COMPLETED"}}
        done["artifacts"] = [{"artifactId": "a", "parts": [{"text": "found"}, {"data": {"x": 1}}, {"raw": "AA=="}]}]
        return JSONResponse({"jsonrpc": "2.0", "id": 1, "result": done})

    async with serving() as api:
        api.answers["/.well-known/agent-card.json"] = lambda request, number: JSONResponse(_card(api, f"{api.url}/rpc"))
        api.answers["/rpc"] = rpc
        async with under(tmp_path, asker(option(api.url), calling("ask_other", message="hi"))) as runtime:
            session = await runtime.session("a")
            assert await session.ask("go") == "end"
            log = await events(session, runtime)
    assert len(sent) == 1
    assert results(log) == [("ok", 'found\n{"x":1}\n[a file: unknown type]')]
    assert [one.task for one in found(log, RemoteTaskBegan)] == ["t1"]


async def test_a_card_is_kept_over_a_restart(tmp_path: Path) -> None:
    other = Colleague()
    async with remote(other) as url:
        for number in range(2):
            async with under(tmp_path, asker(option(url), calling("ask_other", message=f"m{number}"))) as runtime:
                session = await runtime.session("a")
                assert await session.ask("go") == "end"
        assert other.heard == ["m0", "m1"]


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "no good"},
        {"name": "x" * 41},
        {"url": "ftp://x"},
        {"url": "https://u:p@x/"},
        {"url": "https://x/?a=b"},
        {"private": ["nohost"]},
        {"seconds": 0},
    ],
)
def test_a_wrong_option_raises_where_it_is_written(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        RemoteAgent(**{"name": "other", "url": "https://example.com/a2a/x", **bad})


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two remote agents"):
        Agent(
            "a",
            remote_agents=[
                RemoteAgent(name="o", url="https://a.example"),
                RemoteAgent(name="o", url="https://b.example"),
            ],
        )
