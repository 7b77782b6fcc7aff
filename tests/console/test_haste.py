"""People who are faster than the page: double clicks, clicks before a part is loaded, answers after a view was left."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.console.axe import PHONE
from tests.console.logs import as_file, imported, turns
from tests.console.test_time import edits
from tests.server.conftest import Served, look, strike

from roost.agent.definition import Agent
from roost.doors.console.assets import FOLDER
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step
from roost.tools.function import tool

expect: Any = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=60_000)


def asking(serve: Any) -> Served:
    """A daemon whose agent asks about its first call of each turn."""
    script = by_step([Answer(calls=(Call(name="strike", arguments={"what": "gong"}),)), Answer(text="Struck.")])
    return serve(agents=[Agent("clerk", model=ScriptedModel(script), tools=[look, strike], permissions="ask")])


def held(context: Any, address: str, method: str = "GET") -> list[Any]:
    """Return a list to which each matching request is added. It waits until somebody goes on with it."""
    found: list[Any] = []
    context.route(
        re.compile(address), lambda route: found.append(route) if route.request.method == method else route.fallback()
    )
    return found


def test_no_module_needs_one_that_needs_it() -> None:
    """Such a circle works only as long as nothing at the top of a module uses the other."""
    needs = {
        path.resolve(): [
            (path.parent / name).resolve()
            for name in re.findall(r"""^(?:import|export)\b[^;]*?from\s+"([^"]+)";""", path.read_text(), re.M)
        ]
        for path in FOLDER.rglob("*.js")
        if "vendor" not in path.parts
    }
    late = {path: re.findall(r"""import\("([^"]+)"\)""", path.read_text()) for path in needs}
    for path, names in late.items():
        needs[path] += [(path.parent / name).resolve() for name in names]
    assert sum(len(one) for one in needs.values()) > 50

    def reached(start: Any) -> set[Any]:
        seen: set[Any] = set()
        front = list(needs[start])
        while front:
            one = front.pop()
            if one not in seen:
                seen.add(one)
                front += needs.get(one, [])
        return seen

    assert [path.name for path in needs if path in reached(path)] == []


def test_a_double_click_answers_one_question(serve: Any, console: Any) -> None:
    served = asking(serve)
    sessions = [served.session(title=title) for title in ("One", "Two")]
    for one in sessions:
        served.post(f"/sessions/{one}/messages", {"text": "go"})
    page = console(served).sign_in("/inbox").page
    expect(page.locator(".question")).to_have_count(2)
    yes = page.locator(".question").first.get_by_role("button", name="Yes, once")
    expect(yes).to_be_enabled()
    box = yes.bounding_box()
    x, y = box["x"] + 10, box["y"] + 10
    page.mouse.move(x, y)
    page.mouse.down(click_count=1)
    page.mouse.up(click_count=1)
    expect(page.locator(".question")).to_have_count(1)  # the other question is below the pointer now
    page.mouse.down(click_count=2)
    page.mouse.up(click_count=2)
    page.get_by_role("link", name="Sessions", exact=True).click()
    expect(page.locator(".row", has_text="waiting")).to_have_count(1)
    expect(page.locator(".row", has_text="idle")).to_have_count(1)
    asked = [len(served.get(f"/sessions/{one}/approvals")["approvals"]) for one in sessions]
    assert sorted(asked) == [0, 1]


def test_what_is_clicked_twice_is_made_once(serve: Any, console: Any) -> None:
    served: Served = serve()
    session = served.session(title="Only one")
    served.say(session, "hello")
    made = console(served)
    page = made.sign_in(f"/s/{session}").page
    page.get_by_role("button", name=re.compile("Inspect event")).first.click()
    forks = held(made.context, "/fork$", "POST")
    page.get_by_role("button", name="Fork", exact=True).click()
    page.get_by_role("button", name="Fork", exact=True).click()
    agents = held(made.context, "/agents$")
    page.get_by_role("link", name="Sessions", exact=True).click()  # it was enough of waiting
    page.get_by_role("button", name="New session").click()
    page.keyboard.press("n")
    page.get_by_role("heading", name="Sessions").click()
    for one in [*forks, *agents]:
        one.continue_()
    expect(page.get_by_role("dialog")).to_have_count(1)
    assert len(forks) == len(agents) == 1
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".row:not(.head)")).to_have_count(2)
    assert page.url.endswith("#/sessions")  # nobody is led away by an answer that comes late


