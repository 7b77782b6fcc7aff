"""What stands around a call: the policy's layers in the log, hooks, guardrails, the classifier, secrets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from roost.agent.definition import Agent
from roost.features.hooks.events import PolicyDecided
from roost.log import events as ev
from roost.policy.guardrails import FunctionGuard, LengthGuard, PatternGuard
from roost.policy.hooks import Answer as Said
from roost.policy.hooks import Moment, PythonHook, ShellHook
from roost.policy.loading import Classifier, Policy
from roost.policy.rules import Rule
from roost.policy.vault import SecretSource
from roost.runtime import SessionHandle, TurnFailed
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step
from roost.tools.base import ToolContext
from roost.tools.function import tool

from .policies import Notes, found, under, writer
from .support import asleep, calling, events, outcomes, until

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


# The gate's word in the log


async def test_who_decided_is_in_the_log(tmp_path: Path) -> None:
    notes = Notes()
    rules = (Rule(effect="allow", tool="write"),)
    async with under(tmp_path, writer(notes, rules=rules)) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go") == "end"
        (started,) = found(await events(session, runtime), ev.ToolStarted)
        assert started.why == "config: allow tool=write"
    forbids = Policy(rules=(Rule(effect="deny", tool="write", reason="never write"),))
    async with under(tmp_path / "two", writer(notes, rules=rules), forbids) as runtime:
        session = await runtime.session("a")
        await session.ask("go")
        (done,) = found(await events(session, runtime), ev.ToolCompleted)
        assert (done.outcome, done.why) == ("denied", "user: deny tool=write")
        assert "never write" in done.parts[0].text
    assert notes.written == ["x"]


async def test_a_project_can_only_forbid_and_its_policy_is_not_the_agents_to_change(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / ".roost").mkdir(parents=True)
    policy = work / ".roost" / "policy.toml"
    policy.write_text('[[rules]]\neffect = "deny"\npath = "secret/**"\n')
    script = Answer(
        calls=tuple(
            Call("write_file", {"path": path, "content": "x"})
            for path in (".roost/policy.toml", "secret/a", "./sub/../.roost/policy.toml", ".git/hooks/pre-commit")
        )
    )
    agent = Agent("a", model=ScriptedModel(by_step([script, "end"])), tools=["write_file"], permissions="all")
    async with under(tmp_path / "home", agent) as runtime:
        session = await runtime.session("a", workspace=str(work))
        await session.send("go")
        await until(session, ev.ApprovalRequested)
        await asleep(runtime, session)
        log = await events(session, runtime)
        asked = found(log, ev.ApprovalRequested)
        assert [json.loads(event.arguments)["path"] for event in asked] == [
            ".roost/policy.toml",
            "./sub/../.roost/policy.toml",
            ".git/hooks/pre-commit",
        ]
        assert all(event.why.startswith("system: ask path=") for event in asked)
        assert [event.why for event in found(log, ev.ToolCompleted)] == ["project: deny path=secret/**"]
    assert policy.read_text().startswith("[[rules]]")


@pytest.mark.parametrize("path", ["home/policy.toml", "x/../home/policy.toml", "link/policy.toml", "home/agents/b.md"])
async def test_nobody_changes_the_users_policy(tmp_path: Path, path: str) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "policy.toml").write_text("# mine\n")
    (tmp_path / "link").symlink_to(tmp_path / "home")
    script = ScriptedModel(by_step([Answer(calls=(Call("write_file", {"path": path, "content": "x"}),)), "end"]))
    rules = (Rule(effect="allow"),)
    agent = Agent("a", model=script, tools=["write_file"], permissions="all", rules=rules)
    async with under(tmp_path / "home", agent) as runtime:
        session = await runtime.session("a", workspace=str(tmp_path))
        assert await session.ask("go") == "end"
        (done,) = found(await events(session, runtime), ev.ToolCompleted)
        assert (done.outcome, done.why) == ("denied", "roost: it belongs to Roost itself; leave it alone")
    assert (tmp_path / "home" / "policy.toml").read_text() == "# mine\n"


async def test_a_project_policy_that_cannot_be_read_asks(tmp_path: Path) -> None:
    (tmp_path / "work" / ".roost").mkdir(parents=True)
    (tmp_path / "work" / ".roost" / "policy.toml").write_text('[[rules]]\neffect = "allow"\n')
    notes = Notes()
    async with under(tmp_path / "home", writer(notes, permissions="all")) as runtime:
        session = await runtime.session("a", workspace=str(tmp_path / "work"))
        await session.send("go")
        asked = await until(session, ev.ApprovalRequested)
        assert "policy.toml:2: rules.1.effect: a project's policy may only ask or deny" in asked.reason
    assert notes.written == []


# Hooks


def hook(answer: Any, *on: Any, **more: Any) -> PythonHook:
    async def judge(moment: Moment) -> Any:
        return answer(moment) if callable(answer) else answer

    return PythonHook(judge, on=on or ("pre_tool",), **{"name": "mine", **more})


async def test_hooks_change_forbid_and_are_told_in_the_log(tmp_path: Path) -> None:
    notes, seen = Notes(), list[Moment]()

    def second(moment: Moment) -> Said:
        seen.append(moment)
        return Said(decision="allow")

    first = Said(decision="modify", arguments={"text": "changed"}, reason="house style")
    hooks = [hook(first, name="one"), hook(second, name="two"), hook(Said(decision="deny"), tool="other")]
    async with under(tmp_path, writer(notes, permissions="all", hooks=hooks)) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go") == "end"
        log = await events(session, runtime)
        assert [(event.by, event.decision) for event in found(log, PolicyDecided)] == [
            ("hook:one", "modify"),
            ("hook:two", "allow"),
        ]
        (done,) = found(log, ev.ToolCompleted)
        assert done.parts[0].text == '[hook:one changed the arguments to {"text":"changed"}]'
    assert seen[0].arguments == {"text": "changed"}
    assert seen[0].tool == "write"
    assert seen[0].agent == "a"
    assert notes.written == ["changed"]


async def test_what_a_hook_changes_is_judged_by_the_gate(tmp_path: Path) -> None:
    changed = Said(decision="modify", arguments={"path": "b/../keep/x", "content": "x"})
    script = ScriptedModel(by_step([Answer(calls=(Call("write_file", {"path": "a", "content": "x"}),)), "end"]))
    rules = (Rule(effect="deny", path="keep/**"),)
    agent = Agent("a", model=script, tools=["write_file"], permissions="all", hooks=[hook(changed)], rules=rules)
    async with under(tmp_path / "home", agent) as runtime:
        session = await runtime.session("a", workspace=str(tmp_path))
        await session.ask("go")
        (done,) = found(await events(session, runtime), ev.ToolCompleted)
        assert done.outcome == "denied"


async def _hangs(moment: Moment) -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.2)
            return


def _fails(moment: Moment) -> None:
    raise RuntimeError("broken")


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (hook(_fails), "failed with RuntimeError"),
        (PythonHook(lambda moment: asyncio.sleep(30), on=("pre_tool",), seconds=0.1, name="slow"), "within 0.1"),
        (PythonHook(lambda moment: time.sleep(3), on=("pre_tool",), seconds=0.1, name="blocks"), "within 0.1"),
        (hook(lambda moment: sys.exit(1)), "RuntimeError"),
        (PythonHook(lambda moment: sys.exit(1), on=("pre_tool",)), "RuntimeError"),
        (hook("nonsense"), "returned str"),
        (hook(Said(decision="modify")), "changes nothing"),
        (hook(False), "does not allow"),
        (ShellHook(["sh", "-c", "exit 3"], on=("pre_tool",), folder=Path("/")), "exit code 3"),
        (ShellHook(["sh", "-c", "echo '{'"], on=("pre_tool",), folder=Path("/")), "not understood"),
        (
            ShellHook(["sh", "-c", 'echo \'{"decision":"maybe"}\''], on=("pre_tool",), folder=Path("/")),
            "not understood",
        ),
        (ShellHook(["sh", "-c", "trap '' TERM; sleep 300"], on=("pre_tool",), folder=Path("/"), seconds=0.2), "ended"),
        (ShellHook(["no-such-program"], on=("pre_tool",), folder=Path("/")), "exit code 127"),
    ],
)
async def test_a_hook_that_cannot_answer_forbids(tmp_path: Path, broken: Any, why: str) -> None:
    notes = Notes()
    async with under(tmp_path, writer(notes, permissions="all"), Policy(hooks=(broken,))) as runtime:
        session = await runtime.session("a")
        assert await asyncio.wait_for(session.ask("go"), 30) == "end"
        log = await events(session, runtime)
        (decided,) = found(log, PolicyDecided)
        assert decided.decision == "deny"
        assert why in decided.reason
        assert set(outcomes(log).values()) == {"denied"}
    assert notes.written == []


async def test_a_pause_cuts_a_hook_off_and_it_is_asked_again(tmp_path: Path) -> None:
    notes, asked = Notes(), asyncio.Event()
    moments: list[Moment] = []

    async def slow(moment: Moment) -> Said | None:
        moments.append(moment)
        asked.set()
        if len(moments) == 1:
            await asyncio.sleep(20)
        return Said(decision="modify", arguments={"text": moment.arguments["text"] + "y"})

    hooks = [hook(Said(decision="modify", arguments={"text": "z"}), name="first"), PythonHook(slow, on=["pre_tool"])]
    async with under(tmp_path, writer(notes, permissions="all", hooks=hooks)) as runtime:
        session = await runtime.session("a")
        accepted = await session.send("go")
        await asked.wait()
        await session.control("pause")
        await asleep(runtime, session)
        assert notes.written == []
        await session.control("resume")
        assert await session.answer(accepted.id) == "end"
    assert notes.written == ["zy"]
    assert len(moments) == 2


async def test_a_program_as_a_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_TOKEN", "not-for-hooks-1234567890")
    code = (
        "import json, os, sys; moment = json.load(sys.stdin); text = moment['arguments']['text'];"
        "print(json.dumps({'decision': 'modify', 'arguments': {'text': text + str('OTHER_TOKEN' in os.environ)}}))"
    )
    notes = Notes()
    policy = Policy(hooks=(ShellHook([sys.executable, "-c", code], on=("pre_tool",), folder=tmp_path),))
    async with under(tmp_path, writer(notes, permissions="all"), policy) as runtime:
        assert await (await runtime.session("a")).ask("go") == "end"
    assert notes.written == ["xFalse"]


async def test_hooks_after_a_tool_and_around_the_model(tmp_path: Path) -> None:
    notes, ends = Notes(), list[Moment]()
    model = ScriptedModel(by_step([calling("write", text="x"), "the answer is zebra"]))
    hooks = [
        hook(Said(decision="modify", text="a shorter result"), "post_tool"),
        hook(lambda moment: Said(decision="modify", text=moment.text + " Be kind."), "pre_model"),
        hook(lambda m: Said(decision="modify", text="hidden") if "zebra" in m.text else None, "post_model"),
        hook(lambda moment: ends.append(moment), "turn_end"),
    ]
    agent = writer(notes, permissions="all", model=model, hooks=hooks, instructions="Help.")
    async with under(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go") == "hidden"
        await asleep(runtime, session)
        log = await events(session, runtime)
        (done,) = found(log, ev.ToolCompleted)
        assert [part.text for part in done.parts] == ["a shorter result"]
        assert "zebra" not in str(found(log, ev.ModelCompleted))
    assert {request.instruction for request in model.requests} == {"Help. Be kind."}
    assert [(moment.text, moment.outcome) for moment in ends] == [("hidden", "answered")]


@pytest.mark.parametrize("on", ["turn_start", "pre_model", "post_model"])
async def test_a_denied_moment_ends_the_turn(tmp_path: Path, on: Any) -> None:
    model = ScriptedModel(["said"])
    hooks = [hook(Said(decision="deny", reason="closed today"), on)]
    async with under(tmp_path, writer(Notes(), model=model, hooks=hooks)) as runtime:
        session = await runtime.session("a")
        with pytest.raises(TurnFailed, match="closed today"):
            await session.ask("go")
        assert model.calls == (1 if on == "post_model" else 0)
        assert not found(await events(session, runtime), ev.ModelCompleted)


async def test_a_withheld_result_is_never_in_the_log(tmp_path: Path) -> None:
    hooks = [hook(Said(decision="deny", reason="too private"), "post_tool")]
    async with under(tmp_path, writer(Notes(), permissions="all", text="zebra", hooks=hooks)) as runtime:
        session = await runtime.session("a")
        await session.ask("go")
        (done,) = found(await events(session, runtime), ev.ToolCompleted)
        assert done.outcome == "denied"
        assert done.parts[0].text == "[the call has taken effect; its result is withheld: too private]"


# Guardrails


async def test_what_may_not_be_said_does_not_reach_the_model(tmp_path: Path) -> None:
    model = ScriptedModel(by_step(["fine"]))
    policy = Policy(guardrails=(PatternGuard(r"\bpassword\b", on=("input",), name="words"), LengthGuard(40)))
    async with under(tmp_path, writer(Notes(), model=model), policy) as runtime:
        session = await runtime.session("a")
        with pytest.raises(TurnFailed, match="words: it holds what is not allowed"):
            await session.ask("my password is tiger")
        with pytest.raises(TurnFailed, match="41 characters"):
            await session.ask("x" * 41)
        assert model.calls == 0
        assert await session.ask("hello") == "fine"
        sent = str(model.requests[-1].messages)
        assert "tiger" not in sent
        assert "[withheld: " in sent


async def test_what_the_agent_may_not_say_is_kept_from_everybody(tmp_path: Path) -> None:
    model = ScriptedModel([Answer(text="the code is zebra and more", piece=4, pace=0.01)])
    policy = Policy(guardrails=(PatternGuard(r"zebr.", on=("output",), name="codes"),))
    async with under(tmp_path, writer(Notes(), model=model), policy) as runtime:
        session = await runtime.session("a")
        heard: list[Any] = []

        async def listen() -> None:
            async for frames in runtime.sessions.stream(session.id):
                heard.extend(frames)

        listening = asyncio.create_task(listen())
        with pytest.raises(TurnFailed, match="denied: codes"):
            await session.ask("go")
        listening.cancel()
        assert "zebra" not in str(await events(session, runtime))
        assert heard
        assert not [frame for frame in heard if frame.seq is None]


async def test_guardrails_are_asked_at_once_and_the_first_no_ends_it(tmp_path: Path) -> None:
    async def slow(text: str) -> str | None:
        await asyncio.sleep(200)
        return None

    guards = [FunctionGuard(slow, seconds=250), FunctionGuard(slow, seconds=250), LengthGuard(1)]
    async with under(tmp_path, writer(Notes(), guardrails=guards)) as runtime:
        session = await runtime.session("a")
        with pytest.raises(TurnFailed, match="2 characters"):
            await asyncio.wait_for(session.ask("go"), 30)


async def test_a_guardrail_that_fails_or_hangs_does_not_pass(tmp_path: Path) -> None:
    async def hangs(text: str) -> str | None:
        await asyncio.sleep(20)
        return None

    def fails(text: str) -> str | None:
        raise ValueError

    for number, (guard, why) in enumerate(
        [(FunctionGuard(hangs, seconds=0.1), "0.1 seconds"), (FunctionGuard(fails), "ValueError")]
    ):
        async with under(tmp_path / str(number), writer(Notes(), guardrails=[guard])) as runtime:
            with pytest.raises(TurnFailed, match=why):
                await (await runtime.session("a")).ask("go")


async def test_a_catastrophic_pattern_stops_nobody_else(tmp_path: Path) -> None:
    guard = PatternGuard("(a+)+$", on=("input",), name="slow", seconds=0.6)
    async with under(
        tmp_path, writer(Notes(), model=ScriptedModel(by_step(["fine"]))), Policy(guardrails=(guard,))
    ) as runtime:
        one, two = await runtime.session("a"), await runtime.session("a")
        asked = asyncio.create_task(one.ask("a" * 50 + "!"))
        assert await told(two, "hello") == "fine"
        with pytest.raises(TurnFailed, match=r"slow: the guardrail did not answer within 0\.6 seconds"):
            await asked
        assert await told(two, "hello") == "fine"
        assert "slow: it holds" in await told(two, "aaa")


async def told(session: SessionHandle, text: str) -> str:
    """The answer, or why there is none. On a machine that stands still a guardrail may come too late for once."""
    said = ""
    for _ in range(20):
        try:
            return await session.ask(text)
        except TurnFailed as error:
            if "did not answer" not in (said := str(error)):
                break
    return said


# The classifier


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer(text='{"decision": "allow"}'), "ok"),
        (Answer(text='Sure! {"decision": "deny", "reason": "it harms"}'), "denied"),
        (Answer(text='{"decision": "ask", "reason": "odd"}'), None),
        (Answer(text="no idea"), None),
        (Answer(text='{"decision": "allow"}', delay=20), None),
    ],
)
async def test_the_classifier_only_makes_it_stricter(tmp_path: Path, answer: Answer, outcome: str | None) -> None:
    notes, judge = Notes(), ScriptedModel([answer], name="judge/one")
    policy = Policy(classifier=Classifier(model="judge/one", seconds=0.3 if answer.delay else 60.0))
    agent = writer(notes, permissions="all")
    async with under(tmp_path, agent, policy) as runtime:
        runtime.models.register("judge", lambda rest: judge)
        session = await runtime.session("a")
        await session.send("go")
        await until(session, ev.ApprovalRequested if outcome is None else ev.TurnCompleted)
        log = await events(session, runtime)
        (decided,) = found(log, PolicyDecided)
        assert decided.by == "classifier"
        assert decided.usage is not None
        assert list(outcomes(log).values()) == ([] if outcome is None else [outcome])
        assert (await session.inspect()).usage.input >= 100
    assert judge.calls == 1


async def test_a_classifier_that_is_cut_off_is_paid_and_asked_again(tmp_path: Path) -> None:
    notes = Notes()
    judge = ScriptedModel([Answer(delay=20), Answer(text='{"decision": "allow"}')], name="judge/one")
    async with under(
        tmp_path, writer(notes, permissions="all"), Policy(classifier=Classifier(model="judge/one"))
    ) as runtime:
        runtime.models.register("judge", lambda rest: judge)
        session = await runtime.session("a")
        accepted = await session.send("go")
        while not judge.calls:
            await asyncio.sleep(0.01)
        await session.control("pause")
        await session.control("resume")
        assert await session.answer(accepted.id) == "end"
        log = await events(session, runtime)
        assert [event.decision for event in found(log, PolicyDecided)] == ["ask", "allow"]
        assert all(event.usage for event in found(log, PolicyDecided))
    assert notes.written == ["x"]


async def test_the_classifier_is_not_asked_where_the_gate_asks_or_a_person_has_allowed(tmp_path: Path) -> None:
    judge = ScriptedModel([], name="judge/one")
    policy = Policy(classifier=Classifier(model="judge/one"), rules=(Rule(effect="allow", tool="write"),))
    async with under(tmp_path, writer(Notes()), policy) as runtime:
        runtime.models.register("judge", lambda rest: judge)
        assert await (await runtime.session("a")).ask("go") == "end"
    async with under(tmp_path / "two", writer(Notes()), Policy(classifier=policy.classifier)) as runtime:
        runtime.models.register("judge", lambda rest: judge)
        session = await runtime.session("a")
        await session.send("go")
        await until(session, ev.ApprovalRequested)
    assert judge.calls == 0


# Secrets

VALUE = "tok_4f9a7c1e8b2d4f6a9c3e"


async def test_a_secret_enters_only_a_tool_that_declares_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_SERVICE", VALUE)
    got: list[str] = []

    @tool(safety="safe_write", secrets=["SERVICE"])
    async def deploy(context: ToolContext, key: str) -> str:
        """Deploy."""
        got.append(context.secret(key))
        await context.emit("deployed", {"with": got[-1]})
        raise RuntimeError(f"401 for {got[-1]}")

    @tool(safety="safe_write")
    async def other(context: ToolContext) -> str:
        """Try."""
        return context.secret("SERVICE")

    heard: list[str] = []
    hooks = [hook(lambda moment: heard.append(moment.text), "post_tool")]
    script = [Answer(calls=(Call("deploy", {"key": "{{secret:SERVICE}}"}), Call("other"))), f"it was {VALUE}"]
    model = ScriptedModel(by_step(script))
    agent = Agent("a", model=model, tools=[deploy, other], permissions="all", hooks=hooks)
    policy = Policy(secrets={"SERVICE": SecretSource(source="env:MY_SERVICE", hosts=("api.example.com",))})
    async with under(tmp_path, agent, policy) as runtime:
        session = await runtime.session("a")
        assert await session.ask(f"use {VALUE}") == "it was [secret:SERVICE]"
        log = await events(session, runtime)
        assert VALUE not in str(log)
        assert VALUE not in str(heard)
        assert VALUE not in str(model.requests)
        assert "401 for [secret:SERVICE]" in str(log)
        assert "may not have the secret 'SERVICE'" in str(log) or "declare it" in str(log)
        assert VALUE not in repr(runtime.vault)
        assert runtime.vault.for_egress()["SERVICE"].hosts == ("api.example.com",)
    assert got == [VALUE]
