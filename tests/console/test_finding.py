"""Reading a session closely: colours of code, search in its log, comparison with another, notifications."""

from __future__ import annotations

from typing import Any

import pytest
from tests.console.axe import check_access
from tests.console.logs import as_file, imported, turns
from tests.server.conftest import Served, strike

from roost.agent.definition import Agent
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

expect: Any = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=60_000)
CODE = 'def add(a, b):\n    """Add."""\n    return a + 0x10  # <img src=x onerror=window.pwned=1>\n'
WRITER: dict[str, Any] = {"tools": ["read_file", "write_file"], "permissions": "all"}


def write(path: str, text: str) -> Answer:
    return Answer(calls=(Call(name="write_file", arguments={"path": path, "content": text}),))


def test_code_has_colours_in_files_diffs_and_answers_and_stays_the_same_text(serve: Any, console: Any) -> None:
    fenced = f"```python\n{CODE}```\n\n```nonsense\nplain\n```"
    answers = iter([write("add.py", CODE), "made", write("add.py", CODE + "print(add(1, 2))\n"), fenced])
    served: Served = serve(agents=[Agent("clerk", model=ScriptedModel(lambda _: next(answers)), **WRITER)])
    session = served.session(title="Code")
    served.say(session, "write")
    assert served.post(f"/sessions/{session}/checkpoints", {"label": "one"}).status == 201
    served.say(session, "write more")
    made = console(served).sign_in(f"/s/{session}")
    page = made.page
    block = page.locator("pre.code[data-language=python]")
    expect(block.locator(".y-k", has_text="def")).to_be_visible()
    expect(block.locator(".y-c")).to_contain_text("<img src=x")
    assert block.inner_text().strip() == CODE.strip()
    expect(page.locator("pre.code[data-language=nonsense]")).to_have_text("plain")
    check_access(page, "colours-answer")
    made.go(f"/s/{session}/files")
    added = page.locator(".diff .add")
    expect(added.locator(".y-f", has_text="print")).to_be_visible()
    expect(added).to_have_text(["+print(add(1, 2))\n"])
    page.get_by_role("button", name="Show all files").click()
    page.locator(".file summary", has_text="add.py").click()
    expect(page.locator(".file .output .y-k", has_text="return")).to_be_visible()
    assert page.locator(".file .output").text_content() == CODE + "print(add(1, 2))\n"
    check_access(page, "colours-files")
    assert page.evaluate("() => window.pwned") is None


def test_a_log_is_searched_from_its_end(serve: Any, console: Any) -> None:
    served: Served = serve()
    session = imported(served, as_file(turns(300)))
    made = console(served).sign_in(f"/s/{session}/events")
    page = made.page
    field = page.get_by_label("Search this log")
    page.locator(".erow code").first.wait_for()
    field.fill("question 12")
    field.press("Enter")
    expect(page.locator(".hit")).to_have_count(11)
    expect(page.locator(".hit mark").first).to_have_text("Question 12")
    expect(page.get_by_role("status").filter(has_text="found in")).to_contain_text("the whole log")
    check_access(page, "search")
    page.locator(".hit").first.click()
    expect(page.get_by_label("Inspector")).to_contain_text("Question 129")
    page.reload()
    expect(page.locator(".hit")).to_have_count(11)
    field.fill("tool.started")
    field.press("Enter")
    expect(page.get_by_role("button", name="Search on")).to_be_visible()
    page.get_by_role("button", name="Search on").click()
    expect(page.get_by_role("status").filter(has_text="found in")).not_to_contain_text("newest 1,000 events")
    field.fill("")
    field.press("Enter")
    expect(page.locator(".erow code").first).to_be_visible()
    field.fill("ANSWER 299")
    field.press("Enter")
    expect(page.locator(".hit")).to_have_count(1)


