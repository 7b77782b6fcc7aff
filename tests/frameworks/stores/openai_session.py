"""Check the session of the log as the OpenAI Agents SDK uses one: `python openai_session.py RUNNER`. The SDK ships no
conformance suite: these are the behaviours that its protocol states and its own sessions have."""

import asyncio
import json
import sys

sys.path.insert(0, sys.argv[1])

from agents.memory import Session, SessionSettings, SQLiteSession
from roost_bridge.openai_session import LoggedSession

ITEMS = [{"role": "user", "content": f"message {number} äöü 😀"} for number in range(5)]


async def use(session):
    """Return all that a session says while it is used."""
    said = [await session.get_items(), await session.pop_item()]
    await session.add_items([])
    await session.add_items(ITEMS[:2])
    await session.add_items(ITEMS[2:])
    said += [await session.get_items(), await session.get_items(limit=2), await session.get_items(limit=99)]
    said += [await session.get_items(limit=0), await session.pop_item(), await session.get_items()]
    given = await session.get_items()
    given[0]["content"] = "changed by the caller"
    said.append(await session.get_items())
    session.session_settings = SessionSettings(limit=1)
    said += [await session.get_items(), await session.get_items(limit=3)]
    await session.clear_session()
    said += [await session.get_items(), await session.pop_item()]
    return said


async def main():
    session = LoggedSession([])
    assert isinstance(session, Session)
    mine, theirs = await use(session), await use(SQLiteSession("one"))
    assert mine == theirs, (mine, theirs)
    await session.add_items(ITEMS)
    again = LoggedSession(json.loads(json.dumps(session.items)))
    assert await again.get_items() == ITEMS


asyncio.run(main())
