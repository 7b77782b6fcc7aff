"""Coding agents as sessions: their calls are judged and logged, their models are Roost's. The real ones run where they
are on the PATH; what goes wrong is tried with a small one in the place of pi."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.console.sign_ins import signed_in
from tests.doors.test_anthropic_gateway_mode import TOML
from tests.server.accounts import tenant
from tests.server.conftest import Served

from roost.agent.definition import Agent, Limits
from roost.features.coding_agents import behaviour, program_model
from roost.features.coding_agents.process import Process, node_folder
from roost.features.coding_agents.program import Place
from roost.features.coding_agents.programs import program_of
from roost.features.coding_agents.tool_making import tool_of
from roost.models.request import ToolSpec
from roost.sandbox.base import ExecResult
from roost.sandbox.choose import Isolation
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

pytestmark = pytest.mark.timeout(1200)  # programs of others start slowly on a busy machine
TOOLS = {
    "claude-code": ("Bash", "command"),
    "codex": ("exec_command", "cmd"),
    "opencode": ("bash", "command"),
    "pi": ("bash", "command"),
    "gemini": ("run_shell_command", "command"),
}
AGENTS = {"claude-code": "Agent"}
"""The tool by which a program gives work to an agent of its own."""
COMMANDS = {"claude-code": "claude", "codex": "codex", "opencode": "opencode", "pi itself": "pi", "gemini": "gemini"}
DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAIAAAAlC+aJAAAAS0lEQVR42u3PQQkAAAgAsetfWiP4FgYrsKZeS0BAQEBAQEBAQEBAQEBAQEBAQEBA"
    "QEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEDgsqnc8OJg6Ln3AAAAAElFTkSuQmCC"
)
PRIVATE = "curl -s http://example.com/ > page.txt; echo ran >> ran.txt"


def script(program: str) -> Script:
    tool, field = TOOLS[program]

    def run(command: str, text: str = "") -> Reply:
        extra = {"description": "work"} if program in ("claude-code", "opencode") else {}
        return Reply(text=text, calls=(Call(tool, {field: command, **extra}),))

    more = {"description": "work"} if program in ("claude-code", "opencode") else {}
    both = Reply(calls=tuple(Call(tool, {field: f"cat answer.txt >> {word}.txt", **more}) for word in ("one", "two")))
    lines = ("echo one >> mixed.txt", PRIVATE, "echo two >> mixed.txt")
    mixed = Reply(calls=tuple(Call(tool, {field: line, **more}) for line in lines))
    return Script(
        rules=(
            Rule(when="AND AGAIN", answers=(run("cat answer.txt"), Reply(text="STILL: {result}"))),
            Rule(when="ASK ME", answers=(run(PRIVATE, "May I?"), Reply(text="DONE: {result}"))),
            Rule(when="TWICE", answers=(both, Reply(text="GOT: {result}"))),
            Rule(when="MIXED", answers=(mixed, Reply(text="GOT: {result}"))),
            Rule(when="A TITLE", answers=(Reply(text="a title"),)),
            Rule(when="LONG", answers=(run("sleep 3600"), Reply(text="never"))),
            Rule(when="SUB WORK", answers=(run("echo below >> sub.txt"), Reply(text="SUB DONE"))),
            Rule(
                when="DELEGATE",
                answers=(
                    Reply(calls=(Call(AGENTS.get(program, "task"), {"description": "work", "prompt": "SUB WORK"}),)),
                    Reply(text="IT SAID: {result}"),
                ),
            ),
            Rule(
                when="LOOK",
                answers=(
                    run("cat .roost-agent/*/files/*-notes.bin; cksum .roost-agent/*/files/*-dot.png"),
                    Reply(text="READ: {result}"),
                ),
            ),
            Rule(when="RECALL", answers=(Reply(text="HEARD: {input}"),)),
            Rule(when="SLOWLY", answers=(Reply(text="word " * 150, pace=0.02, piece=5),)),
            Rule(when="SHOW", answers=(run("env; ls -a; cat /proc/net/dev"), Reply(text="SHOWN"))),
            Rule(
                when="USE IT",
                answers=(
                    run("echo forty-two >> answer.txt", "I write."),
                    run("cat answer.txt"),
                    Reply(text="TASK DONE: {result}"),
                ),
            ),
        )
    )


PROGRAMS = ("claude-code", "codex", "gemini", "opencode", "pi itself", "pi")
OWN = (
    "test_a_program_works_as_a_session",
    "test_a_call_waits_for_a_person_and_a_no_reaches_the_model",
    "test_settings_of_the_workspace_start_no_program",
    "test_a_call_that_waits_for_a_person_outlives_the_daemon",
)
"""What every program passes each time."""
ONE = {
    "test_of_several_calls_one_waits_for_a_person": "claude-code",
    "test_at_level_0_the_gateway_is_a_port_of_this_machine": "codex",
    "test_cancel_and_steer_stop_what_the_program_does": "codex",
    "test_a_fork_goes_on_with_a_copy_of_the_conversation": "claude-code",
    "test_pictures_and_files_reach_the_program": "codex",
    "test_a_program_whose_conversation_is_gone_is_told_what_was_said": "claude-code",
    "test_a_call_that_was_cut_off_is_told_and_not_repeated": "codex",
    "test_a_model_call_that_was_cut_off_is_made_again": "claude-code",
}
"""What this real program passes each time besides the small one, and the others by `make soak`: what these try is the
same for all programs, and each start of one takes seconds of the processor."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen = any("program" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "program" not in metafunc.fixturenames or chosen:
        return
    test = metafunc.function.__name__
    always = PROGRAMS if test in OWN else ("pi", ONE[test])
    programs = [pytest.param(name, marks=[] if name in always else pytest.mark.soak) for name in PROGRAMS]
    metafunc.parametrize("program", programs, indirect=True)


