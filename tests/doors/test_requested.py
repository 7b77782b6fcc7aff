"""What requests may ask of a definition, and which of them are repetitions."""

from __future__ import annotations

import pytest

from roost.agent.definition import Limits
from roost.doors import requested
from roost.doors.requested import Answered, capped, narrowed
from roost.errors import Invalid
from roost.sandbox.choose import Isolation


@pytest.mark.parametrize(
    ("own", "asked", "fits"),
    [
        ((), (), True),
        ((), ("a.example",), False),
        (("*",), ("*",), True),
        (("*",), ("a.example", "*.b.example"), True),
        (("*.example",), ("a.example", "*.b.EXAMPLE", "*.example"), True),
        (("*.example",), ("*",), False),
        (("*.example",), ("a.example", "other"), False),
        (("a?.example",), ("a*.example",), False),
        (("[*].example",), ("*.example",), False),
        (("a.example:443",), ("a.example",), False),
    ],
)
def test_hosts_of_a_request_are_among_those_of_the_agent(own, asked, fits):
    isolation = Isolation(hosts=own)
    if not fits:
        with pytest.raises(Invalid, match="may not reach"):
            narrowed(isolation, asked, within=True)
        assert narrowed(isolation, asked, within=False).hosts == asked
        return
    found = narrowed(isolation, asked, within=True)
    assert (found.hosts, found.required) == (asked, 0 if "*" in asked else 1)


def test_the_smaller_budget_holds():
    own = Limits(session_money=2.0)
    assert [capped(own, one).session_money for one in (None, 1.0, 100.0)] == [2.0, 1.0, 2.0]
    assert [capped(Limits(), one).session_money for one in (None, 1.0)] == [None, 1.0]


async def test_an_answer_may_be_lost_until_it_is_known_to_have_come(monkeypatch):
    async def reply(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def send(message):
        pass

    async def gone(message):
        raise OSError

    answered = Answered()
    with pytest.raises(OSError):
        await answered.reply("a", reply)({}, None, gone)
    await answered.reply("b", reply)({}, None, send)
    assert [answered.may_be_lost(one) for one in ("a", "b")] == [True, True]
    monkeypatch.setattr(requested, "LOST_SECONDS", 0)
    assert [answered.may_be_lost(one) for one in ("a", "b")] == [True, False]
    monkeypatch.undo()
    answered.known("b")
    await answered.reply("b", reply)({}, None, send)
    assert not answered.may_be_lost("b")
