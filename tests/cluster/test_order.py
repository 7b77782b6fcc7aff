"""What two senders may rely on though they come in through different nodes."""

from __future__ import annotations

from pathlib import Path

from roost.agent.definition import Agent
from roost.kernel.config import KernelConfig
from roost.log import events as ev
from roost.log.content import Text
from roost.runtime import Runtime
from roost.testing.scripted import ScriptedModel
from tests.harness.proxy import TcpProxy


async def test_messages_are_taken_in_as_they_were_acknowledged(tmp_path: Path, database: str) -> None:
    """One through another node, and when that is accepted, one through the node that has the session in its memory."""
    config = KernelConfig(linger=30.0, scan=30.0, lease=5.0)

    def make(name: str, store: str) -> Runtime:
        agent = Agent("a", model=ScriptedModel(lambda _: "Yes."), tools=[], permissions="all")
        return Runtime(tmp_path / name, agents=[agent], store=store, config=config)

    async with (
        TcpProxy.to(database) as far,
        make("owner", database) as owner,
        make("other", far.through(database)) as other,
    ):
        far.delay(0.02)  # so late is the owner told of what came through the other
        session, sent = (await owner.sessions.create("a")).id, list[str]()
        for number in range(5):
            for node, name in ((other, "other"), (owner, "owner")):
                sent.append(f"{number} through the {name}")
                await node.sessions.send(session, sent[-1])
            await idle(owner, session, turns=len(sent))
        log = [record.event for record in await owner.sessions.history(session)]
    taken = [event.parts[0] for event in log if isinstance(event, ev.InputReceived)]
    assert taken == [Text(text) for text in sent]


async def idle(node: Runtime, session: str, *, turns: int) -> None:
    async for record in node.sessions.tail(session):
        if isinstance(record.event, ev.TurnCompleted) and record.event.turn == turns:
            return
