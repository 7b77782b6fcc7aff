"""Terminals of a session in the console: open one, type, see what others type, and its end."""

from __future__ import annotations

import os
import re
import shutil
from typing import Any

import pytest
from tests.console.axe import faults
from tests.server.accounts import tenant
from tests.server.conftest import Served

from roost import Agent
from roost.sandbox.choose import Isolation
from roost.testing.scripted import ScriptedModel

expect: Any = pytest.importorskip("playwright.sync_api").expect
expect.set_options(timeout=60_000)


ROWS = ".xterm-rows"


def looked(page: Any, name: str) -> None:
    """Keep a picture, for a person who looks at it."""
    if folder := os.environ.get("ROOST_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png")


def opened(page: Any) -> Any:
    """Open a shell. Returns what its screen shows."""
    page.get_by_role("button", name="Open a shell").click()
    expect(page.locator(".xterm.focus")).to_be_attached()
    screen = page.locator(ROWS)
    expect(screen).to_contain_text(re.compile(r"[#$] "))
    return screen


def run(page: Any, line: str) -> None:
    page.keyboard.type(line)
    page.keyboard.press("Enter")


def only(served: Served, session: str) -> tuple[dict[str, Any], str]:
    """Return the view of the session's terminal, and its path."""
    [one] = served.get(f"/sessions/{session}/terminals")["terminals"]
    return one, f"/sessions/{session}/terminals/{one['terminal']}"


def test_a_terminal_is_opened_typed_into_and_shared(serve: Any, console: Any) -> None:
    served: Served = serve()
    session = served.session()
    page = console(served, viewport={"width": 1000, "height": 640}).sign_in(f"/s/{session}/terminals").page
    expect(page.get_by_text("This session has no terminals.")).to_be_visible()
    screen = opened(page)
    run(page, "printf '\\033[1;31mred\\033[0m <%s>\\n' $((6*7))")
    expect(screen).to_contain_text("<42>")
    red = screen.locator(".xterm-bold", has_text="red").first
    expect(red).to_have_css("color", "rgb(179, 32, 31)")
    one, path = only(served, session)
    assert one["columns"] != 80
    served.post(f"{path}/type", {"text": "echo from ada\r", "name": "ada"})
    expect(screen).to_contain_text("from ada")
    served.post(f"{path}/keyboard", {"action": "take", "name": "ada"})
    expect(page.get_by_text("ada holds the keyboard").first).to_be_visible()
    page.keyboard.type("x")
    expect(page.get_by_text("ada holds the keyboard: nothing was typed.")).to_be_visible()
    looked(page, "terminal-held")
    served.post(f"{path}/keyboard", {"action": "release", "name": "ada"})
    expect(page.get_by_role("button", name="Take the keyboard")).to_be_visible()
    served.post(f"{path}/type", {"text": "exit 5\r"})
    expect(page.get_by_text("ended: exit code 5")).to_be_visible()
    typed = [each["event"] for each in served.history(session) if each["event"]["type"] == "terminal.typed"]
    assert {each["by"] for each in typed} == {"owner", "ada"}


def test_what_scrolled_off_can_be_read_and_the_size_is_that_of_the_window(serve: Any, console: Any) -> None:
    served: Served = serve()
    session = served.session()
    page = console(served, viewport={"width": 1200, "height": 700}).sign_in(f"/s/{session}/terminals").page
    screen = opened(page)
    run(page, "seq -f 'line %g.' 300")
    expect(screen).to_contain_text("line 300.")
    expect(screen).not_to_contain_text("line 1.")
    page.locator(".t-screen").hover()
    page.mouse.wheel(0, -1000)
    expect(screen).not_to_contain_text("line 300.")
    for _ in range(20):
        page.keyboard.press("Shift+PageUp")
    expect(screen).to_contain_text("line 1.")
    page.keyboard.type(" ")  # what is typed shows the end again
    expect(screen).to_contain_text("line 300.")
    expect(page.get_by_role("button", name="Fit to window")).to_have_attribute("aria-pressed", "true")
    wide = only(served, session)[0]["columns"]
    page.set_viewport_size({"width": 800, "height": 600})
    page.keyboard.press("Control+c")
    expect(page.locator(".t-state")).not_to_contain_text(f"{wide}×")
    run(page, "stty size")
    one, _ = only(served, session)
    assert one["columns"] != wide
    expect(screen).to_contain_text(f"{one['rows']} {one['columns']}")
    page.keyboard.press("Control+]")
    expect(page.get_by_label("Terminal", exact=True)).to_be_focused()