@pytest.fixture
def program(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = request.param
    if name in COMMANDS and shutil.which(COMMANDS[name]) is None:
        pytest.skip(f"{name} is not on the PATH")
    if name == "pi":
        stand_in(tmp_path, monkeypatch)
    return name.removesuffix(" itself")


@pytest.fixture
def pi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    stand_in(tmp_path, monkeypatch)
    return "pi"


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the small coding agent on the PATH as `pi`."""
    place = tmp_path / "bin" / "pi"
    place.parent.mkdir()
    source = (Path(__file__).parent / "coding_agent.py").read_text()
    place.write_text(f"#!{os.path.realpath(sys.executable)} -IS\n{source}")
    place.chmod(place.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    monkeypatch.setenv("PATH", f"{place.parent}:{os.environ['PATH']}")


Start = Callable[..., Served]


@pytest.fixture
def stubs() -> list[ProviderServer]:
    """The providers that `start` has started."""
    return []


@pytest.fixture
def start(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stubs: list[ProviderServer]) -> Any:
    """Start a daemon with the agent `coder`, which is a program, on a scripted provider. more: of its models.toml."""
    monkeypatch.setenv("ONE_KEY", "k")

    def begin(program: Any, more: str = "", **options: Any) -> Served:
        stubs.append(ProviderServer(script(program)).__enter__())
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "models.toml").write_text(TOML.format(url=stubs[0].url, wire="openai_chat") + more)
        return serve(agents=[Agent("coder", model="one/m", program=program, **options)])

    yield begin
    for stub in stubs:
        stub.__exit__(None, None, None)
        assert not stub.stats.violations, stub.stats.reasons


def events(served: Served, session: str, kind: str = "") -> list[Any]:
    found = [entry["event"] for entry in served.history(session)]
    return [event for event in found if not kind or event["type"] == kind]


def say(served: Served, session: str, text: str, mode: str = "follow_up") -> None:
    assert served.post(f"/sessions/{session}/messages", {"text": text, "mode": mode}).status == 202


def turn_of(served: Served, session: str, wait: Any, number: int = 1) -> Any:
    """Wait for the end of a turn. Returns its event."""
    wait(lambda: len(events(served, session, "turn.completed")) >= number, 500)
    return events(served, session, "turn.completed")[number - 1]


def answer(served: Served, session: str) -> str:
    parts = events(served, session, "model.completed")[-1]["parts"]
    return "".join(part["text"] for part in parts if part["kind"] == "text")


def calls(served: Served, session: str) -> list[Any]:
    return events(served, session, "tool.completed")


def result(call: Any) -> str:
    return "".join(part["text"] for part in call["parts"])


def file_of(served: Served, session: str, name: str) -> str:
    return (served.home / "workspaces" / session / name).read_text()


def test_a_program_works_as_a_session(start: Start, program: str, wait: Any) -> None:
    served = start(program)
    session = served.session("coder")
    say(served, session, "USE IT please")
    assert turn_of(served, session, wait).get("reason") is None
    assert "TASK DONE:" in answer(served, session)
    assert "forty-two" in answer(served, session)
    assert [(call["outcome"], result(call)) for call in calls(served, session) if call["outcome"] != "ok"] == []
    assert len(calls(served, session)) == 2
    usage = turn_of(served, session, wait)["usage"]
    assert usage["cost"] > 0
    assert served.get(f"/sessions/{session}")["usage"]["cost"] == usage["cost"]
    say(served, session, "TWICE please")
    done = turn_of(served, session, wait, 2)
    assert done.get("reason") is None
    assert [file_of(served, session, f"{name}.txt") for name in ("one", "two")] == ["forty-two\n"] * 2
    assert [call["outcome"] for call in calls(served, session)] == ["ok"] * 4
    assert done["steps"] == 2  # no model was asked for the second call again
    assert "GOT:" in answer(served, session)
    first, second = events(served, session, "coding_agent.prompted")
    assert first["told"] == second["told"] == 1
    threads = {one["thread"] for one in (*events(served, session, "coding_agent.thread"), second)}
    assert len(threads) == 1
    assert file_of(served, session, "answer.txt") == "forty-two\n"


def test_a_call_waits_for_a_person_and_a_no_reaches_the_model(start: Start, program: str, wait: Any) -> None:
    served = start(program)
    session = served.session("coder")
    say(served, session, "ASK ME please")
    wait(lambda: events(served, session, "approval.requested"), 500)
    (asked,) = events(served, session, "approval.requested")
    assert PRIVATE in json.loads(asked["arguments"])[TOOLS[program][1]]
    assert served.post(f"/sessions/{session}/approvals/{asked['call']}", {"decision": "reject"}).status in (200, 202)
    assert turn_of(served, session, wait).get("reason") is None
    assert "rejected" in answer(served, session)
    assert not (served.home / "workspaces" / session / "ran.txt").exists()
    if program != "pi":
        return  # a yes reaches each program in `test_coding_agents_killed.py`
    say(served, session, "ASK ME once more")
    wait(lambda: len(events(served, session, "approval.requested")) == 2, 500)
    asked = events(served, session, "approval.requested")[-1]
    assert served.post(f"/sessions/{session}/approvals/{asked['call']}", {"decision": "approve"}).status in (200, 202)
    assert turn_of(served, session, wait, 2).get("reason") is None
    assert file_of(served, session, "ran.txt") == "ran\n"


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_program_that_hangs_up_while_a_call_waits_is_told_all(
    start: Start, pi: str, wait: Any, decision: str, stubs: list[ProviderServer]
) -> None:
    """It asks the same again, and gets what has come of it: no model is asked for it once more."""
    served = start(pi)
    session = served.session("coder")
    say(served, session, "ASK ME, I am IMPATIENT")
    wait(lambda: events(served, session, "approval.requested"), 500)
    (asked,) = events(served, session, "approval.requested")
    wait((served.home / "workspaces" / session / "hung_up.txt").exists, 500)
    assert served.post(f"/sessions/{session}/approvals/{asked['call']}", {"decision": decision}).status in (200, 202)
    assert turn_of(served, session, wait).get("reason") is None
    assert stubs[0].stats.requests == len(events(served, session, "model.completed")) == 2
    (kept,) = (served.home / "workspaces" / session / ".roost-agent").glob("*/pi/sessions/*.jsonl")
    said = [one["content"] for one in json.loads(kept.read_text()) if one["role"] == "assistant"]
    if decision == "approve":
        assert file_of(served, session, "ran.txt") == "ran\n"
        assert said == ["May I?", answer(served, session)]
    else:
        assert not (served.home / "workspaces" / session / "ran.txt").exists()
        assert "rejected" in answer(served, session)
        assert said == ["May I?\n\n" + answer(served, session)]


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_of_several_calls_one_waits_for_a_person(start: Start, program: str, wait: Any, decision: str) -> None:
    served = start(program)
    session = served.session("coder")
    say(served, session, "MIXED please")
    wait(lambda: events(served, session, "approval.requested") and len(calls(served, session)) == 2, 500)
    assert file_of(served, session, "mixed.txt") == "one\ntwo\n"
    assert not (served.home / "workspaces" / session / "ran.txt").exists()
    (asked,) = events(served, session, "approval.requested")
    assert served.post(f"/sessions/{session}/approvals/{asked['call']}", {"decision": decision}).status in (200, 202)
    done = turn_of(served, session, wait)
    assert (done.get("reason"), done["steps"]) == (None, 2)
    assert "GOT:" in answer(served, session)
    assert (served.home / "workspaces" / session / "ran.txt").exists() == (decision == "approve")
    outcome = next(call["outcome"] for call in calls(served, session) if call["call"] == asked["call"])
    assert outcome == ("ok" if decision == "approve" else "denied")
    assert file_of(served, session, "mixed.txt") == "one\ntwo\n"


def test_a_program_has_no_network_and_no_key_of_a_provider(start: Start, pi: str, wait: Any) -> None:
    served = start(pi, permissions="all")
    session = served.session("coder")
    say(served, session, "SHOW me")
    assert turn_of(served, session, wait).get("reason") is None
    shown = result(calls(served, session)[0])
    assert "ONE_KEY" not in shown
    assert served.token not in shown
    assert "GATEWAY_KEY=" in shown
    if events(served, session, "sandbox.chosen")[0]["level"]:
        assert [line.split(":")[0].strip() for line in shown.splitlines() if line.strip().startswith("lo:")] == ["lo"]
        assert "eth0:" not in shown


def test_at_level_0_the_gateway_is_a_port_of_this_machine(start: Start, program: str, wait: Any) -> None:
    if os.geteuid() == 0:
        pytest.skip("the folder of the test is root's, and sessions have users of their own")
    served = start(program, isolation=Isolation(prefers=0), permissions="all")
    session = served.session("coder")
    say(served, session, "USE IT please")
    assert turn_of(served, session, wait).get("reason") is None
    assert events(served, session, "sandbox.chosen")[0]["level"] == 0


def test_a_call_without_tools_is_charged_and_is_no_step(start: Start, pi: str, wait: Any) -> None:
    served = start(pi)
    session = served.session("coder")
    say(served, session, "USE IT with a TITLE")
    done = turn_of(served, session, wait)
    assert (done["outcome"], done["steps"]) == ("answered", 3)
    spent = served.get(f"/sessions/{session}")["usage"]["cost"]
    assert spent == 6 * 140_000  # 100 tokens in, 20 out: three steps, and a title before each
    assert served.get("/costs")["month"]["spent"] == spent


def test_a_call_without_tools_is_charged_to_the_account_of_the_session(start: Start, pi: str, wait: Any) -> None:
    served = start(pi)
    alice = tenant(served, "alice")
    session = alice.session("coder")
    assert alice.post(f"/sessions/{session}/messages", {"text": "USE IT with a TITLE"}).status == 202
    assert turn_of(served, session, wait).get("reason") is None
    spent = {(one["kind"], one["name"]): one["spent"] for one in served.get("/costs")["shares"]}
    assert spent == {("user", "@alice"): 6 * 140_000, ("agent", "coder"): 6 * 140_000}


@pytest.mark.parametrize(
    ("word", "code", "said"),
    [
        ("DIE", "program_failed", "exit code 3: out of cheese"),
        ("SILENT", "program_silent", "called no model"),
    ],
)
def test_a_program_that_fails_ends_the_turn(
    start: Start, pi: str, wait: Any, monkeypatch: pytest.MonkeyPatch, word: str, code: str, said: str
) -> None:
    patience = program_model.SILENCE
    if word == "SILENT":
        monkeypatch.setattr(program_model, "SILENCE", 2.0)
    served = start(pi)
    session = served.session("coder")
    say(served, session, f"{word} now")
    done = turn_of(served, session, wait)
    assert done["outcome"] == "failed"
    assert done["reason"].startswith(code)
    assert said in done["reason"]
    monkeypatch.setattr(program_model, "SILENCE", patience)
    say(served, session, "FLOOD, then USE IT")
    assert turn_of(served, session, wait, 2).get("reason") is None


def test_a_program_that_is_missing_says_how_to_install_it(
    start: Start, wait: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    if shutil.which("pi"):
        pytest.skip("pi is a program of the system")
    served = start("pi")
    session = served.session("coder")
    say(served, session, "USE IT")
    done = turn_of(served, session, wait)
    assert "program_missing" in done["reason"]
    assert "npm install -g @earendil-works/pi-coding-agent" in done["reason"]


def test_cancel_and_steer_stop_what_the_program_does(start: Start, program: str, wait: Any) -> None:
    served = start(program, permissions="all")
    session = served.session("coder")
    say(served, session, "LONG work")
    wait(lambda: events(served, session, "tool.started"), 500)
    assert served.post(f"/sessions/{session}/cancel").status in (200, 202)
    assert turn_of(served, session, wait)["outcome"] == "cancelled"
    say(served, session, "ASK ME please")
    assert turn_of(served, session, wait, 2).get("reason") is None
    assert file_of(served, session, "ran.txt") == "ran\n"


def test_a_steering_message_reaches_the_program(start: Start, pi: str, wait: Any) -> None:
    served = start(pi)
    session = served.session("coder")
    say(served, session, "ASK ME please")
    wait(lambda: events(served, session, "approval.requested"), 500)
    say(served, session, "AND AGAIN instead", mode="steer")
    (asked,) = events(served, session, "approval.requested")
    served.post(f"/sessions/{session}/approvals/{asked['call']}", {"decision": "reject"})
    assert turn_of(served, session, wait).get("reason") is None
    assert "STILL:" in answer(served, session)
    assert [one["told"] for one in events(served, session, "coding_agent.prompted")] == [1, 2]


def test_an_answer_is_not_cut_while_a_browser_looks_on(start: Start, pi: str, wait: Any) -> None:
    """While a browser is open its sign-in is looked at; the program's calls show none that could have ended."""
    served = start(pi)
    browser = served.connect()
    browser.request("GET", "/console/changes", headers=signed_in(served))
    assert browser.getresponse().status == 200
    session = served.session("coder")
    say(served, session, "SLOWLY please")
    turn = turn_of(served, session, wait)
    browser.close()
    assert turn.get("reason") is None, turn
    assert answer(served, session).count("word") == 150


def test_money_is_limited_as_for_every_agent(start: Start, pi: str, wait: Any) -> None:
    served = start(pi, limits=Limits(money=0.0000001))
    session = served.session("coder")
    say(served, session, "USE IT please")
    done = turn_of(served, session, wait)
    assert (done["outcome"], done["usage"]["cost"]) == ("limit", 0)


def test_a_fork_goes_on_with_a_copy_of_the_conversation(start: Start, program: str, wait: Any) -> None:
    served = start(program)
    session = served.session("coder")
    say(served, session, "USE IT please")
    turn_of(served, session, wait)
    made = served.post(f"/sessions/{session}/fork", {})
    assert made.status == 201, made
    fork = made.json["id"]
    say(served, fork, "AND AGAIN please")
    done = turn_of(served, fork, wait, 2)
    assert done["outcome"] == "answered", done["reason"]
    assert "forty-two" in answer(served, fork)
    both = events(served, fork, "coding_agent.prompted") + events(served, fork, "coding_agent.thread")
    threads = {one["thread"] for one in both if "thread" in one}
    assert len(threads) == 1
    assert len(events(served, session, "coding_agent.prompted")) == 1


@pytest.mark.parametrize("sees", [True, False])
def test_pictures_and_files_reach_the_program(
    start: Start, program: str, wait: Any, stubs: list[ProviderServer], sees: bool
) -> None:
    """A picture is shown where the program and the model take it. All files are there to be read."""
    if not sees and program != "pi":
        pytest.skip("the same for all programs")
    served = start(program, more="images = true\n" if sees else "")
    session = served.session("coder")
    picture = {
        "kind": "image",
        "media_type": "image/png",
        "data": base64.b64encode(DOT).decode(),
        "name": "a b/dot.png",
    }
    notes = {"kind": "file", "media_type": "application/x-notes", "data": base64.b64encode(b"forty-two").decode()}
    parts = [{"kind": "text", "text": "LOOK at it"}, picture, {**notes, "name": "../notes.bin"}]
    assert served.post(f"/sessions/{session}/messages", {"parts": parts}).status == 202
    assert turn_of(served, session, wait).get("reason") is None
    assert "forty-two" in answer(served, session)
    (kept,) = (served.home / "workspaces" / session / ".roost-agent").glob("*/files/*-dot.png")
    assert kept.read_bytes() == DOT
    asked = [json.dumps(body) for body in stubs[0].provider.bodies]
    assert all(kept.name in one for one in asked if "LOOK at it" in one)
    shown = [one for one in asked if "data:image/" in one or '"image_url"' in one]
    assert bool(shown) == (sees and program != "gemini"), shown
    say(served, session, "AND AGAIN please")
    assert turn_of(served, session, wait, 2).get("reason") is None


def test_the_answer_after_a_denial_is_told_once(start: Start, pi: str, wait: Any) -> None:
    served = start(pi, permissions="read_only")
    session = served.session("coder")
    say(served, session, "ASK ME please")
    assert turn_of(served, session, wait).get("reason") is None
    (call,) = calls(served, session)
    assert call["outcome"] == "denied"
    place = served.home / "workspaces" / session / ".roost-agent"
    (kept,) = place.glob("*/pi/sessions/*.jsonl")
    (said,) = [one for one in json.loads(kept.read_text()) if one["role"] == "assistant"]
    assert said["content"].startswith("May I?\n\nDONE: ")
    assert said["content"].count("DONE: ") == 1
    assert not said.get("tool_calls")


@pytest.mark.parametrize("program", ["claude-code", "pi"], indirect=True)
def test_an_agent_of_the_program_has_its_own_model_calls(start: Start, program: str, wait: Any) -> None:
    served = start(program)
    session = served.session("coder")
    say(served, session, "DELEGATE it")
    assert turn_of(served, session, wait).get("reason") is None
    assert "IT SAID:" in answer(served, session)
    assert file_of(served, session, "sub.txt") == "below\n"
    assert len(calls(served, session)) == 2


def test_a_program_waits_only_so_long_for_a_person(
    start: Start, pi: str, wait: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behaviour, "WAITS", 0.5)
    served = start(pi)
    session = served.session("coder")
    say(served, session, "ASK ME please")
    wait(lambda: events(served, session, "approval.requested"), 500)
    wait(lambda: "\nroost_sessions_live 0.0\n" in served.request("GET", "/metrics").body.decode(), 30)
    (asked,) = events(served, session, "approval.requested")
    served.post(f"/sessions/{session}/approvals/{asked['call']}", {"decision": "approve"})
    assert turn_of(served, session, wait).get("reason") is None
    assert file_of(served, session, "ran.txt") == "ran\n"
    assert len(events(served, session, "model.completed")) == 2
    assert len(events(served, session, "coding_agent.prompted")) == 2


def test_what_a_repository_has_for_the_program_does_not_count(start: Start, pi: str, wait: Any, tmp_path: Path) -> None:
    served = start(pi)
    folder, other = tmp_path / "mine", tmp_path / "other.txt"
    (folder / ".roost-agent" / "pi").mkdir(parents=True)
    other.write_text("keep me")
    for name in (".gitignore", "pi/prompt.txt", "pi/models.json"):
        (folder / ".roost-agent" / name).symlink_to(other)
    session = served.session("coder", workspace=str(folder))
    say(served, session, "USE IT please")
    assert turn_of(served, session, wait).get("reason") is None
    assert other.read_text() == "keep me"
    assert not list((folder / ".roost-agent" / "pi").glob("sessions"))


def test_a_folder_of_programs_that_is_a_link_is_refused(start: Start, pi: str, wait: Any, tmp_path: Path) -> None:
    served = start(pi)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".roost-agent").symlink_to(tmp_path / "mine")
    session = served.session("coder", workspace=str(tmp_path / "mine"))
    say(served, session, "USE IT please")
    assert "is a link: remove it" in turn_of(served, session, wait)["reason"]


