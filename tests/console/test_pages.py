"""The console in a real browser: sessions, conversation, questions, orders."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.console.logs import as_file, imported, turns
from tests.server.accounts import tenant
from tests.server.conftest import Served, look, strike

from roost.agent.definition import Agent
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

expect: Any = pytest.importorskip("playwright.sync_api").expect
PATIENCE = 60_000
expect.set_options(timeout=PATIENCE)

MARKDOWN = """## Done

It is **fixed**, see `calc.py` and [the page](https://example.com/x).

| a | b |
|---|--:|
| 1 | 2 |
"""


AT_END = """() => {
    const { scrollHeight, scrollTop, clientHeight } = document.querySelector(".transcript");
    return scrollHeight > clientHeight && scrollHeight - scrollTop - clientHeight < 2;
}"""


def asking(served: Callable[..., Served]) -> Served:
    script = by_step([Answer(calls=(Call(name="strike", arguments={"what": "gong"}),)), Answer(text=MARKDOWN)])
    return served(agents=[Agent("clerk", model=ScriptedModel(script), tools=[look, strike], permissions="ask")])


def test_a_person_signs_in_sees_what_happens_and_signs_out(serve: Any, console: Any) -> None:
    served = serve()
    made = console(served).sign_in()
    page = made.page
    expect(page.get_by_text("No sessions yet")).to_be_visible()
    session = served.session(title="The first one")
    expect(page.locator(".row", has_text="The first one")).to_be_visible()  # without a reload
    served.say(session, "hello")
    expect(page.locator(".row:not(.head)")).to_contain_text("idle")
    page.reload()
    expect(page.locator(".row:not(.head)")).to_contain_text("The first one")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="owner").click()
    expect(page.get_by_label("Token")).to_be_visible()
    page.reload()
    expect(page.get_by_label("Token")).to_be_visible()


def test_a_row_in_use_is_not_replaced_by_changes_of_others(serve: Any, console: Any) -> None:
    served = serve()
    first = served.session(title="The first one")
    page = console(served).sign_in().page
    row = page.locator(f'a[href="#/s/{first}"]')
    row.focus()
    for n in range(3):
        served.session(title=f"Another {n}")
        expect(page.locator(".row:not(.head)")).to_have_count(n + 2)
    expect(row).to_be_focused()


def test_a_link_signs_in_once(serve: Any, console: Any) -> None:
    served = serve()
    link = f"{served.url}/#/enter/{served.post('/console/codes').json['code']}"
    first = console(served)
    first.page.goto(link)
    expect(first.page.get_by_role("heading", name="Sessions")).to_be_visible()
    assert "enter" not in first.page.url
    second = console(served)
    second.page.goto(link)
    expect(second.page.get_by_role("alert")).to_contain_text("used already")


def test_a_link_of_somebody_else_asks_before_this_browser_is_theirs(serve: Any, console: Any) -> None:
    served = serve()
    mallory = tenant(served, "mallory")
    link = f"{served.url}/#/enter/{mallory.post('/console/codes').json['code']}"
    page = console(served).sign_in().page
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.goto(link)
    expect(page.get_by_label("Token")).to_be_visible()
    assert [("mallory" in one, "the owner" in one) for one in asked] == [(True, True)]


def test_signing_out_ends_the_other_windows_of_the_browser(serve: Any, console: Any) -> None:
    served = serve()
    made = console(served).sign_in()
    other = made.context.new_page()
    other.goto(served.url)
    expect(other.get_by_role("heading", name="Sessions")).to_be_visible()
    made.page.on("dialog", lambda dialog: dialog.accept())
    made.page.get_by_role("button", name="owner").click()
    expect(other.get_by_text("The sign-in has ended")).to_be_visible()


def test_an_address_that_is_no_address_shows_a_page(serve: Any, console: Any) -> None:
    served = serve()
    made = console(served).sign_in()
    page = made.page
    page.goto(f"{served.url}/#/%E0%A4%A")
    expect(page.get_by_text("There is no such page")).to_be_visible()
    page.reload()
    expect(page.get_by_text("There is no such page")).to_be_visible()


def test_a_session_without_a_title_is_named_by_its_first_words(serve: Any, console: Any) -> None:
    served = serve()
    session = imported(served, as_file(turns(60)))
    page = console(served).sign_in(f"/s/{session}").page
    expect(page.get_by_text("Question 60")).to_be_visible()
    expect(page.locator(".session-head h1")).to_have_text("Question 1")


def test_a_conversation_with_a_question_that_is_answered(serve: Any, console: Any) -> None:
    served = asking(serve)
    session = served.session(title="Gongs")
    page = console(served).sign_in(f"/s/{session}").page
    page.get_by_label("Message", exact=True).fill("strike the gong")
    page.keyboard.press("Enter")
    question = page.get_by_label("Question: strike")
    expect(question).to_contain_text("gong")
    expect(page.locator(".session-head .badge")).to_have_text("waiting")
    expect(question.get_by_role("button", name="Yes")).to_be_enabled()
    question.focus()
    question.dispatch_event("keydown", {"key": "y", "repeat": True, "bubbles": True})  # held since the one before
    assert question.get_by_role("button", name="Yes").is_enabled()
    page.keyboard.press("y")
    expect(page.locator(".prose strong")).to_have_text("fixed")
    expect(page.locator(".prose td.right")).to_have_text("2")
    expect(page.get_by_role("link", name="the page")).to_have_attribute("href", "https://example.com/x")
    expect(question).to_have_count(0)
    resolved = [one["event"] for one in served.history(session) if one["event"]["type"] == "approval.resolved"]
    assert [(one["decision"], one["source"]) for one in resolved] == [("approve", "console")]


def test_a_question_that_is_answered_elsewhere_goes_away(serve: Any, console: Any) -> None:
    served = asking(serve)
    session = served.session()
    page = console(served, viewport={"width": 1280, "height": 420}).sign_in(f"/s/{session}").page
    served.post(f"/sessions/{session}/messages", {"text": "strike"})
    question = page.get_by_label("Question: strike")
    expect(question).to_be_visible()
    page.wait_for_function(AT_END)  # the question takes height from the conversation
    call = served.get(f"/sessions/{session}/approvals")["approvals"][0]["call"]
    served.post(f"/sessions/{session}/approvals/{call}", {"decision": "reject", "note": "too loud"})
    expect(question).to_have_count(0)
    page.locator(".item.call summary").click()
    expect(page.locator(".item.call")).to_contain_text("too loud")


def test_what_is_typed_streams_and_can_be_steered_and_cancelled(serve: Any, console: Any) -> None:
    gate = threading.Event()

    class Held(ScriptedModel):
        async def stream(self, request: Any) -> Any:
            import asyncio

            async for event in super().stream(request):
                yield event
                while not gate.is_set():
                    await asyncio.sleep(0.01)

    model = Held(lambda _: Answer(text="one two three four five six", piece=4), deltas=True)
    served = serve(agents=[Agent("clerk", model=model, tools=[look])])
    try:
        session = served.session()
        page = console(served).sign_in(f"/s/{session}").page
        page.get_by_label("Message", exact=True).fill("count")
        page.get_by_role("button", name="Send").click()
        expect(page.locator(".item.answer .prose")).to_have_text("one")
        page.get_by_label("Message", exact=True).fill("and faster")
        page.keyboard.press("Enter")
        expect(page.locator(".item.message, .sent li", has_text="and faster")).to_have_count(1)
        page.get_by_role("button", name="Cancel turn").click()
        expect(page.locator(".item.turn").first).to_contain_text("cancelled")
    finally:
        gate.set()


def test_a_session_is_made_paused_and_resumed(serve: Any, console: Any) -> None:
    served = serve()
    page = console(served).sign_in().page
    page.locator("h1").wait_for()
    page.keyboard.press("n")
    page.get_by_label("Message", exact=True).fill("What is this?")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator(".item.answer")).to_contain_text("yes")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".session-head .badge")).to_have_text("paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".session-head .badge")).to_have_text("idle")


def test_a_cut_connection_heals_by_replay(serve: Any, console: Any, proxied: Any) -> None:
    served = serve()
    session = served.session()
    proxy = proxied(served)
    page = console(served).sign_in(f"/s/{session}", url=proxy.url).page
    served.say(session, "before the cut")
    expect(page.locator(".item.message")).to_have_count(1)
    proxy.cut()
    expect(page.get_by_text("cut off")).to_be_visible()
    served.say(session, "while nobody listened")
    made = served.session(title="Made meanwhile")
    proxy.heal()
    expect(page.locator(".item.message")).to_have_count(2)
    served.say(session, "and after")
    texts = [f"you{text}" for text in ("before the cut", "while nobody listened", "and after")]
    expect(page.locator(".item.message .item-body")).to_have_text(texts)
    page.get_by_role("link", name="Sessions", exact=True).click()
    expect(page.locator(f'a[href="#/s/{made}"]')).to_be_visible()


def test_a_viewer_reads_and_is_offered_nothing_else(serve: Any, console: Any) -> None:
    from tests.server.accounts import tenant

    served = serve()
    alice = tenant(served, "alice", role="user")
    session = alice.session(title="Mine")
    viewer = tenant(served, "alice", token={"role": "viewer"})
    page = console(served).sign_in(token=viewer.token).page
    page.get_by_text("Mine").click()
    expect(page.get_by_text("not write to it")).to_be_visible()
    assert page.get_by_role("button", name="Pause").count() == 0
    assert page.get_by_role("link", name="Nodes").count() == 0
    assert session in page.url


def test_it_works_behind_a_path_prefix(serve: Any, console: Any, proxied: Any) -> None:
    served = serve()
    session = served.session(title="Behind a proxy")
    page = console(served).sign_in(url=proxied(served).url).page
    page.get_by_text("Behind a proxy").click()
    page.get_by_label("Message", exact=True).fill("hello")
    page.keyboard.press("Enter")
    expect(page.locator(".item.answer")).to_contain_text("yes")
    assert f"/tools/roost/#/s/{session}" in page.url
