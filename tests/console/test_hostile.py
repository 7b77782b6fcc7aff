"""A session that attacks its reader: nothing of it runs, leaves the page, or hides what it is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.console.logs import BEGIN, as_file, imported
from tests.server.conftest import Served

from roost.agent.definition import Agent
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step
from roost.tools import tool

expect: Any = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=60_000)

SCRIPT = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'><svg onload='window.pwned=1'>"
ANSI = "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J\x1b[H\x9b31m bell\x07"
BIDI = "safe \u202egnp.exe\u202c and \u2066hidden\u2069"
LINKS = (
    "[a](javascript:window.pwned=1) [b](JaVaScRiPt:alert(1)) [c](data:text/html,<script>alert(1)</script>) "
    "![d](https://evil.example/x.png) [e](vbscript:x) <https://evil.example> [f](https://good.example/) "
    "[https://good.example/login](https://evil.example/) [1.2.3](https://good.example/) "
    "[g](\x01javascript:alert(1)) https://evil.example/?q=\u202ecod"
)
NESTED = "> " * 400 + "deep\n" + "\n".join("  " * n + "- item" for n in range(400))
SLOW = "*a_ " * 5_000 + "`" * 5_000 + "[" * 3_000 + "**" * 3_000 + "|" + "-" * 5_000 + "|" + " " * 50_000 + "x"
WIDE = "\n".join([f"|{' ' * 3900}x-", f"# {'#' * 3900}x", f"x{' ' * 3900}|x", "-|-"]) * 12
LONG = "x" * 1_000_000
SVG = "PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIG9ubG9hZD0iYWxlcnQoMSkiLz4="
EVERYTHING = f"{SCRIPT}\n\n{ANSI}\n\n{BIDI}\n\n{LINKS}\n\n{NESTED}"


def hostile() -> list[dict[str, Any]]:
    text, arguments = (
        {"kind": "text", "text": EVERYTHING},
        json.dumps({"command": f"ls {SCRIPT}{ANSI}{BIDI}", "x": LONG[:9000]}),
    )
    events: list[dict[str, Any]] = [
        {"type": "input.received", "input": 1, "parts": [text, {"kind": "text", "text": LONG}], "source": SCRIPT},
        {"type": "turn.started", "turn": 1, "input": 1},
        {"type": "model.started", "step": 1, "model": SCRIPT},
        {"type": "model.notice", "step": 1, "kind": SCRIPT, "data": {"error": EVERYTHING}},
        {
            "type": "model.completed",
            "step": 1,
            "parts": [
                {"kind": "thinking", "text": EVERYTHING},
                text,
                {"kind": "text", "text": SLOW},
                {"kind": "text", "text": WIDE},
                {"kind": "text", "text": LONG},
                {"kind": "image", "media_type": "image/svg+xml", "data": SVG, "name": SCRIPT},
                {"kind": "image", "media_type": "image/png", "url": "https://evil.example/x.png"},
                {"kind": "tool_call", "id": "c'1\"<", "name": "shell", "arguments": arguments},
            ],
            "stop": "tool_calls",
        },
        {
            "type": "approval.requested",
            "call": "c'1\"<",
            "name": "shell",
            "arguments": arguments,
            "reason": EVERYTHING,
            "why": SCRIPT,
            "dangers": [{"text": SCRIPT, "why": SCRIPT, "start": 3, "end": 20}],
        },
        {"type": "approval.resolved", "call": "c'1\"<", "decision": "approve", "note": SCRIPT, "source": SCRIPT},
        {"type": "tool.started", "call": "c'1\"<", "name": "shell", "replay": "safe", "key": SCRIPT, "why": SCRIPT},
        {
            "type": "tool.completed",
            "call": "c'1\"<",
            "outcome": "error",
            "parts": [text, {"kind": "text", "text": LONG}],
        },
        {"type": "plan.changed", "goals": [{"text": EVERYTHING}], "turn": 1},
        {"type": "emitted", "name": SCRIPT, "data": LONG[:5000]},
        {"type": "turn.completed", "turn": 1, "outcome": "failed", "reason": EVERYTHING},
    ]
    return [{**event, "at": BEGIN + n} for n, event in enumerate(events)]


LOOK = """() => ({
    ran: Boolean(window.pwned),
    nodes: document.querySelectorAll("main :is(script, iframe, object, style, link, base, form[action])").length,
    handlers: [...document.querySelectorAll("main *")]
        .filter((node) => [...node.attributes].some((one) => /^on/.test(one.name))).length,
    links: [...document.querySelectorAll("main a[href]")].map((one) => one.getAttribute("href")),
    pictures: [...document.querySelectorAll("main img")].map((one) => one.src),
    text: document.title + document.body.innerText,
})"""


def check(page: Any) -> None:
    """Nothing ran, and nothing is in the page that could."""
    found = page.evaluate(LOOK)
    assert (found["ran"], found["nodes"], found["handlers"]) == (False, 0, 0)
    hidden = re.findall("[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]", found["text"])
    assert hidden == []
    assert [one for one in found["links"] if not one.startswith(("#", "http://", "https://", "mailto:"))] == []
    assert [one for one in found["pictures"] if not one.startswith(("data:image/png", "http://127.0.0.1"))] == []


def test_a_question_leaves_nothing_out(serve: Any, console: Any, tmp_path: Path) -> None:
    """What a person allows is all there, though the text tries to hide a part of it."""
    lines = [f"line {n}" for n in range(900)]
    lines[1] = "ok" + " " * 5000 + "far" + "-" * 5000 + "right"
    file = "\n".join([*lines, "\x1b]0;", "rm -rf ~", "\x07"])
    command = "echo ok\x1b]0; ; touch hidden \x07; cat \u202e" + " " * 200 + "; touch far"
    calls = {"shell": {"command": command}, "write_file": {"path": "a.sh", "content": file}}
    served: Served = serve(
        agents=[
            Agent(
                f"with_{name}",
                model=ScriptedModel(by_step([Answer(calls=(Call(name=name, arguments=given),)), Answer(text="ok")])),
                tools=[name],
                permissions="ask",
            )
            for name, given in calls.items()
        ]
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    sessions = {name: served.session(f"with_{name}", workspace=str(folder)) for name in calls}
    for session in sessions.values():
        served.post(f"/sessions/{session}/messages", {"text": "go"})
    made = console(served).sign_in(f"/s/{sessions['shell']}")
    asked = made.page.locator(".question .command")
    expect(asked).to_contain_text("<U+001B>]0; ; touch hidden <U+0007>; cat <U+202E> <198 spaces> ; touch far")
    check(made.page)
    made.go(f"/s/{sessions['write_file']}")
    asked = made.page.locator(".question")
    expect(asked.locator(".diff")).to_contain_text("<4998 spaces> far")
    expect(asked.locator(".diff")).not_to_contain_text("right")
    asked.get_by_role("button", name="characters of this line").click()
    expect(asked.locator(".diff")).to_contain_text("-right")
    for _ in range(2):
        asked.get_by_role("button", name="more lines").click()
    expect(asked.locator(".diff")).to_contain_text("+<U+001B>]0;")
    expect(asked.locator(".diff")).to_contain_text("+rm -rf ~")
    expect(asked.get_by_role("button", name="more lines")).to_be_hidden()
    check(made.page)


@tool(safety="high_risk")
async def pay(to: list[str], amount: int) -> str:
    """Pay."""
    return f"paid {amount} to {to[-1]}"


PAGES_ON = """() => {
  document.querySelector(".question button.main")?.click();
  return !document.querySelector(".question");
}"""


def test_a_yes_counts_once_all_of_a_call_was_shown(serve: Any, console: Any) -> None:
    """And numbers are shown, and sent back, as they are."""
    given = {"to": [*(f"friend {n}" for n in range(60)), "thief"], "amount": 9007199254740993}
    script = by_step([Answer(calls=(Call(name="pay", arguments=given),)), Answer(text="Done.")])
    served: Served = serve(agents=[Agent("clerk", model=ScriptedModel(script), tools=[pay], permissions="ask")])
    session = served.session()
    served.post(f"/sessions/{session}/messages", {"text": "pay"})
    page = console(served).sign_in(f"/s/{session}").page
    asked = page.get_by_label("Question: pay")
    expect(asked).to_contain_text("friend 1")
    expect(asked).not_to_contain_text("thief")
    yes = asked.get_by_role("button", name="Yes")
    yes.click()
    expect(asked).to_contain_text("There is more of this call")
    expect(asked).to_contain_text("thief")
    expect(asked).to_contain_text("9007199254740993")
    assert served.get(f"/sessions/{session}/approvals")["approvals"]
    asked.get_by_role("button", name="Edit").click()
    assert "9007199254740993" in asked.get_by_label("Arguments as JSON").input_value()
    page.wait_for_function(PAGES_ON, polling=200)
    (done,) = (one["event"] for one in served.history(session) if one["event"]["type"] == "tool.completed")
    assert done["parts"][0]["text"] == "paid 9007199254740993 to thief"


MEANT_FOR_THE_OTHER = """() => {
  const boxes = document.querySelectorAll(".question");
  boxes[0].focus();
  new MutationObserver(() => {
    if (window.hit || document.querySelectorAll(".question").length === 2) return;
    window.hit = [document.activeElement === boxes[1], boxes[1].querySelector("button.main").disabled];
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "y", bubbles: true }));
    boxes[1].querySelector("button.main").click();
  }).observe(document.body, { childList: true, subtree: true });
}"""


def test_a_yes_for_a_question_that_went_away_is_none_for_the_next(serve: Any, console: Any) -> None:
    script = by_step([Answer(calls=(Call(name="pay", arguments={"to": ["me"], "amount": 1}),)), Answer(text="Done.")])
    served: Served = serve(agents=[Agent("clerk", model=ScriptedModel(script), tools=[pay], permissions="ask")])
    page = console(served).sign_in("/inbox").page
    made: list[str] = []
    for count in (1, 2):
        made.append(served.session())
        served.post(f"/sessions/{made[-1]}/messages", {"text": "pay"})
        expect(page.get_by_label("Question: pay")).to_have_count(count)
    expect(page.get_by_role("button", name="Yes").nth(1)).to_be_enabled()
    page.evaluate(MEANT_FOR_THE_OTHER)
    call = served.get(f"/sessions/{made[0]}/approvals")["approvals"][0]["call"]
    served.post(f"/sessions/{made[0]}/approvals/{call}", {"decision": "reject"})
    page.wait_for_function("() => window.hit")
    assert page.evaluate("() => window.hit") == [True, True]
    expect(page.get_by_role("button", name="Yes")).to_be_enabled()
    assert [one["event"]["type"] for one in served.history(made[1])].count("approval.resolved") == 0
    page.keyboard.press("y")
    expect(page.get_by_text("Nothing waits for you.")).to_be_visible()


def test_nothing_of_a_hostile_session_runs_or_leaves_the_page(serve: Any, console: Any) -> None:
    served: Served = serve()
    session = imported(served, as_file(hostile(), SCRIPT))
    served.session(title=SCRIPT, labels={"<b>x": SCRIPT})
    made = console(served)
    page, asked, dialogs = made.page, list[str](), list[str]()
    page.on("request", lambda one: asked.append(one.url))
    page.on("dialog", lambda one: (dialogs.append(one.message), one.dismiss()))
    made.sign_in()
    expect(page.locator(".row:not(.head)")).to_have_count(2)
    check(page)
    made.go(f"/s/{session}")
    expect(page.locator(".item.turn")).to_be_visible()
    expect(page.locator(".prose").first).to_contain_text("<script>window.pwned = 1</script>")
    expect(page.locator(".prose").first).to_contain_text("\\u202egnp.exe")
    expect(page.locator(".prose").first).to_contain_text("https://good.example/login (evil.example)")
    page.locator(".item.call summary").click()
    page.locator(".item.call .where").click()
    expect(page.get_by_label("Inspector")).to_contain_text("Arguments")
    for box in page.locator("details:not([open]) > summary").all():
        if box.is_visible():
            box.click()
    check(page)
    assert page.evaluate("() => document.body.innerText.length") < 400_000  # a line of a million letters is cut
    page.get_by_role("button", name="more characters").first.click()
    for tab in ("timeline", "events", "files"):
        made.go(f"/s/{session}/{tab}")
        page.locator(".other .list").wait_for()
        check(page)
    for path in ("inbox", "costs", "agents", "memory"):
        made.go(f"/{path}")
        page.locator(".page h1").wait_for()
        check(page)
    assert dialogs == []
    assert [one for one in asked if not one.startswith((served.url, "data:", "blob:"))] == []