def test_a_click_before_the_screen_is_loaded_opens_a_shell_later(serve: Any, console: Any) -> None:
    served: Served = serve()
    session = served.session()
    opening = console(served)
    held: list[Any] = []
    opening.context.route("**/xterm.css", lambda route: held.append(route))
    page = opening.sign_in(f"/s/{session}/terminals").page
    page.get_by_role("button", name="Open a shell").click()
    expect(page.get_by_role("button", name="Open a shell")).to_be_focused()
    [sheet] = held
    sheet.continue_()
    expect(page.locator(".xterm.focus")).to_be_attached()


INSIDE = """() => {
    const { scrollHeight, clientHeight, scrollWidth, clientWidth } = document.querySelector(".t-screen");
    return scrollHeight <= clientHeight && scrollWidth <= clientWidth;
}"""


def test_a_terminal_that_follows_its_window_lies_whole_in_it_and_two_windows_do_not_fight(
    serve: Any, console: Any
) -> None:
    served: Served = serve()
    session = served.session()
    page = console(served).sign_in(f"/s/{session}/terminals").page
    page.get_by_role("button", name="Open a shell").click()
    expect(page.locator(".xterm.focus")).to_be_attached()
    [terminal] = served.get(f"/sessions/{session}/terminals")["terminals"]
    state = page.locator(".t-state")
    for height in range(700, 718, 6):  # rows are some 17 pixels high: what is left over is another each time
        page.set_viewport_size({"width": 1280, "height": height})
        page.wait_for_function(INSIDE)
    phone = console(served, viewport={"width": 360, "height": 740}).sign_in(f"/s/{session}/terminals").page
    narrow, shown = re.compile(r"\b[2-5]\d×\d+"), phone.locator(".t-state")
    phone.get_by_role("button", name="Fit to window").click()
    expect(shown).to_contain_text(narrow)
    expect(page.get_by_role("button", name="Fit to window")).to_have_attribute("aria-pressed", "false")
    expect(state).to_contain_text(narrow)
    page.set_viewport_size({"width": 1000, "height": 640})
    page.keyboard.type("echo still $((40 + 2))\n")
    expect(phone.locator(".xterm-rows")).to_contain_text("still 42")
    assert served.get(f"/sessions/{session}/terminals/{terminal['terminal']}")["columns"] < 60
    expect(state).to_contain_text(narrow)


def test_an_input_method_types_whole_words(serve: Any, console: Any, wait: Any) -> None:
    served: Served = serve()
    session = served.session()
    page = console(served).sign_in(f"/s/{session}/terminals").page
    screen = opened(page)
    run(page, "cat")
    devtools = page.context.new_cdp_session(page)
    for text in ("に", "にほ", "にほん"):
        devtools.send("Input.imeSetComposition", {"text": text, "selectionStart": len(text), "selectionEnd": len(text)})
    devtools.send("Input.insertText", {"text": "日本"})
    expect(screen).to_contain_text("日本")
    page.keyboard.press("Enter")
    page.keyboard.type("é€ 😀")
    page.keyboard.press("Enter")
    page.keyboard.press("Control+d")
    expect(screen).to_contain_text("é€ 😀")

    def typed() -> str:
        events = [each["event"] for each in served.history(session)]
        return "".join(each["text"] for each in events if each["type"] == "terminal.typed")

    wait(lambda: len(typed()) >= len("cat\r日本\ré€ 😀\r\x04"))  # the last keys show nothing on the screen
    assert typed() == "cat\r日本\ré€ 😀\r\x04"


def test_a_cut_connection_goes_on_where_it_was_behind_a_path_prefix(serve: Any, console: Any, proxied: Any) -> None:
    served: Served = serve()
    session = served.session()
    proxy = proxied(served)
    page = console(served).sign_in(f"/s/{session}/terminals", url=proxy.url).page
    sent: list[str] = []
    page.on("websocket", lambda one: one.on("framesent", lambda data: sent.append(str(data))))
    screen = opened(page)
    run(page, "echo be''fore")
    expect(screen).to_contain_text("before")
    proxy.cut()
    expect(page.get_by_text("cut off, connecting again")).to_be_visible()
    _, path = only(served, session)
    served.post(f"{path}/type", {"text": "echo mean''while\r", "name": "ada"})
    page.keyboard.type("lost")
    expect(page.get_by_text("Not typed: ")).to_be_visible()
    proxy.heal()
    expect(screen).to_contain_text("meanwhile")
    page.keyboard.press("Enter")
    run(page, "echo af''ter")
    expect(screen).to_contain_text("after")
    assert any('"after":' in one for one in sent)
    assert "lost" not in served.get(f"{path}/screen")["lines"]


