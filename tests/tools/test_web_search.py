"""`web_search`, with each engine's server played on the loopback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from roost.tools.base import ToolContext
from roost.tools.builtin import builtin_tools
from roost.tools.run_tool import run_tool

from .web import Asked, Reply, serving

TOOL = builtin_tools()["web_search"]
_KEY = "key-that-nobody-may-see"
_HITS = [("First\n one", "https://one.example/a", "About  one"), ("", "http://two.example/", None)]


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROOST_SEARCH", "ROOST_SEARCH_URL", "BRAVE_API_KEY", "TAVILY_API_KEY"):
        monkeypatch.delenv(name, raising=False)


async def search(ctx: ToolContext, query: str, **more: Any) -> tuple[str, str]:
    outcome, parts = await run_tool(TOOL, ctx, json.dumps({"query": query, **more}))
    return outcome, "".join(part.text for part in parts)  # pyright: ignore


def hits(snippet: str) -> list[Any]:
    good = [{"title": title, "url": url, snippet: text, "more": 1} for title, url, text in _HITS]
    return [5, {"title": "no address"}, {"url": "javascript:alert(1)"}, *good, *good]


def searxng(asked: Asked) -> Reply:
    query = parse_qs(urlsplit(asked.path).query)
    assert urlsplit(asked.path).path == "/search"
    assert query["format"] == ["json"]
    assert query["q"] == ["snakes & ladders ä"]
    return Reply(json.dumps({"results": hits("content"), "answers": []}).encode(), "application/json")


def brave(asked: Asked) -> Reply:
    query = parse_qs(urlsplit(asked.path).query)
    assert urlsplit(asked.path).path == "/res/v1/web/search"
    assert query == {"q": ["snakes & ladders ä"], "count": ["3"]}
    if asked.headers["x-subscription-token"] != _KEY:
        return Reply(b"{}", "application/json", 401)
    return Reply(json.dumps({"type": "search", "web": {"results": hits("description")}}).encode(), "application/json")


def tavily(asked: Asked) -> Reply:
    assert (asked.method, asked.path) == ("POST", "/search")
    assert json.loads(asked.body) == {"query": "snakes & ladders ä", "max_results": 3}
    if asked.headers["authorization"] != f"Bearer {_KEY}":
        return Reply(b"{}", "application/json", 401)
    return Reply(json.dumps({"results": hits("content")}).encode(), "application/json")


ENGINES = {"searxng": (searxng, None), "brave": (brave, "BRAVE_API_KEY"), "tavily": (tavily, "TAVILY_API_KEY")}


@pytest.mark.parametrize("name", ENGINES)
async def test_an_engine_is_asked_as_it_wants(ctx: ToolContext, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    answer, variable = ENGINES[name]
    monkeypatch.setenv("ROOST_SEARCH", name)
    with serving(answer) as server:
        monkeypatch.setenv("ROOST_SEARCH_URL", server.url + "/")
        if variable:
            monkeypatch.setenv(variable, _KEY)
        outcome, text = await search(ctx, "snakes & ladders ä", count=3)
        assert outcome == "ok", text
        assert text.splitlines() == [
            "1. First one",
            "   https://one.example/a",
            "   About one",
            "2. http://two.example/",
            "   http://two.example/",
            "3. First one",
            "   https://one.example/a",
            "   About one",
        ]
        if variable:
            monkeypatch.setenv(variable, "wrong")
            outcome, text = await search(ctx, "snakes & ladders ä", count=3)
            assert (outcome, "the key is wrong" in text, "wrong-key" in text) == ("error", True, False)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (Reply(b"<html>", "text/html"), "not answer with JSON"),
        (Reply(b"{}", "application/json", 500), "answered 500"),
        (Reply(b"{}", "application/json", 429), "too many searches"),
        (Reply(b"[1]", "application/json"), "Nothing was found"),
        (Reply(b'{"results": {"a": 1}, "web": 5}', "application/json"), "Nothing was found"),
        (Reply(b'{"results": [], "web": {"results": []}}', "application/json"), "Nothing was found"),
        (Reply(status=302, headers={"Location": "http://127.0.0.1:1/"}), "answered 302"),
    ],
)
async def test_a_server_that_fails(
    ctx: ToolContext, monkeypatch: pytest.MonkeyPatch, name: str, reply: Reply, why: str
) -> None:
    variable = ENGINES[name][1]
    monkeypatch.setenv("ROOST_SEARCH", name)
    if variable:
        monkeypatch.setenv(variable, _KEY)
    with serving(lambda asked: reply) as server:
        monkeypatch.setenv("ROOST_SEARCH_URL", server.url)
        _, text = await search(ctx, "x")
    assert why in text
    assert _KEY not in text


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({}, "ROOST_SEARCH_URL to a SearXNG server, or one of BRAVE_API_KEY and TAVILY_API_KEY"),
        ({"ROOST_SEARCH": "brave"}, "must set BRAVE_API_KEY"),
        ({"ROOST_SEARCH": "tavily", "BRAVE_API_KEY": "x"}, "must set TAVILY_API_KEY"),
        ({"ROOST_SEARCH": "searxng"}, "must set ROOST_SEARCH_URL"),
        ({"ROOST_SEARCH": "bing"}, "the known engines are searxng, brave, tavily"),
        ({"ROOST_SEARCH_URL": "http://127.0.0.1:1"}, "cannot be fetched"),
        ({"ROOST_SEARCH_URL": "nonsense"}, "is not an address"),
        ({"ROOST_SEARCH_URL": "http://no-such-host.invalid"}, "cannot be found"),
    ],
)
async def test_what_to_set_is_said(
    ctx: ToolContext, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], why: str
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    outcome, text = await search(ctx, "x")
    assert (outcome, why in text) == ("error", True), text


async def test_searxng_without_json_and_who_is_reached(ctx: ToolContext, monkeypatch: pytest.MonkeyPatch) -> None:
    assert TOOL.reach is not None
    assert TOOL.reach({"query": "x"}, Path("/")).hosts == ()
    monkeypatch.setenv("BRAVE_API_KEY", _KEY)
    assert TOOL.reach({"query": "x"}, Path("/")).hosts == ("api.search.brave.com",)
    with serving({}) as server:
        monkeypatch.setenv("ROOST_SEARCH_URL", server.url)
        assert TOOL.reach({"query": "x"}, Path("/")).hosts == ("127.0.0.1",)
    with serving(lambda asked: Reply(b"", status=403)) as server:
        monkeypatch.setenv("ROOST_SEARCH_URL", server.url)
        assert "need `json` in `search.formats`" in (await search(ctx, "x"))[1]
