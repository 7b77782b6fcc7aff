"""The console for everybody: axe-core finds nothing on any view, dark and light, wide and on a phone; keys suffice."""

from __future__ import annotations

from typing import Any

import pytest
from tests.console.axe import check_access
from tests.console.logs import as_file, imported, turns
from tests.console.test_time import edits, odd
from tests.server.conftest import Served, look, strike

from roost.agent.definition import Agent
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

expect: Any = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=60_000)


def filled(serve: Any) -> tuple[Served, str, str, str]:
    """Return a daemon with something on every page, a session that asks, a long one, and one with files."""
    script = by_step(
        [Answer(thinking="hm", calls=(Call(name="strike", arguments={"what": "gong"}),)), Answer(text="Done.")]
    )
    answers = iter(edits(3))
    writer = Agent("writer", model=ScriptedModel(lambda _: next(answers)), tools=["write_file"], permissions="all")
    clerk = Agent("clerk", model=ScriptedModel(script), tools=[look, strike], permissions="ask")
    served: Served = serve(agents=[clerk, writer])
    files = served.session("writer", title="Notes")
    for n in range(3):
        served.say(files, f"write version {n}")
        served.post(f"/sessions/{files}/checkpoints", {"label": f"v{n}"})
    asks = served.session(title="It asks")
    served.post(f"/sessions/{asks}/messages", {"text": "strike"})
    long = imported(served, as_file([*odd(), *turns(6, first=2)], "A longer one"))
    served.request("PUT", f"/sessions/{long}/schedules/news", {"text": "What is new?", "every": 3600})
    served.post("/memory/facts", {"space": "shared:team", "text": "The build runs on Python 3.12."})
    return served, asks, long, files


def views(asks: str, long: str, files: str) -> list[tuple[str, str]]:
    """Return addresses, each with what it shows when it is complete."""
    return [
        ("/sessions", ".row:not(.head)"),
        ("/inbox", ".question"),
        (f"/s/{asks}", ".question"),
        (f"/s/{long}?at=9", ".item.chosen"),
        (f"/s/{long}/timeline", ".trow:not(.head)"),
        (f"/s/{long}/events", ".erow code"),
        (f"/s/{files}/files", ".files .changes p"),
        (f"/s/{files}/files?path=notes.md", ".version"),
        ("/agents", ".agent"),
        ("/agents/clerk", ".editor .good"),
        ("/memory", ".fact"),
        ("/schedules", ".page .card"),
        ("/costs", ".page table"),
        ("/policy", ".try"),
        ("/nodes", ".page td"),
    ]


def test_axe_finds_nothing(serve: Any, console: Any) -> None:
    """Wide and light, and on a phone in the dark: `check_access` has the colours and the sizes of both."""
    served, asks, long, files = filled(serve)
    made = console(served)
    made.page.goto(served.url)
    made.page.get_by_label("Token").wait_for()
    check_access(made.page, "sign-in")
    made.sign_in()
    for path, shown in views(asks, long, files):
        made.go(path)
        expect(made.page.locator(shown).first).to_be_visible()
        check_access(made.page, path)


def test_keys_suffice(serve: Any, console: Any) -> None:
    served, asks, *_ = filled(serve)
    page = console(served).sign_in().page
    expect(page.locator(".row:not(.head)")).to_have_count(3)
    page.keyboard.press("/")
    page.keyboard.type("It asks")
    page.keyboard.press("Escape")
    expect(page.locator(".row:not(.head)")).to_have_count(1)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    question = page.get_by_label("Question: strike")
    expect(question).to_be_visible()
    page.keyboard.press("a")
    expect(question).to_be_focused()
    expect(page.get_by_role("button", name="Yes").first).to_be_enabled()
    page.keyboard.press("y")
    expect(page.get_by_text("Done.")).to_be_visible()
    page.keyboard.press("m")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    page.keyboard.type("yes no")  # a draft answers nothing
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("i")
    expect(page.get_by_role("heading", name="Inbox")).to_be_visible()
    assert asks
