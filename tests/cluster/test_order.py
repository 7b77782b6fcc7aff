"""What two senders may rely on though they come in through different nodes."""

from __future__ import annotations

from pathlib import Path

from roost.agent.definition import Agent
from roost.kernel.config import KernelConfig
from roost.kernel.runtime import Runtime
from roost.log import events as ev
from roost.testing.scripted import ScriptedModel


async def test_messages_are_taken_in_as_they_were_acknowledged(tmp_path: Path, database: str) -> None:
    """One through another node, and when that is accepted, one through the node that has the session in its memory."""
    config = KernelConfig(linger=30.0, scan=30.0, lease=5.0)

    def node(name: str) -> Runtime:
        agent = Agent("a", model=ScriptedModel(lambda _: "Yes."), tools=[], permissions="all")
        return Runtime(tmp_path / name, agents=[agent], store=database, config=config)

    async with node("owner") as owner, node("other") as other:
        session = (await owner.sessions.create("a")).id
        await owner.sessions.send(session, "begin")
        sent = ["begin"]
        for number in range(20):
            await other.sessions.send(session, f"through the other {number}")
            await owner.sessions.send(session, f"through the owner {number}")
            sent += [f"through the other {number}", f"through the owner {number}"]
        async for record in owner.sessions.tail(session):
            if isinstance(record.event, ev.TurnCompleted) and record.event.turn == len(sent):
                break
        log = [record.event for record in await owner.sessions.history(session)]
    taken = [event.parts[0].text for event in log if isinstance(event, ev.InputReceived)]  # type: ignore[union-attr]
    assert taken == sent