def test_a_late_answer_leaves_the_view_that_is_open_alone(serve: Any, console: Any) -> None:
    served: Served = serve()
    session = served.session(title="Slow")
    made = console(served)
    page = made.sign_in("/memory?q=tea").page
    expect(page.get_by_text("Nothing fits")).to_be_visible()
    spaces = held(made.context, "/memory/spaces")
    views = held(made.context, f"/sessions/{session}$")
    page.reload()
    page.locator("main .bar").wait_for()
    page.get_by_role("link", name="Sessions", exact=True).click()
    page.locator(".row", has_text="Slow").click()
    expect(page.get_by_role("tablist")).to_be_attached()
    page.get_by_role("link", name="Costs").click()
    expect(page.get_by_role("heading", name="Costs and models")).to_be_visible()
    address, title = page.url, page.title()
    for one in [*spaces, *views]:
        with page.expect_response(one.request.url):
            one.continue_()
    page.get_by_role("button", name="By agent").click()
    expect(page.get_by_role("button", name="By agent")).to_have_attribute("aria-pressed", "true")
    assert (page.url, page.title()) == (f"{address}?by=agent", title)


def test_an_event_stays_beside_the_log_while_the_session_goes_on(serve: Any, console: Any) -> None:
    served: Served = serve()
    session = served.session(title="Busy")
    served.say(session, "hello")
    page = console(served, viewport=PHONE).sign_in(f"/s/{session}/events").page
    page.locator(".erow", has_text="session.created").click()
    beside = page.get_by_role("complementary", name="Inspector")
    expect(beside.get_by_role("heading", name="Event 1")).to_be_visible()
    with page.expect_response(re.compile(f"/sessions/{session}$")):  # the session is read again
        served.say(session, "again")
    expect(page.locator(".erow", has_text="turn.completed")).to_have_count(2)
    expect(beside.get_by_role("heading", name="Event 1")).to_be_visible()
    page.get_by_role("tab", name="Files").click()  # on a phone the inspector lies over the view
    expect(beside).to_be_hidden()
    expect(page.get_by_role("button", name="Show all files")).to_be_visible()


def test_what_is_not_sent_yet_is_not_lost(serve: Any, console: Any) -> None:
    served: Served = serve()
    session = served.session(title="Careful")
    made = console(served)
    page = made.sign_in(f"/s/{session}").page
    field = page.get_by_label("Message", exact=True)
    posts = held(made.context, "/messages$", "POST")
    field.fill("once, please")
    field.press("Enter")
    expect(page.get_by_label("Messages that wait")).to_contain_text("once, please")
    while not posts:
        page.wait_for_timeout(20)
    posts[0].fetch()  # it arrives, and its answer does not
    page.reload()
    expect(field).to_have_value("once, please")
    expect(page.locator(".item.message")).to_have_count(1)
    made.context.unroute_all()
    field.press("Enter")
    expect(field).to_have_value("")
    page.get_by_label("Files to attach").set_input_files(
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"tea"}
    )
    expect(page.get_by_label("Attachments")).to_contain_text("notes.txt")
    leaving = "() => !dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    assert page.evaluate(leaving)  # the browser asks before it closes the window
    page.get_by_role("link", name="Sessions", exact=True).click()
    page.locator(".row", has_text="Careful").click()
    expect(page.get_by_label("Attachments")).to_contain_text("notes.txt")
    field.fill("look")
    field.press("Enter")
    expect(page.locator(".item.message", has_text="tea")).to_have_count(1)
    assert not page.evaluate(leaving)
    page.reload()
    expect(page.locator(".item.message")).to_have_count(2)
    expect(field).to_have_value("")


def test_who_reads_an_earlier_part_of_a_log_gets_its_questions(serve: Any, console: Any) -> None:
    served = asking(serve)
    spec = served.get(f"/sessions/{served.session()}/events")["events"][0]["event"]["spec"]
    log = as_file(turns(70), "Long").decode().splitlines()
    created = json.loads(log[1])
    created["event"]["spec"] = spec
    session = imported(served, "\n".join([log[0], json.dumps(created), *log[2:], ""]).encode())
    page = console(served).sign_in(f"/s/{session}?at=5").page
    expect(page.locator(".item.chosen")).to_be_visible()
    expect(page.get_by_role("button", name="Go to the newest event")).to_be_attached()
    expect(page.get_by_text("waiting for the model")).to_have_count(0)  # its answer is in a later part
    served.post(f"/sessions/{session}/messages", {"text": "go"})
    expect(page.locator(".question")).to_contain_text("gong")
    expect(page.locator(".session-head .badge")).to_have_text("waiting")
    page.get_by_role("tab", name="Events").click()
    expect(page.locator(".erow", has_text="approval.requested")).to_be_visible()
    served.post(f"/sessions/{session}/approvals/{served.get(f'/sessions/{session}/approvals')['approvals'][0]['call']}",
                {"decision": "approve"})  # fmt: skip
    expect(page.locator(".erow", has_text="turn.completed").last).to_contain_text("71")