def test_a_fork_is_compared_with_its_source(serve: Any, console: Any) -> None:
    answers = iter(
        [write("a.txt", "one\n"), "made", write("a.txt", "source\n"), "done in the source", write("a.txt", "fork\n"),
         "done in the fork"]
    )  # fmt: skip
    served: Served = serve(agents=[Agent("clerk", model=ScriptedModel(lambda _: next(answers)), **WRITER)])
    source = served.session(title="The source")
    served.say(source, "begin")
    assert served.post(f"/sessions/{source}/checkpoints", {"label": "one"}).status == 201
    fork = served.post(f"/sessions/{source}/fork", {"at": "one", "title": "The fork"}).json["id"]
    served.say(source, "go on here")
    served.say(fork, "go on there")
    page = console(served).sign_in(f"/s/{fork}/compare").page
    columns = page.locator(".versus > section")
    expect(columns).to_have_count(2)
    expect(columns.first).to_contain_text("done in the fork")
    expect(columns.first).not_to_contain_text("begin")
    expect(columns.nth(1)).to_contain_text("done in the source")
    expect(page.get_by_text("Both have the first")).to_be_visible()
    for n, text in ((0, "+fork\n"), (1, "+source\n")):
        columns.nth(n).get_by_text("Files changed since then").click()
        expect(columns.nth(n).locator(".diff .add")).to_have_text([text])
    page.locator(".other .list").evaluate("node => { node.scrollTop = 0 }")
    check_access(page, "compare")
    page.get_by_label("Compare with").fill("nothing")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".list .bad")).to_contain_text("nothing")
    other = served.session(title="Another")
    page.get_by_label("Compare with").fill(other)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("They have no event in common.")).to_be_visible()


HIDDEN = """() => {
    Object.defineProperty(document, "visibilityState", {value: "hidden", configurable: true});
    document.hasFocus = () => false;
    document.dispatchEvent(new Event("visibilitychange"));
}"""
TOLD = """() => {
    window.told = [];
    window.Notification = class { static permission = "granted"; static async requestPermission() { return "granted"; }
        constructor(title, options) { window.told.push([title, options.body, options.tag]); window.note = this; }
        close() {} };
    window.requestAnimationFrame = () => 0;
}"""


def test_a_hidden_window_tells_of_calls_that_wait(serve: Any, console: Any) -> None:
    """The stream of a hidden window goes on when a person wants to be told, and each question is told once."""
    script = by_step([Answer(calls=(Call(name="strike", arguments={"what": "gong"}),)), Answer(text="Done.")])
    served: Served = serve(agents=[Agent("clerk", model=ScriptedModel(script), tools=[strike], permissions="ask")])
    before = served.session(title="Waits already")
    served.post(f"/sessions/{before}/messages", {"text": "strike"})
    made = console(served, permissions=["notifications"])
    page = made.page
    page.clock.install()
    made.sign_in("/inbox")
    expect(page.get_by_label("Question: strike")).to_have_count(1)
    page.get_by_label("Notify me when a call waits").check()
    check_access(page, "inbox-notify")
    page.evaluate(TOLD)
    page.evaluate(HIDDEN)
    page.clock.run_for(120_000)  # a stream that rests would rest by now
    hostile = "<b>Job</b>"
    session = served.session(title=hostile)
    served.post(f"/sessions/{session}/messages", {"text": "strike"})
    page.wait_for_function("() => { return window.told.length > 0 }", polling=200)
    [[title, body, tag]] = page.evaluate("() => window.told")
    assert (title, session in tag) == ("<b>Job</b> asks", True)
    assert body.startswith("strike: ")
    call = served.get(f"/sessions/{session}/approvals")["approvals"][0]["call"]
    served.post(f"/sessions/{session}/approvals/{call}", {"decision": "reject", "note": "no"})
    page.evaluate("() => window.note.onclick()")
    page.wait_for_url(lambda url: session in url)
    assert len(page.evaluate("() => window.told")) == 1
