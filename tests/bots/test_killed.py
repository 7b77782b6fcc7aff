"""Kill the daemon at the boundaries of a conversation: no message is lost or taken twice, answers keep their order."""

from __future__ import annotations

import asyncio
import json
import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call
from roost.testing.telegram import TelegramServer
from tests.bots.conftest import write_bot
from tests.doors.test_openai_killed import SCRIPT, Node

BOUNDARIES = [
    ("getUpdates", "after"),  # updates are on their way to the bot
    ("getUpdates", "before"),  # the acknowledgement of those that were taken
    ("sendMessage", "before"),
    ("sendMessage", "after"),  # sent, and not noted
]


@pytest.fixture
def node(tmp_path: Path, telegram: TelegramServer) -> Iterator[Node]:
    write_bot(tmp_path / "home", telegram, "marker", 'allow = ["*"]')
    with ProviderServer(SCRIPT) as provider:
        found = Node(tmp_path, provider.url)
        yield found
        found.kill()


def inputs(node: Node) -> list[str]:
    """Return the texts that became inputs, in each session's order."""
    found: list[str] = []
    for session in sorted(one["id"] for one in node.get("/sessions?limit=200")["sessions"]):
        after = 0
        while page := node.get(f"/sessions/{session}/events?limit=1000&after={after}")["events"]:
            events, after = [one["event"] for one in page], page[-1]["seq"]
            found += [one["parts"][0]["text"] for one in events if one["type"] == "input.received"]
    return found


class Strike:
    """Kills the node when a method is called for the `which`-th time while it has something to do."""

    def __init__(self, node: Node, telegram: TelegramServer, method: str, moment: str, which: int) -> None:
        self.node, self.telegram, self.at, self.left = node, telegram, (method, moment), which
        self.struck = threading.Event()

    def __call__(self, method: str, moment: str) -> None:
        idle = method == "getUpdates" and not self.telegram.waiting
        if (method, moment) == self.at and not idle and not self.struck.is_set():
            self.left -= 1
            if self.left == 0:
                self.node.kill()
                self.struck.set()


def test_killed_at_each_boundary(node: Node, telegram: TelegramServer) -> None:
    said: list[str] = []
    for number, (method, moment) in enumerate(BOUNDARIES):
        for which in (1, 2):
            strike = telegram.watch = Strike(node, telegram, method, moment, which)
            for one in "abc":
                said.append(f"{number}-{which}-{one}")
                telegram.write(said[-1])
                if method == "getUpdates":
                    time.sleep(0.05)  # so that they come in more than one request
            telegram.until(strike.struck.is_set)
            node.up()
            _answered(telegram, said)
    assert inputs(node) == said
    answers = telegram.texts()
    doubled = len(answers) - len(set(answers))
    assert doubled <= 2 * len(BOUNDARIES), "at most the one message that was on its way at each kill"
    assert [*dict.fromkeys(answers)] == [f"You said: {one}" for one in said], "in order"


def _answered(telegram: TelegramServer, said: list[str]) -> None:
    telegram.until(lambda: telegram.waiting == 0 and {f"You said: {one}" for one in said} <= set(telegram.texts()))


WRITER = """
from roost import Agent

marker = Agent("marker", model="openai/m", tools=["write_file", "send_message"], permissions="all")
"""
WRITES = Script(
    rules=(
        Rule(
            when="report",
            answers=(
                Reply(calls=(Call("write_file", {"path": "r.txt", "content": "all is well"}),)),
                Reply(text="Here: [r](r.txt)"),
            ),
        ),
        Rule(
            when="tell",
            answers=(Reply(calls=(Call("send_message", {"text": "News", "files": ["r.txt"]}),)), Reply(text="Told.")),
        ),
        Rule(answers=(Reply(text="You said: {input}"),)),
    )
)


