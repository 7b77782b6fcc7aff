"""Long logs and many sessions: what is read and drawn does not grow with them."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from tests.console.logs import as_file, imported, turns
from tests.server.conftest import Served, look

from roost.agent.definition import Agent
from roost.log.content import UserMessage
from roost.models.request import Request
from roost.testing.scripted import Answer, Call, ScriptedModel

expect: Any = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=60_000)
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]  # the logs are made first


def events_read(responses: list[Any]) -> int:
    """Count the events of the pages that were read."""
    pages = [one.json() for one in responses if re.search(r"/events\?after=\d+&limit=", one.url) and one.status == 200]
    return sum(len(page["events"]) for page in pages)


def test_a_session_of_100_000_events_opens_at_its_end_and_scrolls(serve: Any, console: Any) -> None:
    served: Served = serve(durability="relaxed")
    session = imported(served, as_file(turns(9_100), "A long one"))
    made = console(served).sign_in()
    page, responses = made.page, list[Any]()
    page.on("response", lambda one: responses.append(one))
    made.go(f"/s/{session}")
    expect(page.get_by_text("Answer 9100", exact=True)).to_be_visible()
    assert events_read(responses) <= 600
    assert page.locator("*").count() < 6_000
    page.locator(".transcript").evaluate("node => { node.scrollTop = 0 }")
    expect(page.get_by_text("Question 9030", exact=True)).to_be_attached()  # read when the reader came there
    page.get_by_role("tab", name="Events").click()
    page.get_by_label("Number of an event").fill("50000")
    page.get_by_role("button", name="Go").click()
    row = page.locator(".erow", has=page.get_by_text("50000", exact=True))
    expect(row).to_contain_text(re.compile("model|tool|turn|input"))
    assert page.locator(".erow").count() < 120
    row.click()
    page.get_by_role("button", name="In the conversation").click()
    expect(page.locator(".item.chosen")).to_be_visible()
    assert page.locator(".item").count() < 700
    page.get_by_role("button", name="Go to the newest event").click()
    expect(page.get_by_text("Answer 9100", exact=True)).to_be_visible()


def test_ten_thousand_sessions_are_listed_as_they_come_and_scroll(serve: Any, console: Any) -> None:
    served: Served = serve(durability="relaxed")

    async def fill() -> None:
        runtime = served.daemon._runtime
        clerk = await runtime.sessions.named("clerk")
        for begin in range(0, 10_000, 200):
            await asyncio.gather(
                *(runtime.sessions.create(clerk, title=f"Task number {n}") for n in range(begin, begin + 200))
            )

    asyncio.run_coroutine_threadsafe(fill(), served.loop).result(100)
    page = console(served).sign_in().page
    expect(page.locator(".row:not(.head)").first).to_be_visible()
    assert page.locator(".row").count() < 100
    expect(page.locator("main [role=status]")).to_have_text("10,000")
    page.locator(".list").evaluate("node => { node.scrollTop = node.scrollHeight }")
    expect(page.locator(".row:not(.head)").last).to_contain_text("Task number")
    assert page.locator(".row").count() < 100
    page.get_by_label("Search sessions").fill("number 4711")
    found = page.locator(".row:not(.head)")
    expect(found.filter(has_text="Task number 4711")).to_have_count(1)
    assert found.count() < 10  # an id may have these digits, too
    assert "q=number+4711" in page.url
    page.reload()
    expect(found.filter(has_text="Task number 4711")).to_have_count(1)


def test_a_window_that_stays_open_keeps_the_newest_part(serve: Any, console: Any) -> None:
    def answer(request: Request) -> Answer:
        asked = [n for n, one in enumerate(request.messages) if isinstance(one, UserMessage) and "Question" in str(one)]
        if not asked:
            return Answer(text="A summary.")
        turn = re.findall(r"Question (\d+)", str(request.messages[asked[-1]]))[-1]
        step = len(request.messages) - asked[-1]
        calls = tuple(Call("look", {"what": f"{turn}.{step}.{n}"}) for n in range(20))
        return Answer(calls=calls) if step < 100 else Answer(text=f"Answer {turn}")

    served: Served = serve(agents=[Agent("clerk", model=ScriptedModel(answer), tools=[look], permissions="all")])
    session = served.session(title="For days")
    page = console(served).sign_in(f"/s/{session}").page
    items = page.locator(".item")
    for turn in range(1, 13):
        served.say(session, f"Question {turn}")
        expect(page.get_by_text(f"Answer {turn}", exact=True)).to_be_visible()
        assert items.count() < 1_200
    head = served.get(f"/sessions/{session}")["info"]["head"]
    assert head > 2_200
    expect(page.get_by_text("Question 1", exact=True)).to_have_count(0)
    page.locator(".transcript").evaluate("node => { node.scrollTop = 200 }")  # the reader goes up, and stays there
    page.wait_for_timeout(500)
    for turn in range(13, 25):
        served.say(session, f"Question {turn}")
    newest = page.get_by_role("button", name="Go to the newest event")
    expect(newest).to_be_attached()
    expect(newest).to_be_visible()
    assert items.count() < 1_500
    assert page.locator(".transcript").evaluate("node => node.scrollTop") < 1_000
    newest.click()
    expect(page.get_by_text("Answer 24", exact=True)).to_be_visible()
    served.say(session, "Question 25")
    expect(page.get_by_text("Answer 25", exact=True)).to_be_visible()  # the feed is followed again
