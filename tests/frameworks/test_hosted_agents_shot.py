"""The daemon is killed while a hosted agent asks, hears an answer or runs a tool: nothing is paid or done twice.

`test_hosted_agents_killed.py` strikes at commits, in the test's process. Here SIGKILL comes at any moment."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest

from roost.client.daemon_address import Unreachable, of_home
from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply, last_user
from tests.doors.test_anthropic_gateway_mode import TOML
from tests.frameworks.hosting import AGENTS, SCRIPT, need, share_environments
from tests.harness.warm_fork import Process, spawn

SECONDS = 300.0
_STREAM = Fault(kind="trickle", seconds=0.3, times=0)


class Asked:
    """What the provider was asked: by the words of the turn, when each step of it was asked for."""

    def __init__(self) -> None:
        self.times: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self.count = 0

    def reply(self, body: dict[str, Any]) -> Reply:
        text, step = last_user(body["messages"])
        self.times[text].append((step, time.time()))
        self.count += 1
        return msgspec.structs.replace(SCRIPT.reply(body["messages"]), fault=_STREAM)


class Shot:
    """A home whose daemon is killed and started again."""

    def __init__(self, home: Path, framework: str, asked: Asked, log: IO[bytes]) -> None:
        self.home, self._framework, self._asked, self._log = home, framework, asked, log
        self._process: Process | None = None
        self.kills = 0

    def start(self) -> None:
        self._process = spawn("tests.frameworks.daemon", str(self.home), self._framework, output=self._log)

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self.kills += 1

    def ask(self, method: str, path: str, body: Any = None, *, key: str = "") -> Any:
        """Ask until there is an answer."""
        assert self._process is not None
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, Unreachable, http.client.HTTPException):
                found = of_home(self.home)
                if found.pid == self._process.pid:
                    return self._asked_once(found, method, path, body, key)
            assert self._process.poll() is None, "the daemon has ended by itself"
            time.sleep(0.02)
        raise AssertionError(f"no answer to {method} {path}")

    def _asked_once(self, found: Any, method: str, path: str, body: Any, key: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", int(found.url.rpartition(":")[2]), timeout=60)
        headers = {"Authorization": f"Bearer {found.token}", "Content-Type": "application/json"}
        headers |= {"Idempotency-Key": key} if key else {}
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            data = answer.read()
            assert answer.status < 400, data
            return json.loads(data or b"null")

    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while page := self.ask("GET", f"/sessions/s/events?after={len(found)}&limit=500")["events"]:
            found += [one["event"] for one in page]
        return found

    def ended(self, number: int) -> bool:
        return sum(one["type"] == "turn.completed" for one in self.events()) >= number

    def lines(self, name: str) -> int:
        with contextlib.suppress(OSError):
            return len((self.home / "workspaces" / "s" / name).read_text().splitlines())
        return 0

    @property
    def signs(self) -> int:
        """How much has been asked and done: it grows as the agent works."""
        return self._asked.count + self.lines("looked.txt") + self.lines("paid.txt")


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def shot(
    request: pytest.FixtureRequest, tmp_path: Path, cache: Path, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shot]:
    need(request.param, cache)
    monkeypatch.setenv("ONE_KEY", "k")
    with ProviderServer(asked.reply) as server, (tmp_path / "daemon.log").open("ab") as log:
        share_environments(tmp_path / "home", cache)
        (tmp_path / "home" / "models.toml").write_text(TOML.format(url=server.url, wire="openai_chat"))
        made = Shot(tmp_path / "home", request.param, asked, log)
        yield made
        made.kill()
        assert not server.stats.violations, server.stats.reasons


def turn(shot: Shot, asked: Asked, number: int, kills: int, chance: random.Random) -> None:
    """One turn, with as many kills as it takes until there were `kills` in all."""
    text, paid = f"WORK please, number {number}", shot.lines("paid.txt")
    ended = False
    while not ended:
        shot.ask("POST", "/sessions", {"agent": "coder", "id": "s"}, key="s")
        shot.ask("POST", "/sessions/s/messages", {"text": text}, key=text)
        if shot.kills >= kills:
            deadline = time.monotonic() + SECONDS
            while not (ended := shot.ended(number)):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        elif ended := await_sign(shot, number, shot.signs + chance.choice((1, 1, 2, 3))):
            break
        else:
            time.sleep(chance.uniform(0.0, 0.4))
            shot.kill()
            shot.start()
    check(shot, asked, number, text, paid)


def await_sign(shot: Shot, number: int, signs: int) -> bool:
    """Wait until the agent has done so much. Returns True if its turn has ended before."""
    deadline = time.monotonic() + SECONDS
    while shot.signs < signs:
        assert time.monotonic() < deadline
        if shot.ended(number):
            return True
        time.sleep(0.03)
    return False


def check(shot: Shot, asked: Asked, number: int, text: str, paid: int) -> None:
    events = shot.events()
    begins = [at for at, one in enumerate(events) if one["type"] == "turn.started"]
    ends = [at for at, one in enumerate(events) if one["type"] == "turn.completed"]
    mine = events[begins[number - 1] : ends[number - 1] + 1]
    assert mine[-1]["outcome"] == "answered", mine[-1]
    answers = [one for one in mine if one["type"] == "model.completed" and one["usage"].get("cost")]
    assert len(answers) == 3
    for step, when in asked.times[text]:
        assert when <= answers[step]["at"], f"step {step} was paid again after its answer was recorded"
    assert len(asked.times[text]) <= sum(one["type"] == "model.started" for one in mine)
    names = {part["id"]: part["name"] for one in answers for part in one["parts"] if part["kind"] == "tool_call"}
    (outcome,) = [one["outcome"] for one in mine if one["type"] == "tool.completed" and names[one["call"]] == "pay"]
    effects = shot.lines("paid.txt") - paid
    assert effects == 1 if outcome == "ok" else (outcome, effects) in (("interrupted", 0), ("interrupted", 1))
    assert not [one for one in mine if one["type"] == "framework.diverged"]
    assert [one.get("unclaimed", 0) for one in mine if one["type"] == "framework.ended"] == [0]


@pytest.mark.parametrize(
    ("shot", "kills"),
    [("python", 3), *(pytest.param(one, 100, marks=pytest.mark.soak) for one in AGENTS)],
    indirect=["shot"],
)
@pytest.mark.timeout(7200)
def test_a_daemon_that_is_shot_while_its_agent_works(shot: Shot, asked: Asked, kills: int) -> None:
    chance = random.Random(kills)
    shot.start()
    number = 0
    while shot.kills < kills:
        number += 1
        turn(shot, asked, number, kills, chance)
