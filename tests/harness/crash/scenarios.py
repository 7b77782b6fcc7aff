"""What a user does while the crash comes. Each ends by itself; `Hands.settle` waits for the answers."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence

from tests.harness.crash.hands import Hands
from tests.harness.crash.plans import PLANS, message
from tests.harness.crash.sights import forked

from roost.features.client_tools.events import ClientCalled, ClientOfferInput, ClientResultInput, OfferedTool
from roost.features.compaction.events import ContextCompacted
from roost.features.delegation.events import ChildEnded
from roost.features.memory.events import MemoryConsolidated
from roost.log import events as ev
from roost.log.content import Text

_A_WHILE = 3.0
"""Seconds that a consolidation is given before another turn is begun."""
_LONG = "a word and another one " * 150


async def two_tools(user: Hands) -> None:
    await user.send(message("two"))


async def parallel_readers(user: Hands) -> None:
    await user.send(message("look"))
    await user.send(message("say"))


async def steer(user: Hands) -> None:
    await user.send(message("long"))
    await user.seen(ev.ToolStarted)
    await user.send(message("two"), "steer")


async def cancel(user: Hands) -> None:
    await user.send(message("long"))
    await user.seen(ev.ToolStarted)
    await user.control("cancel")
    await user.send(message("say"))


async def pause_and_resume(user: Hands) -> None:
    await user.send(message("two"))
    await user.seen(ev.ToolStarted)
    await user.control("pause")
    await user.seen(ev.ControlApplied, action="pause")
    await user.control("resume")


async def replay_asks(user: Hands) -> None:
    await user.send(message("ask"))


async def replay_is_rejected(user: Hands) -> None:
    user.decide(lambda _: "reject")
    await user.send(message("ask"))


async def steer_past_a_replay(user: Hands) -> None:
    await user.send(message("ask"))
    await user.seen(ev.ToolStarted)
    await user.send(message("say"), "steer")


async def approvals(user: Hands) -> None:
    """For an agent that asks first: one call is approved, one rejected."""
    user.decide(lambda tool: "reject" if tool == "never_effect" else "approve")
    await user.send(message("two"))


async def timer(user: Hands) -> None:
    await user.set_timer("soon", 0.05, message("say"))
    await user.send(message("two"))


async def schedule(user: Hands) -> None:
    await user.set_schedule("soon", 0.05, message("say"))
    await user.send(message("two"))


async def client_tools(user: Hands) -> None:
    """The agent must call the client's tool, then calls it beside its own."""
    tool = OfferedTool("theirs")
    await user.put(ClientOfferInput((tool,), choice=("theirs",)))
    await user.send(message("theirs"))
    calls: list[str] = []
    for before in range(2):
        log = await user.until(lambda log, before=before: _count(log, ClientCalled) > before, "the client's call")
        calls = [event.call for event in log if isinstance(event, ClientCalled)]
        await user.put(ClientOfferInput((tool,)))
        await user.put(ClientResultInput(calls[before], (Text(f"result {before}"),)))
    log = await user.settle()
    found = [event.parts for event in log if isinstance(event, ev.ToolCompleted) and event.call in calls]
    assert found == [(Text("result 0"),), (Text("result 1"),)]
    assert _count(log, ClientCalled) == 2


async def travel(user: Hands) -> None:
    """A checkpoint, more work, back again, and a second session from there, which looks around."""
    await user.send(message("one"))
    await user.settle()
    await user.checkpoint("good")
    await user.send(message("more"))
    await user.settle()
    await user.rollback("good")
    fork = await user.fork("good", forked(user.session))
    await fork.send(message("show"))
    await fork.settle()


async def compaction(user: Hands) -> None:
    """The first is the second turn's own, the other one a person's."""
    for _ in range(2):
        await user.send(f"{_LONG} {message('say')}")
        await user.settle()
    await user.control("compact")
    await user.until(lambda log: _count(log, ContextCompacted) == 2, "the second compaction")


async def consolidation(user: Hands) -> None:
    """One that was cut off is made again, at the latest after a next turn."""
    for _ in range(4):
        await user.send(message("say"))
        await user.settle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_A_WHILE):
                await user.until(_consolidated, "the consolidation")
                return
    await user.until(_consolidated, "the consolidation")


def _consolidated(log: Sequence[ev.Event]) -> bool:
    return any(isinstance(event, MemoryConsolidated) and event.error is None for event in log)


async def children(user: Hands) -> None:
    """Three tasks that a turn waits for, and one in the background."""
    await user.send(message("tasks"))
    await user.until(lambda log: _count(log, ChildEnded) == 4, "the end of four tasks")
    await user.until(lambda log: _count(log, ev.TurnCompleted) == 2, "what was told")


async def firing(user: Hands) -> None:
    await user.set_schedule("soon", 0.05, message("two"))


def _count(log: Sequence[ev.Event], kind: type[ev.Event]) -> int:
    return sum(isinstance(event, kind) for event in log)


async def at_random(hands: Hands, chance: random.Random, plans: Sequence[str] = tuple(PLANS)) -> None:
    """One message, and what else a user may do about it."""
    await hands.send(message(chance.choice(plans)))
    await asyncio.sleep(chance.uniform(0.0, 0.5))
    match chance.choice(["wait", "wait", "queue", "burst", "steer", "cancel", "pause", "timer", "schedule"]):
        case "queue":
            await hands.send(message("say"))
        case "burst":
            await hands.settle()
            for _ in range(3):
                await hands.send(message("say"))
        case "steer":
            await hands.send(message(chance.choice(["say", "two"])), "steer")
        case "cancel":
            await hands.control("cancel")
        case "pause":
            await hands.control("pause")
            await asyncio.sleep(chance.uniform(0.0, 0.3))
            await hands.control("resume")
        case "timer":
            name = f"t{len(hands.timers)}"
            await hands.set_timer(name, chance.uniform(0.0, 1.0), message("say"))
        case "schedule":
            name = f"s{len(hands.timers)}"
            await hands.set_schedule(name, chance.uniform(0.0, 1.0), message("say"))
        case _:
            await hands.settle()
