"""The time of a session: timeline, inspector, events, files, going back and forking."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tests.console.axe import check_access
from tests.console.logs import BEGIN, as_file, imported, turns
from tests.server.conftest import Served, look

from roost.agent.definition import Agent
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

expect: Any = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=60_000)


def test_the_inspector_shows_a_call_and_forks_and_rolls_back(serve: Any, console: Any) -> None:
    script = by_step([Answer(calls=(Call(name="look", arguments={"what": "the sky"}),)), Answer(text="It is blue.")])
    served: Served = serve(agents=[Agent("clerk", model=ScriptedModel(script), tools=[look])])
    session = served.session(title="Sky")
    served.say(session, "what colour?")
    served.say(session, "and now?")
    page = console(served).sign_in(f"/s/{session}").page
    expect(page.locator(".item.message")).to_have_count(2)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name=re.compile("Inspect event")).nth(2).click()
    panel = page.get_by_label("Inspector")
    page.locator(".item.call").first.hover()
    page.locator(".item.call .where").first.click()
    expect(panel).to_contain_text("Tool call look")
    expect(panel).to_contain_text("the sky")
    expect(panel.locator(".travel")).to_contain_text("come 1 message and 1 tool call")
    at = int(re.search(r"at=(\d+)", page.url)[1])  # type: ignore[index]
    panel.get_by_role("button", name="Fork").click()
    page.wait_for_url(lambda url: f"/s/{session}" not in url)
    expect(page.locator(".item.message")).to_have_count(1)
    expect(page.get_by_text("forked from event")).to_be_visible()
    page.go_back()
    expect(page.locator(".item.message")).to_have_count(2)
    page.locator(".item.turn .where").first.click()
    panel.get_by_role("button", name="Roll back").click()
    expect(page.locator(".item.note", has_text="rolled back to event")).to_be_visible()
    expect(page.locator(".item.message.undone")).to_have_count(1)
    assert any(one["event"]["type"] == "session.rolled_back" for one in served.history(session))
    assert at > 0


def odd() -> list[dict[str, Any]]:
    """A turn in which everything happens: a retry, a kill, a question, a failed call."""
    events: list[dict[str, Any]] = [
        {"type": "input.received", "input": 1, "parts": [{"kind": "text", "text": "go"}]},
        {"type": "turn.started", "turn": 1, "input": 1},
        {"type": "model.started", "step": 1, "model": "stub/a"},
        {"type": "model.notice", "step": 1, "kind": "retry", "data": {"attempt": 2, "error": {"code": "overloaded"}}},
        {"type": "model.lost", "step": 1, "attempt": 1},
        {"type": "model.started", "step": 1, "model": "stub/a", "attempt": 2},
        {
            "type": "model.completed",
            "step": 1,
            "parts": [{"kind": "tool_call", "id": "c1", "name": "shell", "arguments": '{"command":"rm -rf x"}'}],
            "stop": "tool_calls",
            "usage": {"input": 1000, "output": 50, "cost": 2_000_000},
            "seconds": 1.0,
        },
        {
            "type": "approval.requested",
            "call": "c1",
            "name": "shell",
            "arguments": '{"command":"rm -rf x"}',
            "reason": "it removes files",
            "why": "user rule 3",
        },
        {"type": "approval.resolved", "call": "c1", "decision": "approve"},
        {"type": "tool.started", "call": "c1", "name": "shell", "replay": "never", "key": "k", "why": "user rule 3"},
        {
            "type": "tool.completed",
            "call": "c1",
            "outcome": "error",
            "code": 1,
            "parts": [{"kind": "text", "text": "no"}],
        },
        {"type": "turn.completed", "turn": 1, "outcome": "failed", "reason": "overloaded", "steps": 1},
    ]
    return [{**event, "at": BEGIN + 7 * n} for n, event in enumerate(events)]


def test_the_timeline_says_what_took_time_and_why(serve: Any, console: Any) -> None:
    served: Served = serve()
    session = imported(served, as_file(odd()))
    page = console(served).sign_in(f"/s/{session}/timeline").page
    rows = page.locator(".trow:not(.head)")
    expect(rows).to_have_count(4)
    expect(page.locator(".trow", has_text="stub/a")).to_contain_text("↑1.0k ↓50")
    expect(page.locator(".trow", has_text="stub/a")).to_contain_text("$0.0020")
    expect(page.locator(".trow", has_text="stub/a")).to_contain_text("attempt 2 · retry, lost")
    expect(page.locator(".trow", has_text="waits for a person")).to_contain_text("approve by a person")
    expect(page.locator(".trow", has_text="rm -rf x")).to_contain_text("user rule 3")
    expect(page.locator(".trow", has_text="the node ended")).to_be_visible()
    page.get_by_role("button", name="Kills").click()
    expect(rows).to_have_count(3)
    page.locator(".trow", has_text="rm -rf x").click()
    expect(page.locator(".item.call.chosen")).to_be_visible()
    expect(page.get_by_label("Inspector")).to_contain_text("user rule 3")
    expect(page.locator(".item.turn")).to_contain_text("failed: overloaded")


def test_an_undone_rollback_brings_the_conversation_back(serve: Any, console: Any) -> None:
    served: Served = serve()
    session = served.session(title="There and back")
    for text in ("first", "second", "third"):
        served.say(session, text)
    page = console(served).sign_in(f"/s/{session}").page
    page.on("dialog", lambda dialog: dialog.accept())
    undone = page.locator(".item.undone")
    page.locator(".item.turn", has_text="turn 1").get_by_role("button").click()
    page.get_by_role("button", name="Roll back").click()
    expect(undone.filter(has_text="second")).to_have_count(1)
    expect(undone.filter(has_text="third")).to_have_count(1)
    page.locator(".menu summary").click()
    page.get_by_role("button", name="Undo the last rollback").click()
    expect(undone.filter(has_text="rolled back to")).to_have_count(1)
    expect(undone.filter(has_text="second")).to_have_count(0)
    expect(undone.filter(has_text="third")).to_have_count(0)
    page.locator(".item.turn", has_text="turn 2").get_by_role("button").click()
    page.get_by_role("button", name="Roll back").click()
    expect(undone.filter(has_text="third")).to_have_count(1)
    expect(undone.filter(has_text="second")).to_have_count(0)


def test_events_are_the_log_as_it_is(serve: Any, console: Any) -> None:
    served: Served = serve()
    session = imported(served, as_file(turns(3)))
    page = console(served).sign_in(f"/s/{session}/events").page
    row = page.locator(".erow", has_text="input.received").last
    expect(row).to_contain_text("Question 3")
    page.get_by_role("button", name="First").click()
    expect(page.locator(".erow", has_text="session.created")).to_be_visible()
    page.locator(".erow", has=page.get_by_text("6", exact=True)).click()
    expect(page.get_by_label("Inspector")).to_contain_text("Event 6")
    assert served.post(f"/sessions/{session}/move", {}).status == 202  # to the agent of this node, and its model
    served.say(session, "one more")
    page.get_by_role("button", name="Last").click()
    expect(page.locator(".erow", has_text="one more")).to_be_visible()


def test_files_show_what_changed_and_what_is_there(serve: Any, console: Any) -> None:
    def write(text: str) -> Answer:
        return Answer(calls=(Call(name="write_file", arguments={"path": "notes.md", "content": text}),))

    answers = iter([write("one\n"), "done", write("one\ntwo\n"), "done"])
    model = ScriptedModel(lambda _: next(answers))
    served: Served = serve(agents=[Agent("clerk", model=model, tools=["read_file", "write_file"], permissions="all")])
    session = served.session()
    served.say(session, "write")
    assert served.post(f"/sessions/{session}/checkpoints", {"label": "good"}).status == 201
    served.say(session, "write more")
    page = console(served).sign_in(f"/s/{session}/files").page
    expect(page.locator(".diff .add", has_text="+two")).to_be_visible()
    expect(page.get_by_label("Since")).to_contain_text("good")
    page.get_by_role("button", name="Show all files").click()
    page.locator(".file summary", has_text="notes.md").click()
    expect(page.locator(".file .output")).to_have_text("one\ntwo\n")


def edits(count: int) -> list[Any]:
    """Return the answers of a model that writes another version of a file at each message."""
    answers: list[Any] = []
    for n in range(1, count + 1):
        text = "".join(f"line {m}\n" for m in range(n))
        answers += [Answer(calls=(Call(name="write_file", arguments={"path": "notes.md", "content": text}),)), "done"]
    return answers


def test_the_history_of_a_file_is_shown_compared_downloaded_and_gone_back_to(serve: Any, console: Any) -> None:
    answers = iter(edits(3))
    model = ScriptedModel(lambda _: next(answers))
    served: Served = serve(agents=[Agent("clerk", model=model, tools=["read_file", "write_file"], permissions="all")])
    session = served.session(title="Notes")
    for n in range(3):
        served.say(session, f"write version {n}")
        assert served.post(f"/sessions/{session}/checkpoints", {"label": f"v{n}"}).status == 201
    made = console(served).sign_in(f"/s/{session}/files")
    page = made.page
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_label("Since").select_option(label=page.get_by_label("Since").locator("option").last.inner_text())
    page.get_by_role("link", name="History of this file").click()
    versions = page.locator(".version")
    expect(versions).to_have_count(3)
    expect(versions.first).to_contain_text("v2")
    expect(page.locator(".diff .add")).to_have_text(["+line 2\n"])
    versions.nth(1).get_by_role("button", name="Show this change").click()
    expect(page.locator(".diff .add")).to_have_text(["+line 1\n"])
    page.get_by_label("Newer version").select_option(index=0)
    page.get_by_label("Older version").select_option(index=2)
    expect(page.locator(".diff .add")).to_have_text(["+line 1\n", "+line 2\n"])
    versions.nth(1).get_by_text("Who changed it").click()
    expect(versions.nth(1).locator(".calls")).to_contain_text("write version 1")
    check_access(page, "file-history")
    expect(versions.nth(1).get_by_role("link", name="call write_file")).to_have_count(1)
    with page.expect_download() as download:
        versions.nth(2).get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "notes.md"
    assert download.value.path().read_text() == "line 0\n"
    expect(page).to_have_url(re.compile(r"files\?path=notes\.md"))
    versions.nth(2).get_by_role("button", name="Roll back").click()
    expect(versions.first).to_contain_text("since the newest checkpoint")
    page.reload()
    expect(versions.first).to_contain_text("since the newest checkpoint")
    page.get_by_role("link", name="All files").click()
    page.get_by_role("button", name="Show all files").click()
    page.locator(".file summary", has_text="notes.md").click()
    expect(page.locator(".file .output")).to_have_text("line 0\n")