def test_files_of_messages_follow_no_link_that_a_command_left(start: Start, pi: str, wait: Any, tmp_path: Path) -> None:
    served = start(pi)
    folder, other = tmp_path / "mine", tmp_path / "mine" / "hooks"
    other.mkdir(parents=True)
    session = served.session("coder", workspace=str(folder))
    say(served, session, "USE IT please")
    assert turn_of(served, session, wait).get("reason") is None
    (own,) = (one for one in (folder / ".roost-agent").iterdir() if one.is_dir())
    (own / "files").symlink_to(other)
    notes = {"kind": "file", "media_type": "application/pdf", "data": "YQ==", "name": "a.pdf"}
    served.post(f"/sessions/{session}/messages", {"parts": [{"kind": "text", "text": "AND AGAIN"}, notes]})
    wait(lambda: len(events(served, session, "turn.completed")) == 2, 60)
    assert "files is a link: remove it" in events(served, session, "turn.completed")[1]["reason"]
    assert not list(other.iterdir())


def test_a_rollback_takes_back_what_the_program_was_told(start: Start, pi: str, wait: Any) -> None:
    served = start(pi)
    session = served.session("coder")
    say(served, session, "RECALL one")
    turn_of(served, session, wait)
    assert served.post(f"/sessions/{session}/checkpoints", {"label": "then"}).status in (200, 201, 202)
    wait(lambda: served.get(f"/sessions/{session}/checkpoints")["checkpoints"], 60)
    say(served, session, "RECALL two")
    turn_of(served, session, wait, 2)
    assert served.post(f"/sessions/{session}/rollback", {"to": "then"}).status in (200, 202)
    wait(lambda: events(served, session, "session.rolled_back"), 60)
    say(served, session, "RECALL three")
    assert turn_of(served, session, wait, 3).get("reason") is None
    (kept,) = (served.home / "workspaces" / session / ".roost-agent").glob("*/pi/sessions/*.jsonl")
    told = [one["content"].strip() for one in json.loads(kept.read_text()) if one["role"] == "user"]
    assert told == ["RECALL one", "RECALL three"]


