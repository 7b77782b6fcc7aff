"""Parts of a state lie in a snapshot under the names that they have, or under their feature."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from roost.agent.state_parts import Layout, StatePart


class Old(StatePart):
    pins: dict[str, str] = {}
    undo: str | None = None


class New(StatePart):
    count: int = 0


class Whole(msgspec.Struct):
    agent: str = ""
    seq: int = 0
    parts: dict[type[StatePart], Any] = msgspec.field(default_factory=lambda: {Old: Old(), New: New()})


LAYOUT = Layout(Whole, ["agent", "pins", "seq", "undo"], {"old": Old, "new": New})


def encoded(whole: Whole) -> bytes:
    return msgspec.json.encode(LAYOUT.flatten(whole))


def test_old_names_keep_their_order_and_an_unused_part_is_left_out() -> None:
    whole = Whole("a", 3)
    whole.parts[Old].pins["k"] = "v"
    assert encoded(whole) == b'{"agent":"a","pins":{"k":"v"},"seq":3,"undo":null}'
    whole.parts[New].count = 2
    assert encoded(whole) == b'{"agent":"a","pins":{"k":"v"},"seq":3,"undo":null,"new":{"count":2}}'
    assert LAYOUT.build(msgspec.json.decode(encoded(whole), type=LAYOUT.struct)) == whole


def test_a_snapshot_of_before_a_part_existed_can_be_read() -> None:
    body = b'{"agent":"a","pins":{},"seq":3,"undo":null,"of a later version":1}'
    assert LAYOUT.build(msgspec.json.decode(body, type=LAYOUT.struct)) == Whole("a", 3)


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["agent", "seq", "gone"], {"new": New}),
        (["agent", "pins", "undo"], {"old": Old, "older": Old}),
        (["agent"], {"seq": New}),
    ],
    ids=["a name without a field", "two fields of a name", "a feature with the name of a field"],
)
def test_a_name_has_one_field(names: list[str], parts: dict[str, type[StatePart]]) -> None:
    with pytest.raises(TypeError, match="not one for each name"):
        Layout(Whole, names, parts)