class Writer(Node):
    """A daemon whose agent has a workspace."""

    def up(self) -> None:
        (self.folder / "agents.py").write_text(WRITER)
        super().up()


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_files_are_sent_over_kills(tmp_path: Path, telegram: TelegramServer) -> None:
    """Killed before and after a file is sent: it arrives, at most twice, and so does each text."""
    write_bot(tmp_path / "home", telegram, "marker", 'allow = ["*"]\nunasked = 50')
    with ProviderServer(WRITES) as provider:
        node = Writer(tmp_path, provider.url)
        try:
            for number, moment in enumerate(("before", "after") * 2):
                telegram.write("report" if number < 2 else "tell")
                strike = telegram.watch = Strike(node, telegram, "sendDocument", moment, 1)
                telegram.until(strike.struck.is_set)
                node.up()
                telegram.until(lambda number=number: len(_files(telegram)) > number)
                telegram.write(f"{number}")
                telegram.until(lambda number=number: f"You said: {number}" in telegram.texts())
            assert {file.data for file in _files(telegram)} == {b"all is well"}
            assert len(_files(telegram)) <= 8
            assert telegram.texts().count("News") in (2, 3, 4)
            telegram.until(lambda: not node.get("/bots/pigeon/letters")["letters"])
        finally:
            node.kill()


def _files(telegram: TelegramServer) -> list[Any]:
    return [one.file for one in telegram.sent() if one.file is not None]


class Storm:
    """Messages of many people, with kills of the nodes in turn, repeated updates, faults and limits of rates."""

    def __init__(self, telegram: TelegramServer, nodes: Sequence[Node], *, people: int, rounds: int) -> None:
        self.telegram, self.nodes, self.rounds = telegram, nodes, rounds
        self.people = {user: [f"{user}-{number}" for number in range(rounds)] for user in range(10, 10 + people)}
        self.chance, self.kills = random.Random(5), 0

    def run(self) -> None:
        """Each round is a message of each person, and a kill in the middle of it."""
        for number in range(self.rounds):
            for user, texts in self.people.items():
                self.telegram.write(texts[number], user=user, name=f"U{user}")
            faults = [self.chance.choice(["500", "429", "drop", "html"]) for _ in range(2)]
            self.telegram.fail(faults[0], "sendMessage")  # type: ignore[arg-type]
            self.telegram.fail(faults[1], "getUpdates")  # type: ignore[arg-type]
            self.telegram.repeat(self.chance.randrange(len(self.people) * (number + 1)))
            time.sleep(self.chance.uniform(0, 1.0))
            node = self.nodes[number % len(self.nodes)]
            node.kill()
            self.kills += 1
            node.up()

    def check(self) -> None:
        """Each message is answered, in order for each person, and taken once."""
        for user, texts in self.people.items():
            wanted = {f"You said: {one}" for one in texts}
            self.telegram.until(lambda user=user, wanted=wanted: wanted <= set(self.telegram.texts(user)), 1800)
            assert [*dict.fromkeys(self.telegram.texts(user))] == [f"You said: {one}" for one in texts]
        assert sorted(inputs(self.nodes[0])) == sorted(text for texts in self.people.values() for text in texts)
        doubled = sum(len(self.telegram.texts(user)) - self.rounds for user in self.people)
        most = 3 * self.kills
        assert doubled <= most, "at most what was on its way at a kill"
        count = len(self.people) * self.rounds
        print(json.dumps({"messages": count, "kills": self.kills, "doubled": doubled}))


STORM = int(os.environ.get("ROOST_STORM", "10000"))
"""Messages of the storm: with 50 people, so that a fiftieth of them are kills."""


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_killed_again_and_again(node: Node, telegram: TelegramServer) -> None:
    storm = Storm(telegram, [node], people=50, rounds=STORM // 50)
    storm.run()
    storm.check()


class StoreNode(Node):
    """A node of a cluster on PostgreSQL."""

    def __init__(self, folder: Path, provider: str, store: str) -> None:
        self.store = store
        folder.mkdir(exist_ok=True)
        super().__init__(folder, provider)

    def up(self) -> None:
        self.environment["ROOST_STORE"] = self.store
        super().up()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_nodes_on_postgresql_killed_in_turn(tmp_path: Path, telegram: TelegramServer, postgres: Any) -> None:
    """Two nodes; the one that works for the bot is killed again and again, and the other one takes over."""
    url = asyncio.run(postgres.database())
    with ProviderServer(SCRIPT) as provider:
        nodes: list[Node] = []
        try:
            for name in ("one", "two"):
                write_bot(tmp_path / name / "home", telegram, "marker", 'allow = ["*"]')
                nodes.append(StoreNode(tmp_path / name, provider.url, url))
            storm = Storm(telegram, nodes, people=10, rounds=20)
            storm.run()
            storm.check()
        finally:
            for one in nodes:
                one.kill()