@pytest.mark.parametrize("goes", ["back", "apart"])
def test_in_a_folder_of_the_user_a_new_conversation_begins(
    start: Start, pi: str, wait: Any, tmp_path: Path, goes: str
) -> None:
    """The files of the conversation have what the session, which went back or is a fork, does not."""
    served = start(pi)
    (tmp_path / "mine").mkdir()
    session = served.session("coder", workspace=str(tmp_path / "mine"))
    say(served, session, "RECALL one")
    turn_of(served, session, wait)
    position = served.history(session)[-1]["seq"]
    say(served, session, "RECALL two")
    turn_of(served, session, wait, 2)
    if goes == "back":
        assert served.post(f"/sessions/{session}/rollback", {"to": position}).status in (200, 202)
        wait(lambda: events(served, session, "session.rolled_back"), 60)
    else:
        made = served.post(f"/sessions/{session}/fork", {"at": position})
        assert made.status == 201, made
        session = made.json["id"]
    say(served, session, "RECALL three")
    turn_of(served, session, wait, 3 if goes == "back" else 2)
    heard = answer(served, session)
    assert "RECALL one" in heard
    assert "RECALL two" not in heard
    assert "RECALL three" in heard


def test_a_program_whose_conversation_is_gone_is_told_what_was_said(start: Start, program: str, wait: Any) -> None:
    served = start(program)
    session = served.session("coder")
    say(served, session, "RECALL one")
    turn_of(served, session, wait)
    shutil.rmtree(served.home / "workspaces" / session / ".roost-agent")
    say(served, session, "RECALL two")
    assert turn_of(served, session, wait, 2).get("reason") is None
    assert "RECALL one" in answer(served, session)


