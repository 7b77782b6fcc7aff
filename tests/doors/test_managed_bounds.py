"""The Managed Agents API: what a request may not widen, and what it may not cost."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from tests.doors.managed_support import provider
from tests.doors.test_managed import managed

from roost.agent.definition import Agent, Limits
from roost.doors.managed.content import DocumentGiven, RequestFiles, UploadGiven, parts_of
from roost.doors.managed.environments import Environment
from roost.doors.managed.event_list import quiet_before
from roost.errors import TooLarge
from roost.features.upgrades.service import UpgradesService
from roost.log.protocols import Record
from roost.sandbox.choose import Isolation
from roost.testing.scripted import ScriptedModel

__all__ = ["managed", "provider"]


def limited(*hosts: str) -> Any:
    return {"type": "cloud", "networking": {"type": "limited", "allowed_hosts": list(hosts)}}


def test_a_limited_environment_needs_isolation_that_enforces_it() -> None:
    spec = Agent("a", model=ScriptedModel(lambda _: "yes")).spec
    around = Environment(id="e", name="e", hosts=()).around(spec)
    assert (around.isolation.hosts, around.isolation.required) == ((), 1)
    open_ = Environment(id="e", name="e").around(spec)
    assert (open_.isolation.hosts, open_.isolation.required) == (("*",), 0)


@pytest.mark.parametrize("path", ["agents", "environments", "sessions", "vaults", "memory_stores", "deployments"])
def test_a_request_without_a_body_is_a_bad_one(shared: Any, path: str) -> None:
    answer = shared.request("POST", f"/v1/{path}", **{"anthropic-version": "2023-06-01"})
    assert answer.status == 400, answer
    assert answer.json["error"]["type"] == "invalid_request_error"


@pytest.fixture
def clerk() -> Agent:
    return Agent(
        "clerk",
        model=ScriptedModel(lambda _: "yes"),
        isolation=Isolation(hosts=("*.example.com",)),
        limits=Limits(session_money=2.0),
    )


def test_an_environment_opens_nothing_of_an_agent_of_a_file(serve: Any, managed: Any, clerk: Agent) -> None:
    client = managed(serve(agents=[clerk]))
    wide = client.beta.environments.create(name="e", config=limited("api.example.com", "other.org")).id
    with pytest.raises(anthropic.BadRequestError, match=r"other\.org"):
        client.beta.sessions.create(agent="clerk", environment_id=wide)
    assert list(client.beta.sessions.list()) == []
    spec = clerk.spec
    narrow = Environment(id="e", name="e", hosts=("api.example.com",)).around(spec, within=True)
    assert (narrow.isolation.hosts, narrow.isolation.required) == (("api.example.com",), 1)
    assert Environment(id="e", name="e").around(spec, within=True) == spec


def test_a_budget_lowers_the_limit_of_an_agent_and_never_raises_it(
    serve: Any, managed: Any, clerk: Agent, wait: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, moved, move = managed(serve(agents=[clerk])), list[float | None](), UpgradesService.move_to

    async def seen(self: Any, session: str, agent: Agent, **more: Any) -> Any:
        moved.append(agent.spec.limits.session_money)
        return await move(self, session, agent, **more)

    monkeypatch.setattr(UpgradesService, "move_to", seen)
    environment = client.beta.environments.create(name="e").id
    session = client.beta.sessions.create(agent="clerk", environment_id=environment).id
    for cents in ("1000000", "50", None):
        budget: Any = cents and {"type": "limit", "max_list_cost": {"amount": cents, "currency": "USD"}}
        wait(lambda: client.beta.sessions.retrieve(session).status == "idle")
        client.beta.sessions.update(session, budget=budget)
    assert moved == [2.0, 0.5, 2.0]


def test_a_deployment_takes_what_its_sessions_take(serve: Any, managed: Any, clerk: Agent) -> None:
    """One that took more made each list of deployments a 500."""
    client = managed(serve(agents=[clerk]))
    environment, vault = client.beta.environments.create(name="e").id, client.beta.vaults.create(display_name="v").id
    file = client.beta.files.upload(file=("a.txt", b"x", "text/plain")).id
    files = [{"type": "file", "file_id": file, "mount_path": f"{at}.txt"} for at in range(101)]
    first = {"type": "user.message", "content": [{"type": "text", "text": "go"}]}
    given: Any = {"agent": "clerk", "environment_id": environment}
    for more in ({"resources": files}, {"vault_ids": [vault] * 51}):
        with pytest.raises(anthropic.BadRequestError, match="must have at most"):
            client.beta.deployments.create(name="d", initial_events=[first], **given, **more)
        with pytest.raises(anthropic.BadRequestError, match="must have at most"):
            client.beta.sessions.create(**given, **more)
    kept = client.beta.deployments.create(name="d", initial_events=[first], **given)
    with pytest.raises(anthropic.BadRequestError, match="must have at most"):
        client.beta.deployments.update(kept.id, resources=files)
    assert [one.id for one in client.beta.deployments.list()] == [kept.id]
    assert client.beta.sessions.create(**given, vault_ids=[vault] * 50).vault_ids == [vault]


async def test_files_of_a_request_are_read_once_and_bounded() -> None:
    read: list[str] = []

    async def file(id: str) -> tuple[str, str, bytes]:
        read.append(id)
        return "a.txt", "text/plain", b"x" * 40

    block = DocumentGiven(UploadGiven("file_1"))
    assert len(await parts_of([block] * 2, "content", RequestFiles(file, 100))) == 2
    assert read == ["file_1"]
    with pytest.raises(TooLarge):
        await parts_of([block] * 3, "content", RequestFiles(file, 100))


class Long:
    """A session of one turn that does not end. read: how many of its records were asked for."""

    def __init__(self, head: int) -> None:
        self.head, self.read = head, 0

    async def get(self, session: str) -> Any:
        return self

    async def history(self, session: str, *, after: int, limit: int) -> list[Record]:
        found = [Record(seq, b'{"type":"emitted"}') for seq in range(after + 1, min(self.head, after + limit) + 1)]
        self.read += len(found)
        return found


async def test_the_end_of_a_turn_is_looked_for_once() -> None:
    long: Any = Long(20_000)
    assert await quiet_before(long, "s", long.head) == 0
    assert long.read == long.head
