"""`read_history` on logs that no context holds, and `pin` at its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from roost.features.compaction.ports import OwnLog, OwnPins
from roost.log import events as ev
from roost.log.content import Image, Text, Thinking, ToolCall
from roost.log.protocols import Record
from roost.testing.scripted import Call
from roost.tools.base import ToolContext
from roost.tools.builtin import builtin_tools
from roost.tools.run_tool import run_tool

CAP = 12_500


class Log(OwnLog):
    """A session's log in memory. `reads` counts the records that were read."""

    def __init__(self, events: Sequence[ev.Event]) -> None:
        self._records = [Record(seq, ev.encode_event(event)) for seq, event in enumerate(events, 1)]
        self.reads = 0

    @property
    def head(self) -> int:
        return len(self._records)

    async def read(self, after: int, limit: int) -> list[Record]:
        page = self._records[max(0, after) : max(0, after) + min(limit, 100)]  # a page may be shorter than asked for
        self.reads += len(page)
        return page


class Kept(OwnPins):
    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def all(self) -> Mapping[str, str]:
        return self.texts

    async def set(self, key: str, text: str | None) -> None:
        self.texts.pop(key, None)
        if text is not None:
            self.texts[key] = text


def turns(count: int, *, output: str = "{n} birds were seen") -> Log:
    events: list[ev.Event] = []
    for turn in range(1, count + 1):
        call = f"c{turn}"
        said = (Text(f"I say {turn}"), Thinking(f"secret thought {turn}"), ToolCall(call, "look", f'{{"n":{turn}}}'))
        events += [
            ev.InputReceived(at=1.0, input=turn, parts=(Text(f"Question №{turn}: 数字{turn}号"),)),
            ev.TurnStarted(at=1.0, turn=turn, input=turn),
            ev.ModelStarted(at=1.0, step=turn, model="m"),
            ev.ModelCompleted(at=1.0, step=turn, parts=said),
            ev.ToolStarted(at=1.0, call=call, name="look", replay="safe", key="k"),
            ev.ToolCompleted(at=1.0, call=call, outcome="ok", parts=(Text(output.replace("{n}", str(turn))),)),
            ev.TurnCompleted(at=1.0, turn=turn, outcome="answered"),
        ]
    return Log(events)


async def call(ctx: ToolContext, name: str, log: Log | None = None, pins: Kept | None = None, **given: Any) -> str:
    ctx.ports.update({kind: port for kind, port in ((OwnLog, log), (OwnPins, pins)) if port is not None})
    _, parts = await run_tool(builtin_tools()[name], ctx, Call(name, given).text)
    return "".join(part.text for part in parts if isinstance(part, Text))


@pytest.mark.parametrize("turn", [1, 2, 777, 1999, 2000])
async def test_any_turn_is_found_in_few_reads(ctx: ToolContext, turn: int) -> None:
    log = turns(2_000)
    text = await call(ctx, "read_history", log, turn=turn)
    assert f"Question №{turn}:" in text
    assert f"I say {turn}" in text
    assert f'[you called look {{"n":{turn}}}]' in text
    assert f"{turn} birds were seen" in text
    assert "secret thought" not in text
    assert text.count("Question №") == 1
    assert log.reads < 1_500


@pytest.mark.parametrize("turn", [3, 10_000])
async def test_a_turn_that_is_not_there(ctx: ToolContext, turn: int) -> None:
    assert f"there is no turn {turn}; the last before it is 2" in await call(ctx, "read_history", turns(2), turn=turn)
    assert "there is no turn yet" in await call(ctx, "read_history", turns(0), turn=turn)


async def test_a_position_is_read_in_pieces(ctx: ToolContext) -> None:
    log = turns(1, output="0123456789" * 3_000)
    first = await call(ctx, "read_history", log, seq=6)
    assert first.startswith("[history: seq 6, a tool]\n0123456789")
    assert len(first) < CAP
    assert first.endswith("[18000 more characters: offset=12000]")
    last = await call(ctx, "read_history", log, seq=6, offset=29_995)
    assert last == "[history: seq 6, a tool]\n56789"
    assert "nothing was said at 2" in await call(ctx, "read_history", log, seq=2)
    assert "the log ends at 7" in await call(ctx, "read_history", log, seq=99)