def test_settings_of_the_workspace_start_no_program(start: Start, program: str, wait: Any) -> None:
    if program != "gemini":
        pytest.skip("only Gemini CLI reads them, unless it is told not to trust them")
    served = start(program, permissions="all")
    session = served.session("coder")
    folder = served.home / "workspaces" / session / ".gemini"
    touch = {"command": f"touch {folder.parent}/evil"}
    hooks = {"SessionStart": [{"hooks": [{"type": "command", **touch}]}]}
    settings = {"hooksConfig": {"enabled": True}, "hooks": hooks, "mcpServers": {"evil": touch}}
    say(served, session, "RECALL one")  # makes the workspace
    turn_of(served, session, wait)
    folder.mkdir()
    (folder / "settings.json").write_text(json.dumps({**settings, "tools": {"discoveryCommand": touch["command"]}}))
    say(served, session, "USE IT please")
    assert turn_of(served, session, wait, 2).get("reason") is None
    assert file_of(served, session, "answer.txt") == "forty-two\n"
    assert not (folder.parent / "evil").exists()


def test_a_program_runs_with_the_node_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bin", "lib/.bin", "node/bin", "other"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("lib/cli.js", "node/bin/node", "other/node"):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "lib/.bin/tool").symlink_to("../cli.js")
    (tmp_path / "lib/.bin/node").symlink_to("../../node/bin/node")
    (tmp_path / "bin/tool").symlink_to("../lib/.bin/tool")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{tmp_path}/other")
    assert node_folder("tool") == f"{tmp_path}/node/bin"
    (tmp_path / "lib/.bin/node").unlink()
    assert node_folder("tool") == f"{tmp_path}/other"
    assert node_folder("nothing") == f"{tmp_path}/other"


