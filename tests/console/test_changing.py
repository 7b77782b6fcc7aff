"""What people change in the console: accounts and tokens, schedules, settings, rules; and files that they attach."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from tests.console.axe import check_access
from tests.server.accounts import tenant
from tests.server.conftest import Served, look, strike

from roost.agent.definition import Agent
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step

expect: Any = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=60_000)
HOSTILE = "<img src=x onerror=window.pwned=1>\u202egnp"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_an_owner_makes_an_account_whose_token_signs_in_until_it_is_revoked(serve: Any, console: Any) -> None:
    served: Served = serve()
    made = console(served).sign_in("/accounts")
    page = made.page
    page.on("dialog", lambda dialog: dialog.accept())
    expect(page.get_by_text("There are no accounts")).to_be_visible()
    page.get_by_role("button", name="New account").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Name").fill("alice")
    form.get_by_label("Budget").fill("12.5")
    form.get_by_label("Note").fill(HOSTILE)
    check_access(page, "account-form")
    form.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="alice")).to_be_visible()
    expect(page.locator(".card").first).to_contain_text("12.5 dollars in a month")
    page.get_by_role("button", name="Change").click()
    form.get_by_label("Budget").fill("")
    form.get_by_label("Role").select_option("viewer")
    form.get_by_role("button", name="Save").click()
    expect(page.locator(".card").first).not_to_contain_text("12.5 dollars")
    assert served.get("/accounts/alice")["role"] == "viewer"
    page.get_by_role("button", name="New token").click()
    form.get_by_label("Name").fill("laptop")
    form.get_by_label("Days").fill("1")
    form.get_by_role("button", name="Make").click()
    token = page.get_by_label("The new token").input_value()
    expect(page.locator("tbody tr")).to_contain_text("laptop")
    assert served.get("/tokens")["tokens"][0]["ends"] is not None
    check_access(page, "account")
    hers = console(served).sign_in("/accounts", token=token).page
    expect(hers.get_by_role("heading", name="Your account")).to_be_visible()
    expect(hers.get_by_text("viewer: reads its sessions")).to_be_visible()
    assert hers.get_by_role("link", name="Accounts").count() == 0
    page.get_by_role("link", name="audit trail of this account").click()
    expect(page.locator("tbody tr", has_text="console.sign_in")).to_have_count(1)
    page.get_by_label("Account", exact=True).fill("")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("tbody tr", has_text="token.create")).to_contain_text("owner")
    expect(page.locator("tbody tr", has_text="console.sign_in")).to_have_count(2)
    check_access(page, "audit")
    made.go("/accounts/alice")
    page.get_by_role("button", name="Revoke").click()
    expect(page.locator("tbody tr")).to_contain_text("revoked")
    expect(hers.get_by_text("The sign-in has ended")).to_be_visible()
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("There are no accounts")).to_be_visible()
    assert page.evaluate("() => window.pwned") is None


def test_two_windows_do_not_make_one_account_and_its_limits_and_subject_go_again(serve: Any, console: Any) -> None:
    served: Served = serve()
    made = console(served)
    page = made.sign_in("/accounts").page
    page.get_by_role("button", name="New account").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Name").fill("alice")
    subject = "https://login.example.com 1"
    form.get_by_label("Subject").fill(subject)
    form.get_by_label("Sessions at once").fill("7")
    served.request("PUT", "/accounts/alice", {"role": "viewer", "new": True})  # the other window is faster
    form.get_by_role("button", name="Save").click()
    expect(form.get_by_role("alert")).to_contain_text("already")
    assert served.get("/accounts/alice")["role"] == "viewer"
    form.get_by_label("Name").fill("bob")
    form.get_by_role("button", name="Save").click()
    expect(page.locator(".card").first).to_contain_text("7 at once")
    assert served.get("/accounts/bob")["subject"] == subject
    page.get_by_role("button", name="Change").click()
    form.get_by_label("Subject").fill("")
    form.get_by_label("Sessions at once").fill("")
    form.get_by_role("button", name="Save").click()
    expect(page.locator(".card").first).not_to_contain_text("7 at once")
    bob = served.get("/accounts/bob")
    assert (bob.get("subject"), bob.get("sessions")) == (None, None)
    held: list[Any] = []
    made.context.route("**/accounts/alice", lambda route: held.append(route))
    made.go("/accounts/alice")
    page.get_by_role("button", name="Change").wait_for(state="detached")
    made.go("/accounts/bob")
    expect(page.get_by_role("heading", name="bob")).to_be_visible()
    with page.expect_response("**/accounts/alice"):
        held[0].continue_()
    page.get_by_role("button", name="New token").click()
    expect(page.get_by_role("dialog")).to_contain_text("New token of bob")
    made.context.unroute_all()
    page.go_back()  # and what was asked in a view that was left is gone
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("heading", name="alice")).to_be_visible()


def test_the_audit_trail_has_sign_ins_and_sign_outs_of_accounts(serve: Any, console: Any) -> None:
    served: Served = serve()
    bob = tenant(served, "bob")
    page = console(served).sign_in(token=bob.token).page
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="bob").click()
    expect(page.get_by_label("Token")).to_be_visible()
    entries = served.get("/audit?account=bob")["entries"]
    assert [(one["what"], one["outcome"]) for one in entries] == [
        ("console.sign_out", "allowed"),
        ("console.sign_in", "allowed"),
    ]
    assert all(one["token"] == bob.id for one in entries)


def test_a_schedule_is_made_changed_and_run(serve: Any, console: Any) -> None:
    served: Served = serve()
    session = served.session(title="Daily")
    made = console(served, timezone_id="Europe/Berlin").sign_in(f"/s/{session}")
    page = made.page
    page.locator(".menu summary").click()
    page.get_by_role("button", name="Schedule a message").click()
    form = page.get_by_role("dialog")
    expect(form.get_by_label("Session")).to_have_value(session)
    form.get_by_label("Name").fill("news")
    form.get_by_label("Message").fill("What is new?")
    form.get_by_label("Minute, hour").fill("61 * * * *")
    form.get_by_role("button", name="Save").click()
    expect(form.get_by_role("alert")).to_contain_text("61")
    form.get_by_label("Minute, hour").fill("0 9 * * 1-5")
    check_access(page, "schedule-form")
    form.get_by_role("button", name="Save").click()
    card = page.locator(".card", has_text="news")
    expect(card).to_contain_text("Europe/Berlin")
    card.get_by_role("button", name="Change").click()
    form.get_by_label("When", exact=True).select_option("every")
    form.get_by_label("Seconds").fill("7200")
    form.get_by_label("heartbeat").check()
    form.get_by_role("button", name="Save").click()
    expect(card).to_contain_text("every 2 h 0 min")
    spec = served.get(f"/sessions/{session}/schedules/news")["spec"]
    assert (spec["text"], spec["every"], spec["heartbeat"], "cron" in spec) == ("What is new?", 7200.0, True, False)
    card.get_by_role("button", name="Run now").click()
    page.on("dialog", lambda dialog: dialog.accept())
    card.get_by_role("button", name="Delete").click()
    expect(card).to_have_count(0)
    page.get_by_role("button", name="New schedule").click()
    form.get_by_label("Session").fill(session)
    form.get_by_label("Name").fill("once")
    form.get_by_label("Message").fill("Now.")
    form.get_by_label("When", exact=True).select_option("at")
    form.get_by_label("When (Europe/Berlin)").fill("2030-01-02T10:00")
    form.get_by_role("button", name="Save").click()
    expect(page.locator(".card", has_text="once")).to_be_visible()
    assert served.get(f"/sessions/{session}/schedules/once")["spec"]["at"] == 1893574800.0


def test_a_setting_is_changed_and_given_back(serve: Any, console: Any) -> None:
    served: Served = serve()
    page = console(served).sign_in("/nodes").page
    known = {one["key"]: one for one in served.get("/config")["settings"]}
    key = next(name for name, one in known.items() if isinstance(one["started"], (int, float)) and one["started"] > 1)
    page.get_by_role("button", name=f"Change {key}", exact=True).click()
    form = page.get_by_role("dialog")
    form.get_by_label("Value", exact=True).fill('"no number"')
    form.get_by_role("button", name="Change on all nodes").click()
    expect(form.get_by_role("alert")).not_to_be_empty()
    form.get_by_label("Value", exact=True).fill(str(known[key]["started"] + 1))
    check_access(page, "setting-form")
    form.get_by_role("button", name="Change on all nodes").click()
    row = page.locator("tbody tr", has=page.get_by_role("button", name=f"Change {key}", exact=True))
    expect(row.locator(".pill")).to_have_text("set")
    expect(page.locator("tbody tr", has_text="console")).to_contain_text(key)
    row.get_by_role("button").click()
    form.get_by_label("Back to").check()
    form.get_by_role("button", name="Change on all nodes").click()
    expect(row.locator(".pill")).to_have_count(0)


def test_a_rule_of_a_session_is_revoked_and_calls_ask_again(serve: Any, console: Any) -> None:
    call = Answer(calls=(Call(name="strike", arguments={"what": "gong"}),))
    script = by_step([call, Answer(text="One."), call, Answer(text="Two."), call, Answer(text="Three.")])
    served: Served = serve(
        agents=[Agent("clerk", model=ScriptedModel(script), tools=[look, strike], permissions="ask")]
    )
    session = served.session()
    page = console(served).sign_in(f"/s/{session}").page
    served.post(f"/sessions/{session}/messages", {"text": "strike"})
    question = page.get_by_label("Question: strike")
    question.get_by_text("always allow calls of the tool").click()
    question.get_by_role("button", name="Yes, always").click()
    panel = page.get_by_label("Inspector")
    expect(panel).to_contain_text("Standing rules")
    check_access(page, "rules")
    panel.get_by_role("button", name="Revoke").click()
    expect(panel).not_to_contain_text("Standing rules")
    served.post(f"/sessions/{session}/messages", {"text": "again"})
    expect(question).to_be_visible()


def test_files_are_attached_by_button_paste_and_drop(serve: Any, console: Any, tmp_path: Path) -> None:
    seen: list[Any] = []

    class Seeing(ScriptedModel):
        async def stream(self, request: Any) -> Any:
            seen.append([part for message in request.messages for part in message.parts])
            async for event in super().stream(request):
                yield event

    served: Served = serve(agents=[Agent("clerk", model=Seeing(lambda _: Answer(text="yes")), tools=[look])])
    session = served.session()
    page = console(served).sign_in(f"/s/{session}").page
    (tmp_path / "notes.txt").write_text(f"remember {HOSTILE}")
    (tmp_path / "program.bin").write_bytes(bytes(range(256)))
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Attach files").click()
    chosen.value.set_files([tmp_path / "notes.txt", tmp_path / "program.bin"])
    attached = page.get_by_label("Attachments")
    expect(attached.locator("li")).to_have_count(1)
    expect(page.get_by_role("alert")).to_contain_text("program.bin: attach pictures")
    data = base64.b64encode(PNG).decode()
    handed = page.evaluate_handle(
        """(data) => { const t = new DataTransfer();
        t.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], "dot.png", {type: "image/png"}));
        return t; }""",
        data,
    )
    page.evaluate(
        """(t) => document.querySelector(".composer textarea").dispatchEvent(
        new ClipboardEvent("paste", {clipboardData: t, bubbles: true, cancelable: true}))""",
        handed,
    )
    expect(attached.locator("li")).to_have_count(2)
    page.dispatch_event(".transcript", "drop", {"dataTransfer": handed})
    expect(attached.locator("li")).to_have_count(3)
    expect(page.locator(".composer .warn")).to_contain_text("model")
    check_access(page, "attachments")
    attached.get_by_role("button", name="Remove").nth(2).click()
    expect(attached.locator("li")).to_have_count(2)
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".item.message")).to_contain_text("remember <img")
    expect(page.locator(".item.message img.picture")).to_have_count(1)
    expect(attached.locator("li")).to_have_count(0)
    sent = next(one["event"] for one in served.history(session) if one["event"]["type"] == "input.received")
    assert [part["kind"] for part in sent["parts"]] == ["text", "image"]
    assert (sent["parts"][1]["name"], sent["parts"][1]["data"]) == ("dot.png", data)
    assert page.evaluate("() => window.pwned") is None


def test_below_a_prefix_a_cut_loses_no_attachment_and_a_history_is_read_again(
    serve: Any, console: Any, proxied: Any, tmp_path: Path
) -> None:
    write = Answer(calls=(Call(name="write_file", arguments={"path": "a?b #c.txt", "content": "one\n"}),))
    script = by_step([write, Answer(text="made"), Answer(text="seen")])
    served: Served = serve(
        agents=[Agent("clerk", model=ScriptedModel(script), tools=["write_file"], permissions="all")]
    )
    session = served.session()
    served.say(session, "write")
    assert served.post(f"/sessions/{session}/checkpoints", {"label": "one"}).status == 201
    proxy = proxied(served)
    page = console(served).sign_in(f"/s/{session}", url=proxy.url).page
    (tmp_path / "notes.txt").write_text("remember this")
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Attach files").click()
    chosen.value.set_files([tmp_path / "notes.txt"])
    expect(page.get_by_label("Attachments").locator("li")).to_have_count(1)
    proxy.cut()
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_label("Messages that wait").locator("li")).to_have_count(1)
    proxy.heal()
    expect(page.locator(".item.message")).to_have_count(2)
    expect(page.locator(".item.message").last).to_contain_text("remember this")
    page.get_by_role("tab", name="Files").click()
    page.get_by_role("button", name="Show all files").click()
    page.locator(".file summary", has_text="a?b #c.txt").click()
    proxy.cut()
    page.locator(".file").get_by_role("link", name="History of this file").click()
    again = page.get_by_role("button", name="Try again")
    expect(again).to_be_visible()
    proxy.heal()
    again.click()
    expect(page.locator(".version")).to_have_count(1)
    expect(page.locator(".version")).to_contain_text("one")
    assert "/tools/roost/#/s/" in page.url
    page.reload()
    expect(page.locator(".version")).to_have_count(1)
    sent = [one["event"] for one in served.history(session) if one["event"]["type"] == "input.received"]
    assert [part["kind"] for part in sent[-1]["parts"]] == ["text"]
    assert len(sent) == 2


def test_two_windows_change_one_account_and_a_viewer_changes_nothing(serve: Any, console: Any) -> None:
    served: Served = serve()
    alice = tenant(served, "alice", role="user")
    session = alice.session(title="Mine")
    alice.request("PUT", f"/sessions/{session}/schedules/news", {"text": "What is new?", "every": 3600})
    made = console(served).sign_in("/accounts/alice")
    other = made.context.new_page()
    other.goto(f"{served.url}/#/accounts/alice")
    made.page.get_by_role("button", name="Change …").click()
    other.get_by_role("button", name="Disable").click()
    expect(other.get_by_text("no token of it works")).to_be_visible()
    form = made.page.get_by_role("dialog")
    form.get_by_label("Note").fill("from the first window")
    form.get_by_role("button", name="Save").click()
    expect(made.page.get_by_text("from the first window")).to_be_visible()
    kept = served.get("/accounts/alice")
    assert (kept["enabled"], kept["note"]) == (False, "from the first window")  # what nobody changed there stays
    served.request("PUT", "/accounts/alice", {"enabled": True})
    viewer = tenant(served, "alice", token={"role": "viewer"})
    page = console(served).sign_in("/schedules", token=viewer.token).page
    expect(page.locator(".card", has_text="news")).to_be_visible()
    assert page.locator(".card button").count() == 0
    assert page.get_by_role("button", name="New schedule").count() == 0
    page.goto(f"{served.url}/#/accounts/alice")
    expect(page.get_by_role("heading", name="Your account")).to_be_visible()
    page.goto(f"{served.url}/#/s/{session}")
    expect(page.get_by_text("not write to it")).to_be_visible()
    assert page.get_by_role("button", name="Attach files").count() == 0