def test_a_terminal_that_sleeps_with_its_sandbox_says_so_and_comes_back(serve: Any, console: Any) -> None:
    if shutil.which("runsc") is None:
        pytest.skip("there is no runsc here")
    isolation = Isolation(required=1, prefers=1, suspend=True)
    clerk = Agent("clerk", model=ScriptedModel(lambda _: "yes"), permissions="all", isolation=isolation)
    served: Served = serve(agents=[clerk])
    session = served.session()
    page = console(served).sign_in(f"/s/{session}/terminals").page
    screen = opened(page)
    if served.get(f"/sessions/{session}/sandbox")["suspends"] != "memory":
        pytest.skip("no sandbox here keeps its memory")
    run(page, "X=kept; echo at $((6*7))")
    expect(screen).to_contain_text("at 42")
    served.post(f"/sessions/{session}/sandbox/suspend", {})
    expect(page.locator(".t-state")).to_contain_text("asleep with its sandbox")
    expect(page.locator(".t-note")).to_contain_text("resume the session's sandbox")
    served.post(f"/sessions/{session}/sandbox/resume", {})
    expect(screen).to_contain_text("at 42")
    page.locator(".xterm").click()
    run(page, "echo still $X")
    expect(screen).to_contain_text("still kept")


def test_a_viewer_only_reads(serve: Any, console: Any) -> None:
    served: Served = serve()
    alice = tenant(served, "alice", role="user")
    session = alice.session()
    made = alice.post(f"/sessions/{session}/terminals", {"command": ["cat"]})
    if made.status == 403:
        pytest.skip("no sandbox here isolates")
    path = f"/sessions/{session}/terminals/{made.json['terminal']}"
    viewer = tenant(served, "alice", token={"role": "viewer"})
    page = console(served).sign_in(f"/s/{session}/terminals", token=viewer.token).page
    alice.post(f"{path}/type", {"text": "shown\r"})
    expect(page.locator(ROWS)).to_contain_text("shown")
    expect(page.get_by_text("only to read")).to_be_visible()
    expect(page.get_by_role("button", name="Open a shell")).to_have_count(0)
    page.locator(".t-screen").click()
    page.keyboard.type("mine")
    alice.post(f"{path}/type", {"text": "again\r"})
    expect(page.locator(ROWS)).to_contain_text("again")
    assert "mine" not in "".join(alice.get(f"{path}/screen")["lines"])
    looked(page, "terminal-viewer")


def test_a_recording_plays(serve: Any, console: Any) -> None:
    served: Served = serve()
    session = served.session()
    script = "echo first; sleep 0.3; printf '\\033[2J\\033[H'; echo second"
    served.post(f"/sessions/{session}/terminals", {"command": ["sh", "-c", script]})
    page = console(served, color_scheme="dark").sign_in(f"/s/{session}/terminals").page
    screen = page.locator(ROWS)
    expect(page.get_by_text("ended: exit code 0")).to_be_visible()
    expect(screen).to_contain_text("second")
    slider = page.get_by_label("Time in the recording")
    slider.evaluate("(one) => { one.value = '0.001'; one.dispatchEvent(new Event('input')); }")
    expect(screen).to_contain_text("first")
    expect(screen).not_to_contain_text("second")
    page.get_by_role("button", name="Play").click()
    expect(screen).to_contain_text("second")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    looked(page, "terminal-recording")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_a_phone_has_the_keys_that_it_lacks(serve: Any, console: Any, scheme: str) -> None:
    served: Served = serve()
    session = served.session()
    phone = {"viewport": {"width": 390, "height": 800}, "has_touch": True, "is_mobile": True, "color_scheme": scheme}
    page = console(served, **phone).sign_in(f"/s/{session}/terminals").page
    screen = opened(page)
    run(page, "ls --color=always -la / | head -9; cat")
    expect(screen).to_contain_text("total")
    page.get_by_role("button", name="Ctrl").click()
    page.keyboard.type("c")
    expect(screen).to_contain_text("^C")
    page.get_by_role("button", name="up", exact=True).click()
    expect(screen).to_contain_text(re.compile("cat.*cat", re.DOTALL))
    assert faults(page) == []
    assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
    looked(page, f"terminal-phone-{scheme}")