class Torn:
    """A sandbox whose terminal breaks while the output of a program is read."""

    async def exec(self, *_: Any, **__: Any) -> ExecResult:
        return ExecResult(exit_code=0, stdout="", stderr="", seconds=0.0)

    async def spawn(self, *_: Any, **__: Any) -> Any:
        return self

    async def read(self) -> AsyncIterator[bytes]:
        yield b'{"type": "thread.started", "thread_id": "one"}\n'
        raise OSError("it broke")

    async def close(self) -> None: ...


async def test_output_that_cannot_be_read_is_no_work_that_was_done() -> None:
    place = Place("/w/.roost-agent/f/codex", "http://x", "k", "m", "/p/prompt", "/w", "")
    process = Process(program_of("codex"), place, "/bin/codex", lambda thread: None, lambda: None)
    await process.start(Torn(), "", {})
    await process.ended(60)
    problem = process.problem()
    assert problem is not None
    assert "it broke" in str(problem)


def test_a_command_cannot_fill_the_log_with_conversations() -> None:
    named: list[str] = []
    place = Place("/w/.roost-agent/f/codex", "http://x", "k", "m", "/p", "/w", "")
    process = Process(program_of("codex"), place, "", named.append, lambda: None)
    for thread in ("--config=evil", "one", "two", "three"):
        process.take(json.dumps({"type": "thread.started", "thread_id": thread}).encode())
    assert named == ["one"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("exec_command", {"cmd": "touch x", "command": "true"}),
        ("exec_command", {"cmd": "true", "workdir": "a", "cwd": "b"}),
        ("exec_command", {"cmd": "true", "shell": "tools/bash"}),
    ],
)
def test_a_command_that_can_be_read_in_two_ways_is_refused(tmp_path: Path, name: str, arguments: Any) -> None:
    assert touches(tmp_path, name, arguments).fault