def test_a_question_that_cannot_be_read_is_read_later(serve: Any, console: Any) -> None:
    served = asking(serve)
    session = served.session()
    made = console(served)
    page = made.sign_in(f"/s/{session}").page
    expect(page.locator(".session-head h1")).to_be_visible()
    reads = held(made.context, r"/approvals$")
    served.post(f"/sessions/{session}/messages", {"text": "go"})
    expect(page.locator(".session-head .badge")).to_have_text("waiting")
    with page.expect_event("requestfailed"):
        while not reads:
            page.wait_for_timeout(20)
        reads.pop().abort()
    made.context.unroute_all()
    expect(page.locator(".question")).to_contain_text("gong")


def test_the_newest_read_of_the_questions_counts(serve: Any, console: Any, wait: Any) -> None:
    served = asking(serve)
    session = served.session()
    made = console(served)
    page = made.sign_in(f"/s/{session}").page
    expect(page.locator(".session-head h1")).to_be_visible()
    reads = held(made.context, r"/approvals$")
    served.post(f"/sessions/{session}/messages", {"text": "go"})
    while not reads:
        page.wait_for_timeout(20)
    wait(lambda: served.get(f"/sessions/{session}/approvals")["approvals"])
    early, before = reads[0].fetch(), len(reads)
    call = served.get(f"/sessions/{session}/approvals")["approvals"][0]["call"]
    served.post(f"/sessions/{session}/approvals/{call}", {"decision": "approve"})
    expect(page.locator(".session-head .badge")).to_have_text("idle")
    while len(reads) == before:
        page.wait_for_timeout(20)
    with page.expect_response(re.compile(r"/approvals$")):
        reads[-1].continue_()
    with page.expect_response(re.compile(r"/approvals$")):
        reads[0].fulfill(response=early)
    page.wait_for_timeout(100)  # for what would follow
    expect(page.locator(".question")).to_have_count(0)


def test_a_timeline_that_cannot_be_read_is_read_later(serve: Any, console: Any) -> None:
    served: Served = serve()
    session = served.session(title="Cut")
    served.say(session, "hello")
    made = console(served)
    page = made.sign_in(f"/s/{session}").page
    pages = held(made.context, r"/events\?after=0&limit=1000")
    page.get_by_role("tab", name="Timeline").click()
    with page.expect_event("requestfailed"):
        while not pages:
            page.wait_for_timeout(20)
        pages.pop().abort()
    expect(page.locator("main [role=status]", has_text="does not answer")).to_be_visible()
    made.context.unroute_all()
    expect(page.locator(".trow:not(.head)")).not_to_have_count(0)


def test_the_newest_choice_of_versions_counts(serve: Any, console: Any) -> None:
    answers = iter(edits(2))
    model = ScriptedModel(lambda _: next(answers))
    served: Served = serve(agents=[Agent("clerk", model=model, tools=["read_file", "write_file"], permissions="all")])
    session = served.session(title="Files")
    for label in ("first", "second"):
        served.say(session, "hello")
        assert served.post(f"/sessions/{session}/checkpoints", {"label": label}).status < 300
    made = console(served)
    page = made.sign_in(f"/s/{session}").page
    diffs = held(made.context, r"/diff\?")
    page.get_by_role("tab", name="Files").click()
    since = page.get_by_label("Since")
    expect(since.locator("option")).to_have_count(2)
    points = since.locator("option").evaluate_all("all => all.map((one) => one.value)")
    since.select_option(points[1])
    while len(diffs) < 2:
        page.wait_for_timeout(20)
    for one, added in ((diffs[1], 2), (diffs[0], 1)):
        with page.expect_response(one.request.url):
            one.fulfill(json={**one.fetch().json(), "added": added})
    page.get_by_role("button", name="Show all files").click()
    expect(page.get_by_text(re.compile("1 file,"))).to_be_visible()
    expect(page.locator(".changes")).to_contain_text("2 added")


def test_a_call_with_a_command_among_its_arguments_shows_them_all(serve: Any, console: Any) -> None:
    @tool(replay="safe", safety="read_only")
    def remote(command: str, target: str) -> str:
        """Do something on a machine."""
        return command + target

    script = by_step([
        Answer(calls=(Call(name="remote", arguments={"command": "restart", "target": "production"}),)),
        Answer(text="Done."),
    ])  # fmt: skip
    served: Served = serve(agents=[Agent("clerk", model=ScriptedModel(script), tools=[remote])])
    session = served.session()
    served.say(session, "go")
    page = console(served).sign_in(f"/s/{session}").page
    expect(page.locator(".item.call .gist")).to_contain_text("production")
