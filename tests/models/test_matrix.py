"""Every behaviour on every wire that is registered; and the matrix itself notices what does not behave."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from roost.models.profile import Profile
from roost.models.prompt import Prompt
from roost.models.wire import Endpoint, HttpCall
from roost.models.wires import WIRES
from roost.models.wires.openai_chat import OpenAIChat
from roost.models.wires.openai_chat.answer import OpenAIChatAnswer
from roost.stub.dialects import minimax
from roost.stub.provider import ProviderServer
from roost.stub.script import FaultKind, Reply, load
from roost.testing.matrix import Real, Subject, behaviours, subject, tried
from roost.testing.matrix.suite import WireConformance

NUMBERS = "errors and refusals are numbers and flags in a document of status 200; its own tests have them"
LACKS: dict[str, str] = dict.fromkeys(("refusal", "overflow", "refused_calls"), NUMBERS)
WAYS: dict[str, Callable[[], Subject]] = {
    **{name: partial(subject, name) for name in WIRES},
    "minimax chat": lambda: subject("minimax", {"interface": "chat"}, dialect=minimax.CHAT, lacks=LACKS),
    "minimax text": lambda: subject("minimax", {"interface": "text"}, dialect=minimax.TEXT, lacks=LACKS),
}


@pytest.mark.parametrize("way", WAYS)
class TestWires(WireConformance):
    @pytest.fixture(autouse=True)
    def _named(self, way: str) -> None:
        self.way = way

    def subject(self) -> Subject:
        return WAYS[self.way]()


class Deaf(OpenAIChat):
    """Leaves out what came before, and stop words."""

    def call(self, prompt: Prompt, model: str, profile: Profile, endpoint: Endpoint, *, stream: bool) -> HttpCall:
        short = msgspec.structs.replace(prompt, messages=prompt.messages[-1:], stop=())
        return super().call(short, model, profile, endpoint, stream=stream)

    def answer(
        self, prompt: Prompt, profile: Profile, *, where: str, model: str = "", endpoint: Endpoint | None = None
    ) -> OpenAIChatAnswer:
        prompt = msgspec.structs.replace(prompt, stop=())
        return super().answer(prompt, profile, where=where, model=model, endpoint=endpoint)


async def test_a_wire_that_does_not_behave_is_told_why() -> None:
    bad = msgspec.structs.replace(subject("openai_chat"), name="deaf", wire=Deaf)
    works, fails = ("text", "abort"), ("stop", "unicode", "calls", "call_without_result", "images", "thinking")
    cells = {one.name: await tried(one, bad, [bad]) for one in behaviours() if one.name in works + fails}
    assert [cells[name].verdict for name in works] == ["ok", "ok"]
    for name in fails:
        assert (cells[name].verdict, bool(cells[name].why)) == ("fail", True), name


async def test_a_real_server_is_tried_without_a_script() -> None:
    with ProviderServer(lambda _: Reply(text="One two.", stop="length"), key="k") as server:
        real = Real(url=server.url, model="m", key="k")
        cells = {one.name: await tried(one, subject("anthropic"), [], real) for one in behaviours()}
    assert cells["text"].verdict == cells["length"].verdict == cells["unicode"].verdict == "ok"
    assert {one.name for one in behaviours() if not one.live} == {
        cell.behaviour for cell in cells.values() if cell.why == "it needs a script"
    }
    assert cells["images"] == msgspec.structs.replace(cells["images"], verdict="skip", why="the model does not see")


def test_the_table() -> None:
    command = [sys.executable, "-m", "roost.testing.matrix", "--behaviour", "text", "--behaviour", "keys"]
    table = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert table.returncode == 0, table.stdout
    head, *rows = table.stdout.splitlines()
    assert head.split() == ["behaviour", *WIRES]
    assert rows[0].split() == ["text", *["ok"] * len(WIRES)]
    cells = subprocess.run([*command, "--wire", "gemini", "--json"], capture_output=True, text=True, timeout=60)
    assert [(cell["behaviour"], cell["wire"]) for cell in json.loads(cells.stdout)] == [
        ("text", "gemini"),
        ("keys", "gemini"),
    ]
    nowhere = [*command, "--wire", "gemini", "--url", "http://127.0.0.1:9", "--model", "m"]
    failed = subprocess.run(nowhere, capture_output=True, text=True, timeout=60)
    assert failed.returncode == 1
    assert "fail text" in failed.stdout
    assert "connection" in failed.stdout


def test_the_page_about_it() -> None:
    page = (Path(__file__).parents[2] / "docs" / "extend" / "testing-models.md").read_text()
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    _, script = (text for kind, text in blocks if kind == "json")
    assert load(script.encode()).reply([{"role": "user", "content": "list"}]).calls
    stub, suite = (text for kind, text in blocks if kind == "python")
    exec(stub, {})
    names: dict[str, Any] = {"__name__": "page"}
    exec(suite, names)
    assert names["TestMine"]().subject().name == "mine"
    assert set(re.findall(r"`(\w+)`", page.partition("## Faults")[2])) >= set(get_args(FaultKind))
