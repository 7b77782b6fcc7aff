"""An agent in Python with a hook: with another model, over a daemon, and where nobody knows the hook."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from .conftest import Machine

AGENT = """
from roost import Agent
from roost.policy.hooks import PythonHook

def guard(moment):
    return False

agent = Agent("guarded", tools=["shell"], permissions="all", hooks=[PythonHook(guard, on=["pre_tool"])])
"""
KNOWN = ("--agents", "guarded.py")


def request(
    roost: Machine, way: str, body: dict[str, str], *, method: str = "POST", accept: str = "application/json"
) -> tuple[int, dict[str, Any]]:
    """The daemon's answer to a request below `/sessions/`."""
    daemon = json.loads((roost.home / "daemon.json").read_text())
    headers = {
        "Authorization": f"Bearer {(roost.home / 'token').read_text().strip()}",
        "Accept": accept,
        "Content-Type": "application/json",
    }
    asked = Request(f"{daemon['url']}/sessions/{way}", json.dumps(body).encode(), headers, method=method)
    try:
        with urlopen(asked, timeout=60) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def put(roost: Machine) -> None:
    (roost.work / "guarded.py").write_text(AGENT)


def test_a_python_file_of_the_folder_is_named_where_its_agent_is_missing(roost: Machine) -> None:
    (roost.work / "agents").mkdir()
    (roost.work / "agents/guarded.py").write_text(AGENT)
    done = roost("run", "guarded", "make it")
    assert (done.code, "to use agents/guarded.py: --agents agents/guarded.py" in done.err) == (1, True)
    assert "to use agents: --agents agents" in roost("run", "other", "make it").err
    roost("run", "--agents", "agents/guarded.py", "guarded", "hello").ok()


BROKEN = """
from roost import Agent

class Broken:
    name = "broken/model"
    def stream(self, request): ...
    @property
    def profile(self): raise ValueError("no profile")

agent = Agent("broken", model=Broken())
"""


def test_after_a_failure_of_the_session_the_hint_resumes_it(roost: Machine) -> None:
    (roost.work / "broken.py").write_text(BROKEN)
    done = roost("run", "--agents", "broken.py", "broken", "hello")
    (session,) = roost("ps", "--all", "--json").ok().json
    assert (done.code, f"failed; go on with: roost resume {session['id'][-8:]}\n" in done.err) == (1, True), done.err


def test_a_call_that_nobody_can_allow_is_not_rejected_by_a_person(roost: Machine) -> None:
    done = roost("run", "make it").ok()
    assert "this call was rejected: nobody is there to allow it" in done.out, done.out
    assert "a person rejected" not in done.out


def test_another_model_has_the_same_hooks(roost: Machine) -> None:
    put(roost)
    for more in ([], ["--model", "openai/other"]):
        done = roost("run", *KNOWN, "guarded", "make it", "--yes", *more, "-q").ok()
        assert "[denied" in done.out
    assert not (roost.work / "made.txt").exists()


def test_a_daemon_that_does_not_know_a_hook_runs_nothing_of_its_agent(roost: Machine) -> None:
    roost.up()
    put(roost)
    done = roost("run", *KNOWN, "guarded", "make it", "--yes")
    assert done.code == 1
    assert "the daemon does not know it" in done.err
    roost("down").ok()
    (roost.home / "agents").mkdir()
    (roost.home / "agents/guarded.toml").write_text('tools = ["shell"]\npermissions = "all"\n')
    roost.up()  # with an agent of this name that asks nobody
    done = roost("run", *KNOWN, "guarded", "make it", "--yes")
    assert done.code == 1
    assert "the daemon does not know its guard" in done.err
    assert not (roost.work / "made.txt").exists()


def test_a_daemon_that_knows_it_asks_it(roost: Machine) -> None:
    put(roost)
    roost.up(*KNOWN)
    for more in ([], ["--model", "openai/other"]):
        done = roost("run", *KNOWN, "guarded", "make it", "--yes", *more, "-q").ok()
        assert "[denied" in done.out


def test_attach_works_on_a_session_with_the_agents_that_it_is_given(roost: Machine) -> None:
    put(roost)
    session = roost("run", *KNOWN, "guarded", "hello", "--json").ok().json["session"]
    roost("send", session, "make it").ok()
    terminal = roost.terminal("attach", session)
    assert "guard" in terminal.expect("name the Python file that has it, --agents FILE")
    terminal.type("\x03")
    terminal.wait()
    terminal = roost.terminal("attach", session, *KNOWN)
    terminal.expect("[denied")
    terminal.type("\x03")
    terminal.wait()
    assert not (roost.work / "made.txt").exists()


def test_a_session_does_not_go_on_without_its_hook(roost: Machine) -> None:
    put(roost)
    session = roost("run", *KNOWN, "guarded", "hello", "--json").ok().json["session"]
    for where in ("alone", "daemon"):
        if where == "daemon":
            roost.up()
        done = roost("run", "--session", session, "make it", "--yes")
        assert done.code == 1
        assert "the hook or guardrail 'guard' of agent 'guarded', which no running node knows" in done.err
        assert "waits for a node that knows" in roost("show", session).ok().out
        guard = "the hook or guardrail 'guard' of agent 'guarded'"
        assert f"it waits: no running node knows {guard}" in roost("send", session, "make it").ok().err
        assert roost("send", session, "make it", "--json").ok().json["waits_for"] == [guard]
        if where == "daemon":
            answer = request(roost, f"{session}/messages", {"text": "make it"}, accept="text/event-stream")
            assert (answer[0], answer[1]["code"]) == (409, "agent_parts_unknown")
            for way, body, method in (("emit", {"name": "note"}, "POST"), ("pins/p", {"text": "x"}, "PUT")):
                status, accepted = request(roost, f"{session}/{way}", body, method=method)
                assert (status, accepted["waits_for"]) == (202, [guard])
    assert not (roost.work / "made.txt").exists()
