"""Kill the daemon while people write at each platform: no message is lost or taken twice, and each is answered."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from roost.stub.provider import ProviderServer
from roost.testing.discord import DiscordServer
from roost.testing.mail import MailServer
from roost.testing.slack import SlackServer
from tests.bots.test_killed import inputs
from tests.doors.test_openai_killed import SCRIPT, Node

UNUSED = "fake-secret-that-nobody-uses-01"
POLICY = '[secrets.one]\nfrom = "env:CHANNEL_ONE"\n[secrets.two]\nfrom = "env:CHANNEL_TWO"\n'


class Channel(NamedTuple):
    """A double in use. exactly: no answer is there twice. ordered: what comes again keeps its place."""

    write: Callable[[str], object]
    answers: Callable[[], list[str]]
    until: Callable[..., None]
    exactly: bool
    ordered: bool = True


def _slack(stack: ExitStack, set: Any) -> tuple[Channel, str]:
    double = stack.enter_context(SlackServer(socket=True, burst=1000))
    set(double.token, double.app_token)
    more = f'platform = "slack"\nhook_secret = "{{{{secret:two}}}}"\napi = "{double.url}"\npace_seconds = 0\n'
    return Channel(double.write, double.texts, double.until, exactly=False, ordered=False), more


def _discord(stack: ExitStack, set: Any) -> tuple[Channel, str]:
    double = stack.enter_context(DiscordServer(limits=False))
    set(double.token, "")
    more = f'platform = "discord"\napi = "{double.url}"\npace_seconds = 0\nstream = false\n'
    return Channel(double.write, double.texts, double.until, exactly=True), more


def _mail(stack: ExitStack, set: Any) -> tuple[Channel, str]:
    double = stack.enter_context(MailServer())
    set(double.password, "")
    more = (
        f'platform = "email"\naddress = "{double.address}"\nimap = "{double.imap}"\nsmtp = "{double.smtp}"\n'
        'tls = "none"\nunverified = true\npoll_seconds = 0.1\npace_seconds = 0\n'
    )
    return Channel(lambda text: double.write(text, subject=""), double.texts, double.until, exactly=True), more


CHANNELS = {"slack": _slack, "discord": _discord, "email": _mail}


@pytest.fixture(params=list(CHANNELS))
def channel(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Channel, Node]]:
    def set(one: str, two: str) -> None:
        monkeypatch.setenv("CHANNEL_ONE", one)
        monkeypatch.setenv("CHANNEL_TWO", two or UNUSED)

    with ExitStack() as stack:
        made, more = CHANNELS[request.param](stack, set)
        home = tmp_path / "home"
        home.mkdir()
        (home / "policy.toml").write_text(POLICY)
        (home / "bots.toml").write_text(
            f'[bots.one]\nagent = "marker"\ntoken = "{{{{secret:one}}}}"\nallow = ["*"]\n{more}'
        )
        node = Node(tmp_path, stack.enter_context(ProviderServer(SCRIPT)).url)
        stack.callback(node.kill)
        _until(lambda: node.get("/bots")["bots"][0]["title"])
        yield made, node


def _until(condition: Callable[[], object], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


@pytest.mark.soak
def test_nothing_is_lost_over_kills(channel: tuple[Channel, Node], request: pytest.FixtureRequest) -> None:
    made, node = channel
    kills = 6
    chance, said = random.Random(7), ["first"]
    made.write("first")
    _until(lambda: len(inputs(node)) == 1)  # Discord tells nobody of a chat that it does not know
    for round in range(kills):
        for number in range(4):
            said.append(f"m-{round}-{number}")
            made.write(said[-1])
            time.sleep(chance.uniform(0.0, 0.1))
        time.sleep(chance.uniform(0.0, 0.4))
        node.kill()
        node.up()
    _until(lambda: len(inputs(node)) >= len(said))
    taken = inputs(node)
    assert sorted(taken) == sorted(said), "each once"
    if made.ordered and "email" not in request.node.name:  # a thread has a session of its own
        assert taken == said
    made.until(lambda: set(made.answers()) >= {f"You said: {one}" for one in said})
    doubled = len(made.answers()) - len(set(made.answers()))
    assert doubled <= (0 if made.exactly else kills), made.answers()