async def test_words_are_looked_for_from_the_newest_on(ctx: ToolContext) -> None:
    log = turns(500)
    text = await call(ctx, "read_history", log, query="BIRDS seen", limit=3)
    assert [f"{turn} birds" in line for turn, line in zip((500, 499, 498), text.splitlines()[1:], strict=True)] == [
        True
    ] * 3
    before = int(text.split("before=")[1].split("]")[0])
    again = await call(ctx, "read_history", log, query="BIRDS seen", limit=3, before=before)
    assert "497 birds" in again.splitlines()[1]
    assert "Question №42: 数字42号" in await call(ctx, "read_history", log, query="数字42号")
    assert "nothing found, in all of the log" in await call(ctx, "read_history", log, query="secret thought")
    assert "nothing found, in all of the log" in await call(ctx, "read_history", turns(0), query="x")


async def test_what_it_showed_before_is_not_found_again(ctx: ToolContext) -> None:
    log = Log(
        [
            ev.InputReceived(at=1.0, input=1, parts=(Text("the plum"), Image("image/png", "aGk="))),
            ev.ToolCompleted(at=1.0, call="c", outcome="ok", parts=(Text("[history: 1 places]\n[seq 1] the plum"),)),
        ]
    )
    text = await call(ctx, "read_history", log, query="plum")
    assert text.count("plum") == 2, "the query, and the place"
    assert "[image/png]" in text


@pytest.mark.parametrize("given", [{}, {"turn": 1, "seq": 1}, {"query": " "}, {"turn": 0}, {"seq": -1}])
async def test_questions_that_are_none(ctx: ToolContext, given: dict[str, Any]) -> None:
    text = await call(ctx, "read_history", turns(1), **given)
    assert "[history" not in text


async def test_an_answer_is_never_long(ctx: ToolContext) -> None:
    log = turns(60, output="x" * 60_000 + " needle")
    asked: list[dict[str, Any]] = [{"turn": 7}, {"seq": 6}, {"query": "needle", "limit": 50}]
    for given in asked:
        assert len(await call(ctx, "read_history", log, **given)) < CAP, given


async def test_pins_have_keys_texts_and_an_end(ctx: ToolContext) -> None:
    kept = Kept()
    assert await call(ctx, "pin", pins=kept, key="rule", text="no force") == "pinned under rule"
    await call(ctx, "pin", pins=kept, key="rule", text="no force at all")
    assert kept.texts == {"rule": "no force at all"}
    for key, text in (("a b", "x"), ("", "x"), ("ok", "  "), ("big", "x" * 8_000)):
        assert "pinned under" not in await call(ctx, "pin", pins=kept, key=key, text=text)
    assert "the pins are: rule" in await call(ctx, "unpin", pins=kept, key="other")
    assert await call(ctx, "unpin", pins=kept, key="rule") == "rule is not pinned any more"
    assert kept.texts == {}


async def test_a_paraphrase_is_found_before_the_question_and_its_own_calls(ctx: ToolContext) -> None:
    asked = "what was the host name for staging"
    call_ = ToolCall("h", "read_history", f'{{"query":"{asked}"}}')
    log = Log(
        [
            ev.InputReceived(at=1.0, input=1, parts=(Text("The staging host is called pg-stage-2"),)),
            ev.InputReceived(at=1.0, input=2, parts=(Text("Our host for lunch is Ann, her name is on the door"),)),
            *[ev.InputReceived(at=1.0, input=n, parts=(Text(f"a name {n}"),)) for n in range(3, 40)],
            ev.ModelCompleted(at=1.0, step=1, parts=(Text("let me look"), call_)),
            ev.InputReceived(at=1.0, input=40, parts=(Text(asked),)),
            ev.TurnStarted(at=1.0, turn=1, input=40),
            ev.ModelCompleted(at=1.0, step=2, parts=(call_,)),
        ]
    )
    text = await call(ctx, "read_history", log, query=asked, limit=3)
    first, second, *_ = text.splitlines()[1:]
    assert "pg-stage-2" in first
    assert "lunch" in second
    assert asked not in text.split("\n", 1)[1]