def touches(root: Path, name: str, arguments: Any) -> Any:
    async def run(ctx: Any, given: Any) -> Any: ...

    reach = tool_of(ToolSpec(name, "", {}), run).reach
    assert reach is not None
    return reach(arguments, root)


def test_the_gate_judges_what_the_program_would_do(tmp_path: Path) -> None:
    plain = touches(tmp_path, "shell", {"command": ["bash", "-lc", "true"]})
    other = touches(tmp_path, "shell", {"command": ["tools/bash", "-lc", "true"]})
    assert plain.command.read_only
    assert not other.command.read_only
    assert touches(tmp_path, "Glob", {"pattern": "/etc/*"}).reads == (str(tmp_path), "/etc")
    assert touches(tmp_path, "Grep", {"pattern": "/etc/.."}).reads == (str(tmp_path),)
    assert str(tmp_path / ".env") in touches(tmp_path, "read_many_files", {"include": ["src/*.py", ".env"]}).reads


@pytest.mark.parametrize("space", ["", " ", "\t", "\r", "\u00a0"])
def test_each_file_of_a_patch_is_judged(tmp_path: Path, space: str) -> None:
    """Codex finds a header behind spaces, too."""
    header = f"{space}*** Add File: {tmp_path}/out.txt"
    patch = f"*** Begin Patch\n*** Add File: in.txt\n+in\n{header}\n+out\n*** End Patch"
    folder = tmp_path / "folder"
    folder.mkdir()
    assert touches(folder, "apply_patch", {"input": patch}).fault
    assert not touches(folder, "apply_patch", {"input": patch.replace(header, f"{space}*** Add File: b.txt")}).fault
