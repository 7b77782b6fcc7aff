"""A provider for agents that are defined over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

TOML = """
default = "one/m"

[accounts.one]
base_url = "{url}"
key = "env:ONE_KEY"
wire = "openai_chat"
retry = {{ tries = 1 }}

[models."one/m"]
window = 64000
max_output = 4000
price = {{ input = 1.0, output = 2.0 }}
"""
MET = '{"findings": [{"point": "a city", "met": true, "why": "Ghent"}]}'
UNMET = '{"findings": [{"point": "a city", "met": false, "why": "none is named"}]}'
SCRIPT = Script(
    rules=(
        Rule(when="It is Ghent.", answers=(Reply(text=MET),)),  # a grader reads what the agent said
        Rule(when="# rubric", answers=(Reply(text=UNMET),)),
        Rule(when="The work was checked", answers=(Reply(text="It is Ghent."),)),
        Rule(when="name the city", answers=(Reply(text="A draft."),)),
        Rule(when="weather", answers=(Reply(calls=(Call("get_weather", {"city": "Ghent"}),)), Reply(text="{result}"))),
        Rule(when="make it", answers=(Reply(calls=(Call("shell", {"command": "echo made"}),)), Reply(text="{result}"))),
        Rule(
            when="column",
            answers=(Reply(calls=(Call("read_file", {"path": "uploads/data.csv"}),)), Reply(text="{result}")),
        ),
        Rule(when="at length", answers=(Reply(text="word " * 60, piece=5),)),
        Rule(answers=(Reply(text="You said: {input}", piece=4),)),
    )
)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProviderServer]:
    monkeypatch.setenv("ONE_KEY", "k")
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with ProviderServer(SCRIPT) as server:
        yield server
