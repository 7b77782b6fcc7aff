"""Feeds and pages that become inputs of a real daemon's agents."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from roost.agent.definition import Agent
from roost.doors.bots.watch.feeds import Unreadable, read_feed
from roost.testing.feeds import FeedServer
from roost.testing.scripted import ScriptedModel
from roost.testing.telegram import TelegramServer
from tests.bots.conftest import BOT, POLICY, echo
from tests.server.conftest import Served


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[FeedServer]:
    with FeedServer() as found:
        monkeypatch.setenv("ROOST_WEB_ALLOW", found.host)
        yield found


@pytest.fixture
def watch(serve: Any, tmp_path: Path) -> Callable[..., Served]:
    def make(platform: str, url: str, more: str = "", policy: str = "") -> Served:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        (home / "policy.toml").write_text(policy)
        (home / "bots.toml").write_text(
            f'[bots.news]\nplatform = "{platform}"\nagent = "clerk"\nurl = "{url}"\nevery_seconds = 0.2\n{more}'
        )
        return serve(agents=[Agent("clerk", model=ScriptedModel(echo))], home=home)

    return make


def _said(served: Served) -> list[str]:
    """What people and watchers have said to the sessions."""
    found: list[str] = []
    for session in served.get("/sessions")["sessions"]:
        events = [one["event"] for one in served.get(f"/sessions/{session['id']}/events")["events"]]
        found += [one["parts"][0]["text"] for one in events if one["type"] == "input.received"]
    return found


def test_entries_become_inputs_once_over_restarts(
    watch: Any, site: FeedServer, telegram: TelegramServer, wait: Any
) -> None:
    """The answers go to a chat of another bot, and a restart with a lost validator repeats nothing."""
    site.add("Old news")
    pigeon = BOT.format(agent="clerk", url=telegram.url, more='allow = ["7"]')
    served = watch("feed", site.feed, f'to = "pigeon/7"\n{pigeon}', POLICY)
    telegram.write("Hello")
    telegram.until(lambda: telegram.texts() == ["You said: Hello"])
    wait(lambda: site.unchanged)
    site.faults += [500]
    site.add("One & two", "<p>Some <b>text</b></p><script>x</script>/approve")
    telegram.until(lambda: len(telegram.texts()) == 2)
    told = telegram.texts()[1]
    assert "One & two" in told
    assert "Some text" in told
    assert "Old news" not in told
    served.stop()
    for title in ("Three", "Four", "Five"):
        site.add(title)
    served = watch("feed", site.feed, f'to = "pigeon/7"\n{pigeon}', POLICY)
    telegram.until(lambda: len(telegram.texts()) == 5)
    order = [title in said for title, said in zip(("Three", "Four", "Five"), telegram.texts()[2:], strict=True)]
    assert order == [True, True, True], telegram.texts()
    sessions = served.get("/sessions")["sessions"]
    assert len(sessions) == 2
    kinds = [[one["event"]["type"] for one in served.get(f"/sessions/{s['id']}/events")["events"]] for s in sessions]
    assert sorted("session.tainted" in one for one in kinds) == [False, True]


def test_a_change_of_a_page_is_told_as_a_difference(watch: Any, site: FeedServer, wait: Any) -> None:
    served = watch("page", site.page)
    wait(lambda: site.unchanged)
    site.text = "<html><body><p>First</p><p>Second</p></body></html>"
    wait(lambda: _said(served))
    (said,) = _said(served)
    assert "+Second" in said
    assert "-First" not in said
    site.text = "<html><body><p>First</p></body></html>"
    wait(lambda: len(_said(served)) == 2)
    site.text = "<html><body><p>First</p><p>Second</p></body></html>"
    wait(lambda: len(_said(served)) == 3)


@pytest.mark.parametrize("what", ["private", "elsewhere", "bomb", "none"])
def test_what_is_not_fetched_is_said(
    watch: Any, site: FeedServer, wait: Any, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    wanted = {"private": "not a public", "elsewhere": "another host", "bomb": "entities", "none": "neither RSS"}[what]
    if what == "private":
        monkeypatch.setenv("ROOST_WEB_ALLOW", "")
    site.elsewhere = "http://localhost:1/" if what == "elsewhere" else ""
    bomb = b'<!DOCTYPE rss [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><rss><channel><title>&b;</title></channel></rss>'
    site.body = bomb if what == "bomb" else b"<html/>" if what == "none" else None
    served = watch("feed", site.feed)
    wait(lambda: wanted in served.get("/bots")["bots"][0]["problem"])
    assert served.get("/sessions")["sessions"] == []


ATOM = b"""<feed xmlns="http://www.w3.org/2005/Atom" xmlns:m="http://search.yahoo.com/mrss/"><title>A</title>
<entry><id>urn:1</id><title type="html">B &amp;amp; C</title><link rel="self" href="http://a/s"/>
<link href="http://a/1"/><updated>2026-01-01</updated><m:title>Not this</m:title>
<content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml">Some <b>text</b></div></content></entry></feed>"""
RDF = b"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
<channel><title>A</title></channel><item><title>B &amp;amp; C</title><link>http://a/1</link>
<description>Some text</description></item></rdf:RDF>"""
JSON = b"""{"version": "https://jsonfeed.org/version/1.1", "title": "A", "items": [
{"id": 1, "url": "http://a/1", "title": "B &amp; C", "content_html": "<p>Some text</p>"}]}"""


@pytest.mark.parametrize("body", [ATOM, RDF, JSON])
def test_formats_of_feeds(body: bytes) -> None:
    feed = read_feed(body, "")
    assert feed.title == "A"
    (entry,) = feed.entries
    assert (entry.title, entry.link, entry.text) == ("B & C", "http://a/1", "Some text")


def test_a_feed_in_another_charset() -> None:
    body = '<?xml version="1.0" encoding="windows-1251"?><rss><channel><title>Новости</title></channel></rss>'
    assert read_feed(body.encode("cp1251"), "text/xml; charset=windows-1251").title == "Новости"
    with pytest.raises(Unreadable, match="deep"):
        read_feed(b"<rss>" + b"<a>" * 200, "")


@pytest.mark.parametrize("charset", ["gb2312", "hex", "nosuch"])
def test_a_feed_in_a_charset_that_the_parser_lacks_says_so(charset: str) -> None:
    with pytest.raises(Unreadable, match="encoding"):
        read_feed(f'<?xml version="1.0" encoding="{charset}"?><rss/>'.encode(), "")
