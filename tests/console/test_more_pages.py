"""The other pages: inbox, agents, memory, schedules, costs, nodes, policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.bots.conftest import write_bot
from tests.server.conftest import Served, look, strike

from roost.agent.definition import Agent
from roost.log.content import ErrorData
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step
from roost.testing.telegram import TelegramServer

expect: Any = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=60_000)


def test_a_session_whose_last_turn_failed_is_shown_so(serve: Any, console: Any) -> None:
    down = ErrorData("http_401", "The key was refused")
    model = ScriptedModel([Answer(error=down), Answer(text="Here again.")])
    served: Served = serve(agents=[Agent("clerk", model=model, tools=[look])])
    session = served.session(title="A bad key")
    served.session(title="A good one")
    made = console(served).sign_in()
    page, row = made.page, made.page.locator(".row", has_text="A bad key")
    expect(row.locator(".badge")).to_have_text("new")
    served.say(session, "hello")
    expect(row.locator(".badge")).to_have_text("failed")  # without a reload
    page.get_by_role("button", name="Failed").click()
    expect(page.locator(".row:not(.head)")).to_have_count(1)
    page.reload()
    expect(row.locator(".badge")).to_have_text("failed")
    made.go("/inbox")
    expect(page.locator(".card", has_text="A bad key")).to_contain_text("The key was refused")
    page.get_by_role("link", name="A bad key").click()
    expect(page.locator(".session-head")).to_contain_text("The key was refused")
    served.say(session, "hello again")
    expect(page.locator(".session-head .badge")).to_have_text("idle")
    made.go("/inbox")
    expect(page.get_by_text("Failed sessions")).to_have_count(0)


def test_the_inbox_has_the_questions_of_all_sessions(serve: Any, console: Any) -> None:
    script = by_step([Answer(calls=(Call(name="strike", arguments={"what": "gong"}),)), Answer(text="Done.")])
    served: Served = serve(
        agents=[Agent("clerk", model=ScriptedModel(script), tools=[look, strike], permissions="ask")]
    )
    page = console(served).sign_in("/inbox").page
    expect(page.get_by_text("Nothing waits for you.")).to_be_visible()
    made = [served.session(title=f"Job {n}") for n in range(3)]
    for session in made:
        served.post(f"/sessions/{session}/messages", {"text": "strike"})
    questions = page.get_by_label("Question: strike")
    expect(questions).to_have_count(3)
    expect(page.locator("#waits")).to_have_text("3")
    expect(questions.first.get_by_role("button", name="Yes")).to_be_enabled()
    page.keyboard.press("j")
    page.keyboard.press("y")
    expect(questions).to_have_count(2)
    page.keyboard.press("j")
    page.keyboard.press("n")
    page.get_by_label("Why not").fill("too loud")
    page.keyboard.press("Enter")
    expect(questions).to_have_count(1)
    questions.get_by_text("always allow calls of the tool").click()
    questions.get_by_role("button", name="Yes, always").click()
    expect(page.get_by_text("Nothing waits for you.")).to_be_visible()
    events = [one["event"] for session in made for one in served.history(session)]
    answers = [one for one in events if one["type"] == "approval.resolved"]
    assert sorted(one["decision"] for one in answers) == ["approve", "approve", "reject"]
    assert [one["always"] for one in answers if "always" in one] == [["tool:strike"]]


def test_the_inbox_has_the_dead_letters_of_bots(
    serve: Any, console: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TelegramServer(burst=1000) as telegram:
        monkeypatch.setenv("TELEGRAM_TOKEN", telegram.token)
        write_bot(tmp_path / "home", telegram, "clerk")
        served: Served = serve(ScriptedModel(lambda _: "It is <b>done</b>"))
        telegram.blocked.add(7)
        telegram.write("Hello")
        telegram.until(lambda: served.get("/bots")["bots"][0]["dead"] == 1)
        page = console(served).sign_in("/inbox").page
        card = page.locator(".card", has_text="It is <b>done</b>")
        expect(card).to_contain_text("bot was blocked by the user")
        telegram.blocked.clear()
        card.get_by_role("button", name="Send again").click()
        expect(page.get_by_text("Nothing waits for you.")).to_be_visible()
        telegram.until(lambda: telegram.texts() == ["It is <b>done</b>"])


def test_an_agent_is_written_checked_kept_and_tried(serve: Any, console: Any) -> None:
    served: Served = serve()
    page = console(served).sign_in("/agents").page
    expect(page.locator(".agent", has_text="clerk")).to_be_visible()
    page.get_by_role("button", name="New agent").click()
    page.get_by_label("Name").fill("helper")
    options = page.get_by_label("Options, as JSON")
    options.fill('{"tools": ["nothing"]}')
    expect(page.locator(".editor [role=status]")).to_contain_text("unknown tool 'nothing'")
    expect(page.get_by_role("button", name="Keep")).to_be_disabled()
    options.fill('{"tools": [')
    expect(page.locator(".editor [role=status]")).to_contain_text("JSON")
    options.fill('{"tools": ["read_file"], "permissions": "ask"}')
    expect(page.locator(".editor [role=status]")).to_contain_text("valid")
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_text("version 1 of the store")).to_be_visible()
    page.get_by_label("Instructions").fill("Help people.")
    page.get_by_role("button", name="Keep as a new version").click()
    expect(page.get_by_text("version 2 of the store")).to_be_visible()
    assert served.get("/definitions/helper")["definition"]["instructions"] == "Help people."
    page.get_by_role("button", name="Begin a session").click()
    expect(page.get_by_role("heading", name="Trial of helper")).to_be_visible()


def test_memory_shows_what_took_the_place_of_what(serve: Any, console: Any) -> None:
    served: Served = serve()
    for text in ("The build runs on Python 3.11.", "The build runs on Python 3.12."):
        served.post("/memory/facts", {"space": "shared:team", "text": text, "key": "build"})
    page = console(served).sign_in("/memory").page
    page.get_by_text("Python 3.12").click()
    expect(page.locator(".fact")).to_contain_text("took the place of")
    expect(page.locator(".fact")).to_contain_text("Python 3.11")
    page.get_by_label("Text").fill("The build runs on Python 3.13.")
    page.get_by_role("button", name="Replace").click()
    expect(page.locator(".fact summary", has_text="3.13")).to_be_visible()
    page.get_by_label("with former facts").check()
    expect(page.locator(".fact")).to_have_count(3)
    page.get_by_label("Search facts").fill("which Python")
    expect(page.locator(".fact")).to_have_count(1)
    assert "q=which+Python" in page.url


def test_schedules_costs_nodes_and_policy(serve: Any, console: Any) -> None:
    served: Served = serve()
    session = served.session(title="Daily")
    served.say(session, "hello")
    path = f"/sessions/{session}/schedules/news"
    assert served.request("PUT", path, {"text": "What is new?", "cron": "0 9 * * 1-5"}).status in (200, 202)
    made = console(served).sign_in("/schedules")
    page = made.page
    expect(page.locator(".card", has_text="news")).to_contain_text("0 9 * * 1-5")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".card .badge")).to_have_text("paused")
    made.go("/costs")
    expect(page.locator("table").first).to_contain_text("2")
    expect(page.locator(".figure").first).to_have_text("$?")  # the price of the calls is not known
    page.get_by_role("button", name="By agent").click()
    expect(page.locator("table").first).to_contain_text("clerk")
    made.go("/nodes")
    expect(page.locator("table").first).to_contain_text("alive")
    expect(page.get_by_text("A session unused for so long is stopped.")).to_be_visible()
    made.go("/policy")
    page.get_by_label("Command or path").fill("git push --force")
    page.get_by_role("button", name="Try").click()
    expect(page.locator(".badge", has_text="ask").first).to_be_visible()
    expect(page.locator(".dangers")).to_contain_text("git push")
