"""Terminals over the WebSocket, by the client of `roost.client`, against a real daemon."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from roost.client.daemon_address import Endpoint
from roost.client.web_socket import Disconnected, Output, WebSocket
from roost.errors import RoostError
from roost.features.terminals.emulator import Emulator
from roost.features.terminals.redraw import above
from roost.server.daemon import Options
from tests.server.accounts import tenant
from tests.server.conftest import Served

from .support import agent

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
PATIENCE = 60.0
Connect = Callable[..., WebSocket]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    walled = agent(level=1).replace(name="walled")
    made = Served(Options(home=tmp_path / "home", port=0), [agent(), walled])
    yield made
    made.stop()


@pytest.fixture
def connect(served: Served) -> Iterator[Connect]:
    made: list[WebSocket] = []

    def one(token: str | None = None) -> WebSocket:
        made.append(WebSocket(Endpoint(served.url, token or served.token)))
        return made[-1]

    yield one
    for each in made:
        each.close()


class Window:
    """What an attached client shows. Reads in a thread."""

    def __init__(self, link: WebSocket, session: str, terminal: str, **args: Any) -> None:
        self.channel = link.attach(session, terminal, **args)
        view = self.channel.terminal
        self.screen = Emulator(view["columns"], view["rows"])
        self.events: list[dict[str, Any]] = []
        self.outputs: list[Output] = []
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for got in self.channel:
                if isinstance(got, Output):
                    if got.redraw:
                        self.screen = Emulator(self.screen.columns, self.screen.rows)
                    self.screen.feed(got.data)
                    self.outputs.append(got)
                else:
                    if got["kind"] == "size":
                        self.screen.resize(got["columns"], got["rows"])
                    self.events.append(got)
        except (Disconnected, RoostError) as error:
            self.error = error

    @property
    def text(self) -> str:
        return "\n".join(row.text for row in self.screen.lines)

    def shows(self, text: str) -> None:
        so(lambda: text in self.text, lambda: f"{text!r} is not in {self.text!r}")

    def hears(self, **event: Any) -> None:
        so(lambda: event in self.events, lambda: f"{event} is not in {self.events}")

    def over(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


def so(condition: Callable[[], bool], why: Callable[[], str]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, why()
        time.sleep(0.02)


def code(call: Callable[..., Any], *args: Any, **named: Any) -> str:
    with pytest.raises(RoostError) as refused:
        call(*args, **named)
    return refused.value.code


def test_two_people_see_and_type_in_one_terminal(served: Served, connect: Connect) -> None:
    session = served.session("a")
    ada, bob = connect(), connect()
    one = ada.ask("terminals.open", session=session, command=["sh"], name="ada")["terminal"]
    first, second = Window(ada, session, one, name="ada"), Window(bob, session, one, name="bob")
    first.hears(kind="viewers", names=["ada", "bob"])
    ada.ask("terminals.type", session=session, terminal=one, text="echo $((3*14))\r", name="ada")
    for window in (first, second):
        window.shows("42")
    ada.ask("terminals.keyboard", session=session, terminal=one, action="take", name="ada")
    second.hears(kind="keyboard", holder="ada", by="ada")
    assert code(bob.ask, "terminals.type", session=session, terminal=one, text="x", name="bob") == "keyboard_held"
    ada.ask("terminals.resize", session=session, terminal=one, columns=50, rows=10)
    second.hears(kind="size", columns=50, rows=10)
    first.channel.detach()
    second.hears(kind="keyboard", holder=None, by="ada")  # who leaves gives it back
    bob.ask("terminals.type", session=session, terminal=one, text="stty size; exit 4\r", name="bob")
    second.shows("10 50")
    second.hears(kind="ended", code=4, reason=None)
    second.over()
    assert code(bob.attach, session, one) == "terminal_ended"
    assert code(bob.attach, session, "term-none") == "unknown_terminal"
    assert code(bob.ask, "terminals.detach", channel=99) == "not_subscribed"
    assert code(bob.ask, "terminals.attach", session=session, terminal=one, more=1) == "invalid"


def test_a_client_that_comes_back_goes_on_where_it_was(served: Served, connect: Connect) -> None:
    session = served.session("a")
    link = connect()
    one = link.ask("terminals.open", session=session, command=["sh"])["terminal"]
    window = Window(link, session, one)
    link.ask("terminals.type", session=session, terminal=one, text="echo one $((1+0))\r")
    window.shows("one 1")
    so(lambda: window.outputs[-1].next == link.ask("terminals.get", session=session, terminal=one)["position"], str)
    position = window.outputs[-1].next
    link.close()
    window.over()
    assert isinstance(window.error, Disconnected)
    again = connect()
    again.ask("terminals.type", session=session, terminal=one, text="echo two $((1+1))\r")
    resumed = Window(again, session, one, after=position)
    resumed.shows("two 2")
    assert "one 1" not in resumed.text
    assert (resumed.outputs[0].at, resumed.outputs[0].redraw) == (position, False)
    whole = Window(again, session, one)
    whole.shows("two 2")
    assert whole.outputs[0].redraw
    assert "one 1" in whole.text


def test_a_flood_reaches_a_slow_client_as_its_last_screen(served: Served, connect: Connect) -> None:
    """The client reads nothing while the program writes far more than is kept; then it has the same screen."""
    session = served.session("a")
    link, slow = connect(), connect()
    script = "read x; seq 1 400000; echo; echo done; read y"
    one = link.ask("terminals.open", session=session, command=["sh", "-c", script])["terminal"]
    late = slow.attach(session, one)
    fast = Window(link, session, one)
    link.ask("terminals.type", session=session, terminal=one, text="\r")
    fast.shows("done")
    screen = link.ask("terminals.screen", session=session, terminal=one)
    assert fast.text.splitlines() == "\n".join(screen["lines"]).splitlines()
    shown = Emulator(80, 24)
    redraws = 0
    for got in late:
        if isinstance(got, Output):
            redraws += got.redraw
            shown = Emulator(80, 24) if got.redraw else shown
            shown.feed(got.data)
            if got.next >= screen["position"]:
                break
    assert [row.text for row in shown.lines] == screen["lines"]
    assert redraws >= 1


def test_an_answer_comes_while_output_waits_to_be_read(served: Served, connect: Connect) -> None:
    session, link = served.session("a"), connect()
    one = link.ask("terminals.open", session=session, command=["sh", "-c", "while :; do echo x; sleep 0.001; done"])
    channel = link.attach(session, one["terminal"])
    so(lambda: link.waiting(channel.number) >= 64, lambda: "nothing waits")
    assert link.ask("terminals.get", timeout=60, session=session, terminal=one["terminal"])["state"] == "running"
    so(lambda: link.waiting(channel.number) >= 64, lambda: "nothing waits")
    channel.detach()
    link.ask("terminals.end", timeout=60, session=session, terminal=one["terminal"])


def test_another_account_sees_and_reaches_nothing(served: Served, connect: Connect) -> None:
    alice, bob = tenant(served, "alice", role="user"), tenant(served, "bob", role="user")
    session = alice.session("walled")
    hers, his = connect(alice.token), connect(bob.token)
    one = hers.ask("terminals.open", session=session, command=["cat"], name="ada")
    assert one["by"] == "alice/ada"
    for op, more in (
        ("terminals.attach", {}),
        ("terminals.get", {}),
        ("terminals.screen", {}),
        ("terminals.recording", {}),
        ("terminals.type", {"text": "x"}),
        ("terminals.resize", {"columns": 10, "rows": 10}),
        ("terminals.keyboard", {"action": "take", "force": True}),
        ("terminals.end", {}),
    ):
        assert code(his.ask, op, session=session, terminal=one["terminal"], **more) in (
            "not_found",
            "unknown_terminal",
        ), op
    for op in ("terminals.list", "terminals.open"):
        assert code(his.ask, op, session=session) == "not_found"
    bare = alice.session("a")
    hers.ask("terminals.open", session=bare, command=["cat"])

    def levels() -> list[int]:
        return [each["event"]["level"] for each in served.history(bare) if each["event"]["type"] == "sandbox.chosen"]

    so(lambda: levels() == [1], lambda: "an account's session is isolated whatever its agent says")
    window = Window(hers, session, one["terminal"])
    hers.ask("terminals.type", session=session, terminal=one["terminal"], text="mine\r", name="bob")
    window.shows("mine")
    typed = [each for each in served.history(session) if each["event"]["type"] == "terminal.typed"]
    assert [each["event"]["by"] for each in typed] == ["alice/bob"]


def test_hostile_arguments_are_refused_and_nothing_is_left_behind(served: Served, connect: Connect) -> None:
    session = served.session("a")
    link = connect()
    one = link.ask("terminals.open", session=session, command=["cat"])["terminal"]
    hostile: list[tuple[str, dict[str, Any]]] = [
        ("terminals.attach", {"after": -1}),
        ("terminals.attach", {"after": 1e300}),
        ("terminals.attach", {"name": "\x1b[2J"}),
        ("terminals.attach", {"name": "a\u202eb"}),
        ("terminals.type", {}),
        ("terminals.type", {"text": "a", "base64": "YQ=="}),
        ("terminals.type", {"base64": "%%%"}),
        ("terminals.type", {"base64": "é"}),
        ("terminals.type", {"text": "x" * 70_000}),
        ("terminals.type", {"text": "x", "name": "agent"}),
        ("terminals.resize", {"columns": 0, "rows": 1}),
        ("terminals.resize", {"columns": 10**9, "rows": 10**9}),
        ("terminals.screen", {"scrollback": 10**9}),
        ("terminals.keyboard", {"action": "steal"}),
    ]
    for op, args in hostile:
        assert code(link.ask, op, session=session, terminal=one, **args) == "invalid", (op, args)
    assert code(link.ask, "terminals.open", session=session, command=["a\0b"]) == "invalid"
    assert code(link.ask, "terminals.attach", session="../x", terminal=one) in ("invalid", "not_found")
    assert code(link.ask, "x.detach", channel=1) == "unknown_operation"
    asked = [link.start("terminals.attach", session=session, terminal=one) for _ in range(40)]
    refused = [each.exception(PATIENCE) for each in asked]
    assert [getattr(error, "code", "") for error in refused if error] == ["too_many_streams"] * 8
    link.close()
    again = connect()
    so(lambda: again.ask("terminals.get", session=session, terminal=one)["viewers"] == [], lambda: "viewers are left")


def test_the_program_of_the_guide(served: Served) -> None:
    page = (Path(__file__).parents[2] / "docs/guides/terminals.md").read_text()
    scope: dict[str, Any] = {}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], scope)  # type: ignore[index]
    assert "42" in scope["run"](Endpoint(served.url, served.token), served.session("a"))


def test_much_output_leaves_the_screen_exact_and_questions_are_answered_in_its_order(
    served: Served, connect: Connect
) -> None:
    session, link = served.session("a"), connect()
    script = (
        "read go; seq 60000; printf '\\033]2;far\\007\\033[6n'; IFS= read -rs -d R at; "
        "printf 'at %s' \"${at#??}\"; read go; exit 3"
    )
    one = link.ask("terminals.open", session=session, command=["bash", "-c", script])["terminal"]
    window = Window(link, session, one, scrollback=2000)
    link.ask("terminals.type", session=session, terminal=one, text="\r")
    window.shows("at 24;1")
    window.hears(kind="title", title="far")
    so(lambda: window.outputs[-1].next == link.ask("terminals.get", session=session, terminal=one)["position"], str)
    shown = link.ask("terminals.screen", session=session, terminal=one, scrollback=2000)
    mine = [row.text for row in [*above(window.screen, 2000), *window.screen.lines]]
    assert mine[-len(shown["lines"]) :] == shown["lines"][-len(mine) :]
    assert shown["lines"][-3:] == ["59999", "60000", "at 24;1"]
    assert shown["lines"][0] == str(60000 - 2022)
    link.ask("terminals.type", session=session, terminal=one, text="\r")
    window.hears(kind="ended", code=3, reason=None)
